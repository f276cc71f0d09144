//! What becomes of a write that did not know the current version.

use super::*;
use synod_protocol::Code;
use synod_protocol::primitives::state::{Policy, Rules};

fn rules(text: &str) -> Rules {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn the_last_write_wins_and_what_it_overwrote_is_kept() {
    let room = Room::open().await;
    let first = room.put("a", r#"{"n": ["1", 2.50]}"#).await;
    room.put("a", r#""second""#).await;
    let stale = Condition::Version(first.version);
    let won = room.try_put("a", by(Strategy::LastWriteWins, "3"), stale).await.unwrap();
    assert!(won.applied && !won.made);
    let history = room.history("a").await;
    assert_eq!(
        told(&history),
        ["put 3", r#"put "second" lost"#, r#"put "second""#, r#"put {"n":["1",2.50]}"#]
    );
    let lost = &history[1];
    assert_eq!((lost.version, lost.updated_by.as_str()), (None, "agent-1"));
    assert_eq!(lost.strategy, Some(Strategy::LastWriteWins));
    assert!(lost.reason.as_ref().unwrap().contains(&format!("knew version {}", first.version)), "{lost:?}");
    assert_eq!(
        (history[0].base_version, history[0].strategy),
        (Some(first.version), Some(Strategy::LastWriteWins))
    );
    // Who knows the current version does not conflict, nor does who asks for none.
    let current = Condition::Version(won.entry.version);
    room.try_put("a", by(Strategy::LastWriteWins, "4"), current).await.unwrap();
    room.try_put("a", by(Strategy::LastWriteWins, "5"), Condition::None).await.unwrap();
    assert_eq!(told(&room.history("a").await[..2]), ["put 5", "put 4"]);
}

#[tokio::test]
async fn the_first_write_wins_and_the_later_one_is_kept() {
    let room = Room::open().await;
    let first = room.try_put("a", by(Strategy::FirstWriteWins, "1"), Condition::None).await.unwrap();
    assert!(first.made && first.applied);
    let second = room.try_put("a", by(Strategy::FirstWriteWins, "2"), Condition::None).await.unwrap();
    assert_eq!((second.applied, &second.entry), (false, &first.entry));
    let stale = Condition::Version(1);
    assert!(!room.try_put("a", by(Strategy::FirstWriteWins, "3"), stale).await.unwrap().applied);
    let known = Condition::Version(first.entry.version);
    let fourth = room.try_put("a", by(Strategy::FirstWriteWins, "4"), known).await.unwrap();
    assert!(fourth.applied && fourth.entry.version > first.entry.version);
    assert_eq!(told(&room.history("a").await), ["put 4", "put 3 lost", "put 2 lost", "put 1"]);
    let refused = room.try_put("b", by(Strategy::FirstWriteWins, "1"), stale).await.unwrap_err();
    assert_eq!((refused.code, refused.current_version), (Code::Conflict, Some(0)), "nothing stands");
    let counts = room.state.statistics(room.workspace()).await.unwrap().total;
    assert_eq!((counts.writes, counts.conflicts, counts.lost), (2, 3, 2));
}

#[tokio::test]
async fn a_merge_takes_what_is_there_and_keeps_what_it_overwrote_in_a_conflict() {
    let room = Room::open().await;
    let merge = |value: &str, of: &str| Put { rules: Some(rules(of)), ..by(Strategy::Merge, value) };
    let put = async |put, condition| room.try_put("a", put, condition).await.map(|w| w.entry);
    let first = put(merge(r#"{"n":1,"l":[1],"x":null,"y":1}"#, "{}"), Condition::None).await.unwrap();
    assert_eq!(first.value, json(r#"{"n":1,"l":[1],"y":1}"#), "a patch of nothing");
    let of = r#"{"/n":"sum","/l":"union"}"#;
    let second = put(merge(r#"{"n":2,"l":[2,1],"y":null}"#, of), Condition::None).await.unwrap();
    assert_eq!(second.value, json(r#"{"n":3,"l":[1,2]}"#));
    assert_eq!(told(&room.history("a").await).iter().filter(|l| l.ends_with("lost")).count(), 0);
    let stale = put(merge(r#"{"n":10}"#, of), Condition::Version(first.version)).await.unwrap();
    assert_eq!(stale.value, json(r#"{"n":13,"l":[1,2]}"#));
    let history = room.history("a").await;
    assert_eq!(told(&history[..2]), [r#"merge {"l":[1,2],"n":13}"#, r#"put {"l":[1,2],"n":3} lost"#]);
    let refused = put(merge(r#"{"l":7}"#, of), Condition::None).await.unwrap_err();
    assert_eq!((refused.code, refused.field.as_deref()), (Code::Unprocessable, Some("/rules/~1l")));
    let refused = put(merge("{}", of), Condition::Absent).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merges_at_once_lose_nothing() {
    let room = Room::open().await;
    let mut all = tokio::task::JoinSet::new();
    for n in 0..48 {
        let (state, writer) = (room.state.clone(), room.writer.clone());
        all.spawn(async move {
            let value = format!(r#"{{"sum":{n},"seen":[{n}],"of-{n}":true}}"#);
            let merge = Put {
                rules: Some(rules(r#"{"/sum":"sum","/seen":"union"}"#)),
                ..by(Strategy::Merge, &value)
            };
            state.put(&writer, &name("a"), merge, Condition::None).await.unwrap()
        });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
    let value: serde_json::Value = room.get("a").await.unwrap().value.to().unwrap();
    assert_eq!((value["sum"].as_i64(), value["seen"].as_array().unwrap().len()), (Some(47 * 48 / 2), 48));
    assert_eq!(value.as_object().unwrap().len(), 50);
}

#[tokio::test]
async fn a_policy_holds_for_the_next_write_through_every_handle() {
    let room = Room::open().await;
    let other = State::new(room.bench.redis.clone());
    let policy = |strategy, of: &str| Policy { strategy, rules: rules(of) };
    other.put(&room.writer, &name("jobs/a"), put("1"), Condition::None).await.unwrap();
    room.state
        .set_policy(room.workspace(), &name("jobs/"), &policy(Strategy::FirstWriteWins, "{}"))
        .await
        .unwrap();
    let late = other.put(&room.writer, &name("jobs/a"), put("2"), Condition::None).await.unwrap();
    assert!(!late.applied, "the other handle had read the policies before");
    room.state
        .set_policy(room.workspace(), &name("jobs/sums/"), &policy(Strategy::Merge, r#"{"":"sum"}"#))
        .await
        .unwrap();
    for _ in 0..3 {
        other.put(&room.writer, &name("jobs/sums/x"), put("2"), Condition::None).await.unwrap();
    }
    assert_eq!(room.get("jobs/sums/x").await.unwrap().value.as_str(), "6", "the longest prefix decides");
    // A call that says itself what is to become of it does not ask.
    let put = by(Strategy::LastWriteWins, "3");
    assert!(other.put(&room.writer, &name("jobs/a"), put, Condition::Version(1)).await.unwrap().applied);
    assert_eq!(room.state.policies(room.workspace()).await.unwrap().len(), 2);
    assert!(room.state.remove_policy(room.workspace(), &name("jobs/")).await.unwrap());
    assert!(!room.state.remove_policy(room.workspace(), &name("jobs/")).await.unwrap());
    let refused = other.put(&room.writer, &name("jobs/a"), super::put("4"), Condition::Version(1)).await;
    assert_eq!(refused.unwrap_err().code, Code::Conflict);
    let elsewhere: Workspace = "w-2".parse().unwrap();
    assert!(room.state.policies(&elsewhere).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_workspace_has_so_many_policies_and_no_more() {
    use synod_protocol::primitives::state::POLICIES_LIMIT;
    let room = Room::open().await;
    let set = async |n: usize| {
        room.state.set_policy(room.workspace(), &name(&format!("p{n}/")), &Policy::default()).await
    };
    for n in 0..POLICIES_LIMIT {
        set(n).await.unwrap();
    }
    assert_eq!(set(POLICIES_LIMIT).await.unwrap_err().code, Code::Unprocessable);
    set(0).await.unwrap();
}

/// Values that cannot be told from the text around them by looking for it.
#[tokio::test]
async fn what_is_kept_as_lost_is_the_value_and_its_writer_to_the_letter() {
    let room = Room::open().await;
    let value = r#"{"a":"\",\"version\":1,\"updated_by\":\"x\"","version":7,"metadata":{}}"#;
    let writer = Writer::new(room.workspace().clone(), "a\"b\\,\"metadata\":%1");
    let metadata =
        serde_json::from_str(r#"{"updated_by":"y","x":"\"updated_by\":\"z\",\"metadata\":"}"#).unwrap();
    let odd = Put { metadata: Some(metadata), ..put(value) };
    room.state.put(&writer, &name("a"), odd, Condition::None).await.unwrap();
    let over =
        room.state.put(&writer, &name("a"), by(Strategy::LastWriteWins, "1"), Condition::Version(3)).await;
    assert_eq!(over.unwrap().entry.updated_by, writer.by);
    let lost = &room.history("a").await[1];
    assert_eq!((lost.outcome, lost.value.as_str(), &lost.updated_by), (Outcome::Lost, value, &writer.by));
    assert!(lost.reason.as_ref().unwrap().contains(&writer.by));
}
