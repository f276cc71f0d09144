//! Queues on a real Redis: order, leases, receipts, dead letters, limits, waiting.

use super::{Bench, SECOND, ask, until};
use std::time::{Duration, Instant};
use synod_infra::primitives::queues::{QueueLimits, Queues};
use synod_infra::redis::Once;
use synod_protocol::primitives::queue::{Extend, LeaseRequest, Leased, Nack, NewMessage, Place};
use synod_protocol::{Code, Error, Json, Name, Workspace};

const MINUTE: Duration = Duration::from_secs(60);

/// A queue, and what one says to it.
pub(super) struct Line {
    pub(super) queues: Queues,
    pub(super) workspace: Workspace,
    pub(super) name: Name,
}

impl Line {
    pub(super) fn of(bench: &Bench, name: &str) -> Line {
        Line {
            queues: Queues::new(bench.redis.clone()),
            workspace: bench.workspace.clone(),
            name: name.parse().unwrap(),
        }
    }

    pub(super) async fn put(&self, id: &str, change: impl FnOnce(&mut NewMessage)) -> bool {
        let mut new = NewMessage::new(Json::of(id).unwrap());
        new.message_id = Some(id.to_owned());
        change(&mut new);
        self.queues.enqueue(&self.workspace, &self.name, &[new], None).await.unwrap()[0].duplicate
    }

    pub(super) async fn ask(&self, visibility: Duration, limit: u64, wait: Duration) -> Vec<Leased> {
        let request = LeaseRequest {
            limit: Some(limit),
            wait_ms: Some(wait.as_millis() as u64),
            ..LeaseRequest::new("c", visibility)
        };
        self.queues.lease(&self.workspace, &self.name, &request, None).await.unwrap()
    }

    async fn ids(&self, limit: u64) -> Vec<String> {
        self.ask(MINUTE, limit, Duration::ZERO).await.into_iter().map(|m| m.message_id).collect()
    }

    pub(super) async fn ack(&self, message: &Leased) -> Result<(), Error> {
        self.ack_with(&message.message_id, &message.receipt).await
    }

    async fn ack_with(&self, id: &str, receipt: &str) -> Result<(), Error> {
        self.queues.ack(&self.workspace, &self.name, &id.parse().unwrap(), receipt, None).await
    }

    async fn nack(&self, message: &Leased, delay_ms: u64, reason: &str) -> Result<Place, Error> {
        let nack = Nack {
            receipt: message.receipt.clone(),
            delay_ms: Some(delay_ms),
            reason: Some(reason.to_owned()),
        };
        let id = message.message_id.parse().unwrap();
        self.queues.nack(&self.workspace, &self.name, &id, &nack, None).await
    }

    async fn extend(&self, message: &Leased, visibility_ms: u64) -> Result<(), Error> {
        let extend = Extend { receipt: message.receipt.clone(), visibility_ms };
        let id = message.message_id.parse().unwrap();
        self.queues.extend(&self.workspace, &self.name, &id, &extend, None).await.map(drop)
    }

    /// Ready, leased, delayed, dead.
    pub(super) async fn counts(&self) -> [u64; 4] {
        let status = self.queues.status(&self.workspace, &self.name).await.unwrap();
        [status.ready, status.leased, status.delayed, status.dead]
    }

    pub(super) async fn waiting(&self) -> u64 {
        self.queues.status(&self.workspace, &self.name).await.unwrap().waiting_consumers
    }
}

pub(super) fn is_fenced(result: Result<(), Error>) {
    assert_eq!(result.map_err(|e| e.code), Err(Code::Fenced));
}

#[tokio::test]
async fn the_highest_priority_is_first_and_then_who_came_first() {
    let bench = Bench::start().await;
    let line = Line::of(&bench, "{a}b*/%");
    for (id, priority) in [("a", 0), ("b", 9), ("c", 5), ("d", 9), ("e", 5)] {
        line.put(id, |m| m.priority = Some(priority)).await;
    }
    assert_eq!(line.ids(3).await, ["b", "d", "c"]);
    let first = line.ask(MINUTE, 1, Duration::ZERO).await.remove(0);
    line.put("f", |_| ()).await;
    // What comes back has its place again.
    assert_eq!(line.nack(&first, 0, "later").await.unwrap(), Place::Ready);
    assert_eq!(line.ids(9).await, ["e", "f", "a"]);
    assert!(line.ids(9).await.is_empty());
}

