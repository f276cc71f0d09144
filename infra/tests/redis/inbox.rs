//! Inboxes: once per attempt, never for a deposed owner, nothing lost between move and answer.

use super::{Bench, SECOND, ask, connections_received, until};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use synod_infra::redis::inbox::{Delivered, Delivery, INBOX_LIMIT, InboxReader, Inboxes, TakeBack};
use synod_infra::redis::{RedisError, keys};

impl Bench {
    fn attempt(&self, shard: u32, epoch: u64, attempt: &str) -> Delivery {
        let attempt_id = Some(attempt.to_owned());
        Delivery { shard, epoch, attempt_id, ..self.notice(format!("body of {attempt}")) }
    }

    fn inboxes(&self) -> Inboxes {
        Inboxes::new(self.redis.clone())
    }

    fn reader(&self) -> InboxReader {
        InboxReader::new(self.redis.clone(), &self.workspace, &self.agent, &self.incarnation)
    }

    async fn deliver_one(&self, delivery: Delivery) -> Delivered {
        self.inboxes().deliver(vec![delivery]).await.remove(0).unwrap()
    }

    async fn waiting(&self) -> u64 {
        self.inboxes().waiting(&self.workspace, &self.agent).await.unwrap()
    }
}

#[tokio::test]
async fn what_is_urgent_is_taken_before_a_thousand_that_wait() {
    let bench = Bench::start().await;
    let work = (0..1_000).map(|n| bench.attempt(0, 5, &format!("t{n}#1"))).collect();
    assert!(
        bench.inboxes().deliver(work).await.iter().all(|outcome| matches!(outcome, Ok(Delivered::Accepted)))
    );
    let urgent = || Delivery { urgent: true, ..bench.attempt(0, 5, "n#r1#start") };
    assert_eq!(bench.deliver_one(urgent()).await, Delivered::Accepted);
    assert_eq!(bench.deliver_one(urgent()).await, Delivered::AlreadyThere, "once, as everything else");
    let mut reader = bench.reader();
    for wanted in ["body of n#r1#start", "body of t0#1", "body of t1#1"] {
        assert_eq!(reader.take(SECOND).await.unwrap().as_deref(), Some(wanted));
    }
}

#[tokio::test]
async fn a_full_inbox_has_room_for_what_is_urgent() {
    let bench = Bench::start().await;
    let notices = (0..INBOX_LIMIT).map(|n| bench.notice(format!("n{n}"))).collect();
    bench.inboxes().deliver(notices).await;
    let more = bench.inboxes().deliver(vec![bench.attempt(0, 5, "t#1")]).await.remove(0);
    assert!(matches!(more, Err(RedisError::Full { .. })), "{more:?}");
    let urgent = Delivery { urgent: true, ..bench.attempt(0, 5, "n#r1#start") };
    assert_eq!(bench.deliver_one(urgent).await, Delivered::Accepted);
    assert_eq!(bench.reader().take(SECOND).await.unwrap().as_deref(), Some("body of n#r1#start"));
}

#[tokio::test]
async fn a_deposed_owner_is_refused_per_shard_and_an_attempt_is_there_once() {
    use Delivered::{Accepted, AlreadyThere, Fenced};
    let bench = Bench::start().await;
    let mut waiting = 0;
    for (shard, epoch, attempt, expected) in [
        (0, 100, "t1#1", Accepted),
        (0, 100, "t1#1", AlreadyThere),
        (0, 100, "t1#2", Accepted),
        (0, 250, "t1#2", AlreadyThere), // a repeat by the new owner deposes the old one all the same
        (0, 249, "t2#1", Fenced { newest: 250 }),
        (0, 99, "t1#1", AlreadyThere), // refused, unless it has that attempt
        (1, 7, "t3#1", Accepted),      // another shard has epochs of its own
        (1, 6, "t4#1", Fenced { newest: 7 }),
        (0, 250, "t2#1", Accepted),
        (0, 9_007_199_254_740_991, "t5#1", Accepted), // 2^53 - 1
        (0, 9_007_199_254_740_990, "t6#1", Fenced { newest: 9_007_199_254_740_991 }),
    ] {
        let result = bench.deliver_one(bench.attempt(shard, epoch, attempt)).await;
        assert_eq!(result, expected, "shard {shard}, epoch {epoch}, {attempt}");
        waiting += u64::from(expected == Accepted);
        assert_eq!(bench.waiting().await, waiting);
    }
    let stale_notice = Delivery { shard: 1, epoch: 6, ..bench.notice("cancel".into()) };
    assert_eq!(bench.deliver_one(stale_notice).await, Fenced { newest: 7 });
    let notice = || Delivery { shard: 1, epoch: 7, ..bench.notice("cancel".into()) };
    assert_eq!(bench.deliver_one(notice()).await, Accepted);
    assert_eq!(bench.deliver_one(notice()).await, Accepted, "a notice is delivered as often as issued");
}

