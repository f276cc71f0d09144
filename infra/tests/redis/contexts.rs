//! Agents' own contexts.

use super::{Bench, SECOND, ask, until};
use synod_infra::redis::context::{
    CONTEXT_BYTES_LIMIT, ContextOf, Contexts, Heard, News, NewsReader, Opened, Saved,
};
use synod_infra::redis::keys;
use synod_infra::redis::{RedisConfig, RedisError};
use synod_protocol::checkpoint::{CheckpointCause, ContextForm, ContextNote, checksum};

fn of(bench: &Bench, order: u64) -> ContextOf {
    ContextOf {
        workspace: bench.workspace.clone(),
        agent: bench.agent.clone(),
        incarnation: uuid::Uuid::new_v4().into(),
        order,
    }
}

fn note(of: &ContextOf, bytes: &[u8]) -> ContextNote {
    ContextNote {
        incarnation: of.incarnation.clone(),
        cause: CheckpointCause::Hand,
        form: ContextForm::Bytes,
        bytes: bytes.len() as u64,
        checksum: checksum(bytes),
    }
}

async fn save(contexts: &Contexts, of: &ContextOf, bytes: &[u8], known: u64, keep: u32) -> Saved {
    contexts.save(of, &note(of, bytes), bytes, known, keep).await.unwrap()
}

fn version(saved: &Saved) -> u64 {
    match saved {
        Saved::Kept { version, .. } => *version,
        Saved::Fenced { by } => panic!("fenced by {by}"),
    }
}

#[tokio::test]
async fn versions_grow_and_the_oldest_go() {
    let bench = Bench::start().await;
    let (contexts, me) = (Contexts::new(bench.redis.clone()), of(&bench, 10));
    assert_eq!(contexts.open(&me).await, Ok(Opened::Versions(vec![])));
    for n in 1..=5u8 {
        // Any bytes, such as are no text.
        let bytes = [n, 0, 0xff, b'\n'];
        assert_eq!(version(&save(&contexts, &me, &bytes, 0, 3).await), u64::from(n));
    }
    let there = contexts.versions(&bench.workspace, &bench.agent).await.unwrap();
    assert_eq!(there.iter().map(|v| v.version).collect::<Vec<_>>(), [5, 4, 3]);
    let (found, bytes) = contexts.version(&bench.workspace, &bench.agent, 4).await.unwrap().unwrap();
    assert_eq!(
        (bytes.as_slice(), found.is_of(&bytes), &found.incarnation),
        (&[4, 0, 0xff, b'\n'][..], true, &me.incarnation)
    );
    assert_eq!(contexts.version(&bench.workspace, &bench.agent, 2).await, Ok(None));
    let mut raw = bench.raw().await;
    let key = keys::context(&bench.workspace, &bench.agent);
    let fields: Vec<String> = ask(&mut raw, &["HKEYS", &key]).await;
    assert_eq!(fields.len(), 4 + 3, "nothing stays of what went: {fields:?}");
    let there: Vec<String> = ask(&mut raw, &["KEYS", "*"]).await;
    assert_eq!(there.len(), 1 + 3, "nor a draft: {there:?}");
    let days = ask::<i64>(&mut raw, &["TTL", &key]).await / 86_400;
    assert!((29..=30).contains(&days), "{days}");
    let bytes = keys::context_bytes(&bench.workspace, &bench.agent, 5);
    let days = ask::<i64>(&mut raw, &["TTL", &bytes]).await / 86_400;
    assert!((29..=30).contains(&days), "{days}");
    // Whoever knows of a later version than Redis does goes on from there.
    let () = ask(&mut raw, &["DEL", &key]).await;
    assert_eq!(version(&save(&contexts, &me, b"x", 5, 3).await), 6);
}