#[tokio::test]
async fn a_receipt_settles_its_own_delivery_once() {
    let bench = Bench::start().await;
    let line = Line::of(&bench, "q");
    line.put("a", |_| ()).await;
    line.put("b", |_| ()).await;
    let two = line.ask(MINUTE, 2, Duration::ZERO).await;
    assert_ne!(two[0].receipt, two[1].receipt);
    assert_eq!((two[0].delivery, &two[0].payload), (1, &Json::of("a").unwrap()));
    is_fenced(line.ack_with("a", &two[1].receipt).await);
    for stranger in ["", "x", &"1-".repeat(500), "1-0-0 a", "1-00000000000000000000000000000000-1"] {
        is_fenced(line.ack_with("a", stranger).await);
    }
    is_fenced(line.ack_with("unknown", &two[0].receipt).await);
    // The same again is no error; what is settled cannot be settled otherwise.
    line.ack(&two[0]).await.unwrap();
    line.ack(&two[0]).await.unwrap();
    is_fenced(line.nack(&two[0], 0, "").await.map(drop));
    is_fenced(line.extend(&two[0], 1_000).await);
    assert_eq!(line.nack(&two[1], 60_000, "").await.unwrap(), Place::Delayed);
    assert_eq!(line.nack(&two[1], 0, "").await.unwrap(), Place::Delayed, "the first answer again");
    is_fenced(line.ack(&two[1]).await);
    assert_eq!(line.counts().await, [0, 0, 1, 0]);
}

#[tokio::test]
async fn whose_lease_has_ended_has_nothing_more_to_say() {
    let bench = Bench::start().await;
    let line = Line::of(&bench, "q");
    line.put("a", |_| ()).await;
    let first = line.ask(Duration::from_millis(30), 1, Duration::ZERO).await.remove(0);
    // Nobody else has it yet: it has ended all the same.
    let given = Instant::now();
    until("the lease ends", SECOND, async || given.elapsed() > Duration::from_millis(31)).await;
    is_fenced(line.ack(&first).await);
    let second = line.ask(MINUTE, 1, Duration::ZERO).await.remove(0);
    assert_eq!(second.delivery, 2);
    is_fenced(line.ack(&first).await);
    is_fenced(line.extend(&first, 1_000).await);
    is_fenced(line.nack(&first, 0, "").await.map(drop));
    line.extend(&second, 60_000).await.unwrap();
    line.ack(&second).await.unwrap();
    assert_eq!(line.counts().await, [0; 4]);
}

#[tokio::test]
async fn after_its_last_delivery_a_message_is_dead_and_says_why() {
    let bench = Bench::start().await;
    let line = Line::of(&bench, "q");
    for id in ["silent", "refused", "lively"] {
        line.put(id, |m| m.max_deliveries = Some(if id == "lively" { 2 } else { 1 })).await;
    }
    let three = line.ask(Duration::from_millis(20), 3, Duration::ZERO).await;
    assert_eq!(line.nack(&three[1], 0, "no such order").await.unwrap(), Place::Dead);
    until("the others' leases end", SECOND, async || line.counts().await == [1, 0, 0, 2]).await;
    let page = line.queues.dead(&line.workspace, &line.name, 0, 1).await.unwrap();
    let next = page.next.unwrap();
    let rest = line.queues.dead(&line.workspace, &line.name, next, 9).await.unwrap();
    assert_eq!(rest.next, None);
    let said: Vec<_> =
        page.items.iter().chain(&rest.items).map(|d| (&*d.message_id, &*d.reason, d.deliveries)).collect();
    assert_eq!(said, [("refused", "no such order", 1), ("silent", "visibility timeout", 1)]);
    // A dead one is still known by its id, and lives again with its deliveries counted anew.
    assert!(line.put("silent", |_| ()).await);
    let redrive = async |id: &str| {
        line.queues.redrive(&line.workspace, &line.name, &id.parse().unwrap(), None).await.map_err(|e| e.code)
    };
    assert_eq!(redrive("silent").await, Ok(()));
    assert_eq!(redrive("silent").await, Err(Code::NotFound));
    is_fenced(line.ack(&three[0]).await);
    let again = line.ask(MINUTE, 9, Duration::ZERO).await;
    let said: Vec<_> = again.iter().map(|m| (&*m.message_id, m.delivery)).collect();
    assert_eq!(said, [("lively", 2), ("silent", 1)]);
}