#[tokio::test]
async fn what_is_given_back_is_ahead_of_all_and_held_by_nobody() {
    let bench = Bench::start().await;
    for attempt in ["t#1", "u#1"] {
        bench.deliver_one(bench.attempt(0, 1, attempt)).await;
    }
    let mut reader = bench.reader();
    let body = reader.take(SECOND).await.unwrap().unwrap();
    reader.taken().give_back(&body).await.unwrap();
    assert_eq!((bench.waiting().await, reader.taken().list().await.unwrap()), (2, Vec::<String>::new()));
    assert_eq!(reader.take(SECOND).await.unwrap(), Some(body));
}

#[tokio::test]
async fn an_attempt_that_was_taken_is_still_known() {
    let bench = Bench::start().await;
    bench.deliver_one(bench.attempt(0, 1, "t#1")).await;
    let mut reader = bench.reader();
    let body = reader.take(SECOND).await.unwrap().unwrap();
    reader.settle(&body).await.unwrap();
    assert_eq!(bench.deliver_one(bench.attempt(0, 1, "t#1")).await, Delivered::AlreadyThere);
}

/// What the coordinators deliver is the event as structured JSON.
fn assigned(bench: &Bench, task: &str, attempt: u32) -> Delivery {
    let body = format!(
        r#"{{"specversion":"1.0","type":"synod.task.assigned","data":{{"task_id":"{task}","attempt":{attempt},"input":{{"attempt":7}}}}}}"#
    );
    Delivery { body, ..bench.attempt(0, 5, &format!("{task}#{attempt}")) }
}

#[tokio::test]
async fn what_nobody_has_taken_is_taken_back_and_only_that() {
    let bench = Bench::start().await;
    let back = async |epoch: u64, ids: &[&str]| {
        let attempt_ids = ids.iter().map(|id| (*id).to_owned()).collect();
        let (workspace, agent) = (bench.workspace.clone(), bench.agent.clone());
        bench.inboxes().take_back(TakeBack { workspace, agent, shard: 0, epoch, attempt_ids }).await.unwrap()
    };
    for (task, attempt) in [("taken", 1), ("t", 1), ("t", 12), ("other", 1)] {
        bench.deliver_one(assigned(&bench, task, attempt)).await;
    }
    let cancelled = r#"{"type":"synod.task.cancelled","data":{"task_id":"t","attempt":1}}"#;
    for body in ["no JSON", cancelled] {
        bench.deliver_one(Delivery { epoch: 5, ..bench.notice(body.into()) }).await;
    }
    let mut reader = bench.reader();
    reader.take(SECOND).await.unwrap().unwrap();

    assert_eq!(back(4, &["t#1"]).await, Vec::<String>::new(), "a deposed owner takes nothing back");
    assert_eq!(back(5, &["taken#1", "t#12", "nobody's#1"]).await, ["t#12"]);
    assert_eq!(back(5, &["t#12"]).await, Vec::<String>::new(), "once");
    assert_eq!(bench.waiting().await, 4);
    // Should nothing come of that, it can be handed over once more; what was taken cannot.
    assert_eq!(bench.deliver_one(assigned(&bench, "t", 12)).await, Delivered::Accepted);
    assert_eq!(bench.deliver_one(assigned(&bench, "taken", 1)).await, Delivered::AlreadyThere);
}