#[tokio::test]
async fn an_older_process_start_cannot_write_once_a_newer_one_has_been_there() {
    let bench = Bench::start().await;
    let contexts = Contexts::new(bench.redis.clone());
    let (older, newer) = (of(&bench, 10), of(&bench, 11));
    assert_eq!(version(&save(&contexts, &older, b"1", 0, 10).await), 1);
    assert_eq!(contexts.open(&newer).await, Ok(Opened::Versions(vec![1])));
    let fenced = Saved::Fenced { by: newer.incarnation.clone() };
    assert_eq!(save(&contexts, &older, b"2", 1, 10).await, fenced);
    let mut raw = bench.raw().await;
    let drafts: Vec<String> = ask(&mut raw, &["KEYS", "*draft*"]).await;
    assert_eq!(drafts, Vec::<String>::new());
    assert_eq!(contexts.open(&older).await, Ok(Opened::Fenced { by: newer.incarnation.clone() }));
    assert_eq!(version(&save(&contexts, &newer, b"3", 1, 10).await), 2);
    // One that is registered anew is still the same.
    let again = ContextOf { order: 12, ..newer.clone() };
    assert_eq!(version(&save(&contexts, &again, b"4", 2, 10).await), 3);
    assert_eq!(save(&contexts, &older, b"5", 9, 10).await, fenced);
    // After Redis has lost everything the order still tells, whoever comes first.
    let () = ask(&mut raw, &["FLUSHALL"]).await;
    assert_eq!(version(&save(&contexts, &older, b"6", 1, 10).await), 2);
    assert_eq!(version(&save(&contexts, &newer, b"7", 3, 10).await), 4);
    assert_eq!(save(&contexts, &older, b"8", 2, 10).await, fenced);
    // In the same millisecond the greater name wins, on both sides alike.
    let (a, b) = (of(&bench, 50), of(&bench, 50));
    let (low, high) = if a.incarnation < b.incarnation { (a, b) } else { (b, a) };
    assert!(matches!(contexts.open(&high).await, Ok(Opened::Versions(_))));
    assert_eq!(contexts.open(&low).await, Ok(Opened::Fenced { by: high.incarnation.clone() }));
    assert_eq!(save(&contexts, &low, b"9", 0, 10).await, Saved::Fenced { by: high.incarnation });
}

#[tokio::test]
async fn what_is_over_a_hard_limit_or_cannot_be_reached_is_refused() {
    let bench = Bench::start().await;
    let (contexts, me) = (Contexts::new(bench.redis.clone()), of(&bench, 1));
    let big = vec![0; CONTEXT_BYTES_LIMIT + 1];
    for (bytes, keep) in [(&big[..], 10), (&big[..1], 0), (&big[..1], 51)] {
        let refused = contexts.save(&me, &note(&me, bytes), bytes, 0, keep).await;
        assert!(matches!(refused, Err(RedisError::InvalidConfig(_))), "{refused:?}");
    }
    assert_eq!(version(&save(&contexts, &me, &big[1..], 0, 1).await), 1);
    let nowhere =
        Contexts::new(synod_infra::redis::Redis::new(RedisConfig::new("redis://127.0.0.1:1")).unwrap());
    let away = nowhere.save(&me, &note(&me, b"x"), b"x", 0, 1).await;
    assert!(away.as_ref().is_err_and(RedisError::is_transient), "{away:?}");
}

#[tokio::test]
async fn news_are_heard_once_each_and_limited() {
    let bench = Bench::start().await;
    let (contexts, me) = (Contexts::new(bench.redis.clone()), of(&bench, 1));
    save(&contexts, &me, b"x", 0, 1).await;
    let version = contexts.versions(&bench.workspace, &bench.agent).await.unwrap().remove(0);
    let news = |number: u64| News {
        workspace: bench.workspace.clone(),
        agent_id: bench.agent.clone(),
        version: synod_protocol::checkpoint::ContextVersion { version: number, ..version.clone() },
    };
    let mut readers = [NewsReader::new(bench.redis.clone()), NewsReader::new(bench.redis.clone())];
    assert_eq!(readers[0].next(SECOND / 5).await, Ok(vec![]));
    contexts.tell(&news(1)).await.unwrap();
    let mut raw = bench.raw().await;
    let _: u64 = ask(&mut raw, &["RPUSH", keys::CONTEXT_NEWS, "not news"]).await;
    contexts.tell(&news(2)).await.unwrap();
    let mut heard = Vec::new();
    until("both are heard", SECOND * 5, async || {
        for reader in &mut readers {
            heard.extend(reader.next(SECOND / 20).await.unwrap());
        }
        heard.len() >= 2
    })
    .await;
    heard.sort_by_key(|heard| matches!(heard, Heard::Context(news) if news.version.version == 2));
    assert_eq!(heard, [Heard::Context(news(1)), Heard::Context(news(2))]);
    drop(readers);
    let many: Vec<String> = (0..10_050).map(|n| n.to_string()).collect();
    let words: Vec<&str> =
        ["RPUSH", keys::CONTEXT_NEWS].into_iter().chain(many.iter().map(String::as_str)).collect();
    let _: u64 = ask(&mut raw, &words).await;
    contexts.tell(&news(3)).await.unwrap();
    assert_eq!(ask::<u64>(&mut raw, &["LLEN", keys::CONTEXT_NEWS]).await, 10_000);
    let last: String = ask(&mut raw, &["LINDEX", keys::CONTEXT_NEWS, "-1"]).await;
    assert_eq!(serde_json::from_str::<News>(&last).unwrap(), news(3), "the newest stay");
}