#[tokio::test]
async fn an_id_is_taken_once_also_after_its_ack() {
    let bench = Bench::start().await;
    let line = Line::of(&bench, "q");
    assert!(!line.put("a", |_| ()).await);
    assert!(line.put("a", |m| m.payload = Json::null()).await);
    let leased = line.ask(MINUTE, 9, Duration::ZERO).await;
    assert_eq!(leased[0].payload, Json::of("a").unwrap(), "the first one stands");
    line.ack(&leased[0]).await.unwrap();
    assert!(line.put("a", |_| ()).await);
    assert_eq!(line.counts().await, [0; 4]);
    // Within one call too; and what has no id is always new.
    let named = |id: &str| NewMessage { message_id: Some(id.into()), ..NewMessage::new(Json::null()) };
    let batch = [named("b"), named("a"), named("b"), NewMessage::default(), NewMessage::default()];
    let items = line.queues.enqueue(&line.workspace, &line.name, &batch, None).await.unwrap();
    assert_eq!(items.iter().map(|i| i.duplicate).collect::<Vec<_>>(), [false, true, true, false, false]);
    assert!(items[3].message_id.starts_with("msg_") && items[3].message_id != items[4].message_id);
    // The same name elsewhere is another.
    assert!(!Line::of(&bench, "q2").put("a", |_| ()).await);
    assert!(!Line { workspace: "w-2".parse().unwrap(), ..Line::of(&bench, "q") }.put("a", |_| ()).await);
}

#[tokio::test]
async fn a_repeated_request_has_one_effect_and_a_refused_one_none() {
    let bench = Bench::start().await;
    let limits = QueueLimits { messages: 1, ..QueueLimits::default() };
    let line = Line { queues: Queues::with_limits(bench.redis.clone(), limits), ..Line::of(&bench, "q") };
    let once = |key: &str, said: &str| Once { key: key.into(), said: said.into() };
    let put = async |once: &Once| {
        line.queues.enqueue(&line.workspace, &line.name, &[NewMessage::default()], Some(once)).await
    };
    let first = put(&once("k", "x")).await.unwrap();
    assert_eq!(put(&once("k", "x")).await.unwrap(), first);
    assert_eq!(put(&once("k", "y")).await.unwrap_err().code, Code::Unprocessable);
    assert_eq!(put(&once("l", "x")).await.unwrap_err().code, Code::Overloaded);
    let lease = async |once: &Once| {
        line.queues
            .lease(&line.workspace, &line.name, &LeaseRequest::new("c", MINUTE), Some(once))
            .await
            .unwrap()
    };
    let leased = lease(&once("m", "x")).await;
    assert_eq!(lease(&once("m", "x")).await, leased, "the same delivery again");
    line.ack(&leased[0]).await.unwrap();
    assert_eq!(put(&once("l", "x")).await.unwrap().len(), 1, "room has been made");
}

#[tokio::test]
async fn a_full_queue_takes_nothing_of_what_does_not_fit() {
    let bench = Bench::start().await;
    let limits = QueueLimits { messages: 3, bytes: 100 };
    let line = Line { queues: Queues::with_limits(bench.redis.clone(), limits), ..Line::of(&bench, "q") };
    let of = |bytes: usize| NewMessage::new(Json::of(&"x".repeat(bytes - 2)).unwrap());
    let put = async |messages: &[NewMessage]| {
        line.queues.enqueue(&line.workspace, &line.name, messages, None).await.map(|items| items.len())
    };
    put(&[of(50)]).await.unwrap();
    let error = put(&[of(25), of(26)]).await.unwrap_err();
    assert_eq!((error.code, error.retry_after_ms), (Code::Overloaded, Some(1_000)), "{error}");
    assert_eq!(put(&[of(2), of(2), of(2)]).await.unwrap_err().code, Code::Overloaded);
    assert_eq!(line.counts().await, [1, 0, 0, 0], "all or none");
    put(&[of(25), of(25)]).await.unwrap();
    // Leased ones count; the dead do not.
    let leased = line.ask(MINUTE, 3, Duration::ZERO).await;
    assert_eq!(put(&[of(2)]).await.unwrap_err().code, Code::Overloaded);
    line.ack(&leased[0]).await.unwrap();
    put(&[of(50)]).await.unwrap();
    let status = line.queues.status(&line.workspace, &line.name).await.unwrap();
    assert_eq!((status.bytes, status.ready, status.leased), (100, 1, 2));
}