#[tokio::test]
async fn what_an_inbox_remembers_is_limited_in_age_and_number() {
    let bench = Bench::start().await;
    let mut raw = bench.raw().await;
    let seen = keys::seen(&bench.workspace, &bench.agent);
    bench.deliver_one(bench.attempt(0, 1, "young#1")).await;
    let hour_ago: (u64, u64) = ask(&mut raw, &["TIME"]).await;
    let hour_ago = ((hour_ago.0 - 3601) * 1000).to_string();
    ask::<()>(&mut raw, &["ZADD", &seen, &hour_ago, "old#1"]).await;
    assert_eq!(
        bench.deliver_one(bench.attempt(0, 1, "old#1")).await,
        Delivered::Accepted,
        "forgotten by age"
    );
    let many: Vec<Delivery> = (0..INBOX_LIMIT - 2).map(|n| bench.attempt(0, 1, &format!("m{n}#1"))).collect();
    assert!(bench.inboxes().deliver(many).await.iter().all(|r| *r == Ok(Delivered::Accepted)));
    let full = bench.inboxes().deliver(vec![bench.attempt(0, 1, "one more#1")]).await.remove(0);
    assert_eq!(full, Err(RedisError::Full { what: "an inbox", limit: INBOX_LIMIT }));
    ask::<()>(&mut raw, &["LPOP", &keys::inbox(&bench.workspace, &bench.agent), "5"]).await;
    for n in 0..5 {
        bench.deliver_one(bench.attempt(0, 1, &format!("last{n}#1"))).await;
    }
    assert_eq!(ask::<u64>(&mut raw, &["ZCARD", &seen]).await, 10_000);
    for key in [seen, keys::guard(&bench.workspace, &bench.agent)] {
        assert!(ask::<i64>(&mut raw, &["PTTL", &key]).await > 0, "{key} ends some day");
    }
}

#[tokio::test]
async fn what_a_crashed_reader_took_is_drained_by_the_next_of_its_incarnation() {
    let bench = Bench::start().await;
    for n in 1..=4 {
        bench.deliver_one(bench.attempt(0, 1, &format!("t{n}#1"))).await;
    }
    let mut crashed = bench.reader();
    let first = crashed.take(SECOND).await.unwrap().unwrap();
    let second = crashed.take(SECOND).await.unwrap().unwrap();
    crashed.settle(&first).await.unwrap();
    drop(crashed);
    let mut reader = bench.reader();
    assert_eq!(reader.take(SECOND).await.unwrap(), Some(second), "taken and not settled comes first");
    assert_eq!(reader.take(SECOND).await.unwrap().as_deref(), Some("body of t3#1"));
    assert_eq!(reader.take(SECOND).await.unwrap().as_deref(), Some("body of t4#1"));
    assert_eq!(reader.taken().list().await.unwrap().len(), 3);
    let mut raw = bench.raw().await;
    let taken = keys::taken(&bench.workspace, &bench.agent, &bench.incarnation);
    assert!(ask::<i64>(&mut raw, &["PTTL", &taken]).await > 0, "the taken list ends some day");
    bench.inboxes().forget(&bench.workspace, &bench.agent, &bench.incarnation).await.unwrap();
    assert!(reader.taken().list().await.unwrap().is_empty());
}

/// The server moves a body and the connection breaks before the answer: the body is in `taken`, unseen.
#[tokio::test]
async fn a_body_whose_answer_was_lost_is_found_after_the_reconnect_and_only_that() {
    let bench = Bench::start().await;
    bench.deliver_one(bench.attempt(0, 1, "known#1")).await;
    let mut reader = bench.reader();
    assert_eq!(reader.take(SECOND).await.unwrap().as_deref(), Some("body of known#1"));
    bench.deliver_one(bench.attempt(0, 1, "lost#1")).await;
    let mut raw = bench.raw().await;
    let inbox = keys::inbox(&bench.workspace, &bench.agent);
    let taken = keys::taken(&bench.workspace, &bench.agent, &bench.incarnation);
    ask::<String>(&mut raw, &["LMOVE", &inbox, &taken, "LEFT", "RIGHT"]).await;
    ask::<u64>(&mut raw, &["CLIENT", "KILL", "TYPE", "normal"]).await;

    let mut bodies = Vec::new();
    let began = Instant::now();
    while began.elapsed() < SECOND {
        // The first call reports the broken connection; the next ones go on.
        bodies.extend(reader.take(Duration::from_millis(100)).await.unwrap_or_default());
    }
    assert_eq!(bodies, ["body of lost#1"], "once, and what was handed out before not again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_stops_waiting_loses_nothing() {
    const BODIES: usize = 300;
    let bench = Bench::start().await;
    let sender = tokio::spawn({
        let inboxes = bench.inboxes();
        let bodies: Vec<Delivery> = (0..BODIES).map(|n| bench.attempt(0, 1, &format!("t{n}#1"))).collect();
        async move {
            for delivery in bodies {
                inboxes.deliver(vec![delivery]).await.remove(0).unwrap();
                tokio::time::sleep(Duration::from_micros(700)).await;
            }
        }
    });
    let mut reader = bench.reader();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let (began, mut given_up) = (Instant::now(), 0);
    for n in 0u64.. {
        if counts.len() == BODIES {
            break;
        }
        assert!(began.elapsed() < 20 * SECOND, "{} of {BODIES} came", counts.len());
        // Dropped at every stage of the exchange: before it is sent, while it waits, as it is answered.
        match tokio::time::timeout(Duration::from_micros(n * 37 % 900), reader.take(SECOND)).await {
            Ok(taken) => *counts.entry(taken.unwrap().unwrap()).or_default() += 1,
            Err(_) => given_up += 1,
        }
    }
    sender.await.unwrap();
    assert!(given_up > 50, "only {given_up} calls were given up");
    assert!(counts.values().all(|n| *n == 1), "each once: {counts:?}");
    assert_eq!(reader.take(Duration::from_millis(50)).await.unwrap(), None);
    // The starter's, ours, the reader's: giving up costs no connection.
    assert_eq!(connections_received(&mut bench.raw().await).await, 4);
}

#[tokio::test]
async fn a_read_may_wait_longer_than_the_drivers_half_second() {
    let bench = Bench::start().await;
    let mut reader = bench.reader();
    let began = Instant::now();
    assert_eq!(reader.take(Duration::from_millis(1300)).await, Ok(None));
    assert!(began.elapsed() >= Duration::from_millis(1300), "{:?}", began.elapsed());
    let late = async {
        tokio::time::sleep(Duration::from_millis(900)).await;
        bench.deliver_one(bench.attempt(0, 1, "t#1")).await;
        Instant::now()
    };
    let (taken, delivered_at) = tokio::join!(async { (reader.take(5 * SECOND).await, Instant::now()) }, late);
    assert_eq!(taken.0.unwrap().as_deref(), Some("body of t#1"));
    let after = taken.1.saturating_duration_since(delivered_at);
    assert!(after < Duration::from_millis(200), "handed out {after:?} after the delivery");
}

#[tokio::test]
async fn what_is_settled_while_redis_is_away_is_not_handed_out_again() {
    let bench = Bench::start().await;
    for n in 1..=2 {
        bench.deliver_one(bench.attempt(0, 1, &format!("t{n}#1"))).await;
    }
    let mut reader = bench.reader();
    let first = reader.take(SECOND).await.unwrap().unwrap();
    let second = reader.take(SECOND).await.unwrap().unwrap();
    let mut raw = bench.raw().await;
    // All other clients wait at the server for longer than a call may.
    ask::<()>(&mut raw, &["CLIENT", "PAUSE", "1300", "ALL"]).await;
    assert!(matches!(reader.settle(&first).await, Err(RedisError::Timeout { .. })));
    until("Redis answers again", 3 * SECOND, || async { bench.redis.ready().await.is_ok() }).await;
    reader.settle(&second).await.unwrap();
    assert!(reader.taken().list().await.unwrap().is_empty(), "the first is settled with the second");
}