#[tokio::test]
async fn the_dead_make_room_for_newer_ones() {
    let bench = Bench::start().await;
    let line = Line::of(&bench, "q");
    // 67 of a MiB and a little more than 64 fit.
    let big = Json::of(&"x".repeat(255 * 1024)).unwrap();
    for n in 0..270 {
        line.put(&format!("m{n}"), |m| (m.payload, m.max_deliveries) = (big.clone(), Some(1))).await;
        let leased = line.ask(MINUTE, 1, Duration::ZERO).await.remove(0);
        line.nack(&leased, 0, "no").await.unwrap();
    }
    let status = line.queues.status(&line.workspace, &line.name).await.unwrap();
    assert_eq!((status.dead + status.dead_dropped, status.bytes), (270, 0));
    assert!(status.dead < 260 && status.dead > 250, "{status:?}");
    // A page is bounded by its bytes too.
    let page = line.queues.dead(&line.workspace, &line.name, 0, 1_000).await.unwrap();
    assert_eq!(page.items.len(), 16);
    assert_eq!(page.items[0].message_id, format!("m{}", status.dead_dropped));
}

#[tokio::test]
async fn a_lease_gives_no_more_than_an_answer_may_carry() {
    let bench = Bench::start().await;
    let line = Line::of(&bench, "q");
    let big = Json::of(&"x".repeat(255 * 1024)).unwrap();
    for n in 0..20 {
        line.put(&n.to_string(), |m| m.payload = big.clone()).await;
    }
    let expected = |range: std::ops::Range<u64>| range.map(|n| n.to_string()).collect::<Vec<_>>();
    assert_eq!(line.ids(100).await, expected(0..16));
    assert_eq!(line.counts().await, [4, 16, 0, 0]);
    assert_eq!(line.ids(100).await, expected(16..20));
}

#[tokio::test]
async fn a_lease_that_is_extended_outlasts_its_first_end() {
    let bench = Bench::start().await;
    let line = Line::of(&bench, "q");
    line.put("a", |_| ()).await;
    let leased = line.ask(Duration::from_millis(200), 1, Duration::ZERO).await.remove(0);
    line.extend(&leased, 60_000).await.unwrap();
    let given = Instant::now();
    until("its first end has passed", SECOND, async || given.elapsed() > Duration::from_millis(210)).await;
    assert_eq!(line.counts().await, [0, 1, 0, 0]);
    line.ack(&leased).await.unwrap();
}

#[tokio::test]
async fn a_status_counts_and_an_unused_queue_is_empty() {
    let bench = Bench::start().await;
    let line = Line::of(&bench, "q");
    assert_eq!(line.counts().await, [0; 4]);
    let mut raw = bench.raw().await;
    assert_eq!(ask::<u64>(&mut raw, &["DBSIZE"]).await, 0, "asking leaves nothing behind");
    for n in 0..60 {
        line.put(&n.to_string(), |m| m.delay_ms = (n < 10).then_some(60_000)).await;
    }
    let leased = line.ask(MINUTE, 20, Duration::ZERO).await;
    for message in &leased[..6] {
        line.ack(message).await.unwrap();
    }
    let status = line.queues.status(&line.workspace, &line.name).await.unwrap();
    assert_eq!([status.ready, status.leased, status.delayed, status.dead], [30, 14, 10, 0]);
    let rates = [status.rates.enqueued_per_s, status.rates.leased_per_s, status.rates.acked_per_s];
    assert_eq!(rates.map(|rate| (rate * 60.0).round() as u64), [60, 20, 6]);
    assert!(status.oldest_age_ms.is_some_and(|age| age < 60_000), "{status:?}");
    // What is settled leaves only what is remembered for a while.
    let all: Vec<String> = ask(&mut raw, &["KEYS", "*:queue*"]).await;
    for key in &all {
        assert!(key.starts_with("synod:{w-1/q}:queue"), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_is_woken_by_what_comes_and_by_what_is_due() {
    let bench = Bench::start().await;
    let line = Line::of(&bench, "q");
    let soon = Duration::from_millis(500); // well below the look of its own
    let waited = async |before: &dyn AsyncPut, visibility| {
        let (began, asked) = (Instant::now(), line.ask(visibility, 1, 20 * SECOND));
        let (items, ()) = tokio::join!(asked, async {
            until("it waits", SECOND, async || line.waiting().await == 1).await;
            before.run(&line).await;
        });
        assert_eq!(items.len(), 1);
        assert!(began.elapsed() < 2 * soon, "{:?}", began.elapsed());
        items.into_iter().next().unwrap()
    };
    let first = waited(&At(0), Duration::from_millis(150)).await;
    // Its lease ends while somebody waits.
    let second = waited(&Nothing, MINUTE).await;
    assert_eq!((&second.message_id, second.delivery), (&first.message_id, 2));
    // A delay ends while somebody waits who came before it was there.
    let third = waited(&At(150), MINUTE).await;
    assert_eq!(third.delivery, 1);
    assert_eq!(line.waiting().await, 0);
}

/// What happens while somebody waits.
trait AsyncPut {
    fn run<'a>(&'a self, line: &'a Line) -> futures::future::BoxFuture<'a, ()>;
}
struct At(u64);
struct Nothing;
impl AsyncPut for At {
    fn run<'a>(&'a self, line: &'a Line) -> futures::future::BoxFuture<'a, ()> {
        Box::pin(async {
            line.put(&format!("in {}", self.0), |m| m.delay_ms = Some(self.0)).await;
        })
    }
}
impl AsyncPut for Nothing {
    fn run<'a>(&'a self, _: &'a Line) -> futures::future::BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_message_wakes_one_of_many_and_the_first_of_them() {
    let bench = Bench::start().await;
    let line = std::sync::Arc::new(Line::of(&bench, "q"));
    let (sent, mut came) = tokio::sync::mpsc::unbounded_channel();
    let mut waiting = Vec::new();
    for n in 0..40u64 {
        let (line, sent) = (line.clone(), sent.clone());
        waiting.push(tokio::spawn(async move {
            for message in line.ask(MINUTE, 1, MINUTE).await {
                sent.send((n, message.message_id)).unwrap();
            }
        }));
        let line = Line::of(&bench, "q");
        until("it waits", SECOND, async || line.waiting().await == n + 1).await;
    }
    let mut raw = bench.raw().await;
    ask::<()>(&mut raw, &["CONFIG", "RESETSTAT"]).await;
    for n in 0..10u64 {
        line.put(&format!("m{n}"), |_| ()).await;
        assert_eq!(came.recv().await.unwrap(), (n, format!("m{n}")), "first come");
    }
    let info: String = ask(&mut raw, &["INFO", "commandstats"]).await;
    let calls = info.lines().find_map(|l| l.strip_prefix("cmdstat_evalsha:calls=")).unwrap();
    let calls: u64 = calls.split(',').next().unwrap().parse().unwrap();
    // One to put in and one to lease for each; and one look of each waiting one at most, should this have taken so long.
    assert!(calls <= 20 + 40, "{calls} calls");
    // Who waits no longer passes on what it is woken for.
    let before = line.waiting().await;
    waiting[10].abort();
    until("it has left", SECOND, async || line.waiting().await == before - 1).await;
    line.put("next", |_| ()).await;
    assert_eq!(came.recv().await.unwrap(), (11, "next".to_owned()));
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    until("all have left", SECOND, async || line.waiting().await == 0).await;
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_its_place() {
    let bench = Bench::start().await;
    let line = Line::of(&bench, "q");
    let lease = async |change: &dyn Fn(&mut LeaseRequest)| {
        let mut request = LeaseRequest::new("c", MINUTE);
        change(&mut request);
        let error = line.queues.lease(&line.workspace, &line.name, &request, None).await.unwrap_err();
        (error.code, error.field.unwrap_or_default())
    };
    let invalid = |field: &str| (Code::InvalidArgument, field.to_owned());
    assert_eq!(lease(&|r| r.visibility_ms = 0).await, invalid("/visibility_ms"));
    assert_eq!(lease(&|r| r.visibility_ms = u64::MAX).await, invalid("/visibility_ms"));
    assert_eq!(lease(&|r| r.limit = Some(0)).await, invalid("/limit"));
    assert_eq!(lease(&|r| r.limit = Some(101)).await, invalid("/limit"));
    assert_eq!(lease(&|r| r.consumer = "a\nb".into()).await, invalid("/consumer"));
    for name in ["", "a\nb", "a\0b", "..", &"x".repeat(513)] {
        assert!(name.parse::<Name>().is_err(), "{name:?}");
    }
    for name in ["{}", "}{", "{", "a b/é%*?[x]", &"x".repeat(512)] {
        let line = Line::of(&bench, name);
        line.put("{}} %", |_| ()).await;
        let leased = line.ask(MINUTE, 1, Duration::ZERO).await.remove(0);
        line.ack(&leased).await.unwrap();
        line.ack(&leased).await.unwrap();
        assert_eq!(line.counts().await, [0; 4], "{name}");
    }
}
