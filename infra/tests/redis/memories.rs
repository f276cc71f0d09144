//! Agents' memories on a real Redis: what goes first, what is found, what is handed over, hot caches.

use super::{Bench, SECOND, ask, until};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use std::collections::BTreeMap;
use std::time::Duration;
use synod_infra::primitives::memory::{Listing, Memories, Memory, STALENESS};
use synod_infra::redis::Once;
use synod_protocol::primitives::memory::{MemoryLimits, PutMemory, Thread, VALUE_BYTES};
use synod_protocol::{Code, Json, Name};

impl Bench {
    fn memories(&self, entries: u64, bytes: u64, staleness: Duration) -> Memories {
        let limits = MemoryLimits { entries, bytes, ..MemoryLimits::default() };
        Memories::new(self.redis.clone(), limits, staleness)
    }

    fn memory(&self, entries: u64, staleness: Duration) -> Memory {
        self.memories(entries, 100_000_000, staleness).of(&self.workspace, &self.agent)
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

async fn put(memory: &Memory, key: &str, value: &str) -> bool {
    memory.put(&name(key), &PutMemory::new(Json::of(value).unwrap()), None).await.unwrap().1
}

async fn put_tagged(memory: &Memory, key: &str, tags: &[&str]) {
    let tags = tags.iter().map(|t| (*t).to_owned()).collect();
    memory.put(&name(key), &PutMemory { tags, ..PutMemory::new(Json::null()) }, None).await.unwrap();
}

async fn get(memory: &Memory, key: &str) -> Option<String> {
    memory.get(&name(key)).await.unwrap().map(|entry| entry.value.to().unwrap())
}

async fn keys(memory: &Memory, prefix: &str, tag: Option<&str>, limit: usize) -> Vec<String> {
    let mut listing = Listing { prefix: prefix.to_owned(), tag: tag.map(str::to_owned), before: None, limit };
    let mut all = Vec::new();
    loop {
        let page = memory.list(&listing).await.unwrap();
        assert!(page.items.len() <= limit);
        all.extend(page.items.iter().map(|entry| entry.key.to_string()));
        match page.next {
            Some(next) => listing.before = Some(next),
            None => return all,
        }
    }
}

#[tokio::test]
async fn an_entry_is_written_whole_and_found_again() {
    let bench = Bench::start().await;
    let memory = bench.memory(9, Duration::ZERO);
    assert_eq!(get(&memory, "a").await, None);
    let first = PutMemory {
        tags: vec!["y".into(), "x".into(), "y".into()],
        ..PutMemory::new(Json::of("1").unwrap())
    };
    let (made, is_new) = memory.put(&name("a"), &first, None).await.unwrap();
    assert!(is_new && made.tags == ["x", "y"] && made.provenance.is_none(), "{made:?}");
    assert_eq!(made.expires_at.millis_since(made.updated_at), 24 * 3600 * 1000);
    assert_eq!(memory.get(&name("a")).await.unwrap(), Some(made.clone()));
    let second = PutMemory { ttl_ms: Some(60_000), ..PutMemory::new(Json::null()) };
    let (changed, is_new) = memory.put(&name("a"), &second, None).await.unwrap();
    assert!(!is_new && changed.tags.is_empty() && changed.created_at == made.created_at, "{changed:?}");
    assert!(keys(&memory, "", Some("x"), 9).await.is_empty());
    assert!(memory.delete(&name("a"), None).await.unwrap());
    assert!(!memory.delete(&name("a"), None).await.unwrap());
    let statistics = memory.statistics().await.unwrap();
    assert_eq!((statistics.entries, statistics.bytes, statistics.hits, statistics.misses), (0, 0, 1, 1));
}

#[tokio::test]
async fn what_has_ended_is_gone_without_a_trace() {
    let bench = Bench::start().await;
    let memory = bench.memory(9, STALENESS);
    let short = PutMemory { ttl_ms: Some(40), tags: vec!["t".into()], ..PutMemory::new(Json::null()) };
    memory.put(&name("a"), &short, None).await.unwrap();
    assert!(memory.get(&name("a")).await.unwrap().is_some());
    // Not for as long as the hot cache would keep it.
    until("it ends", SECOND / 2, async || memory.get(&name("a")).await.unwrap().is_none()).await;
    assert_eq!(memory.statistics().await.unwrap().bytes, 0);
    // The keys go by themselves, those of the counters aside.
    memory.put(&name("a"), &short, None).await.unwrap();
    let mut raw = bench.raw().await;
    until("nothing is left", 3 * SECOND, async || ask::<u64>(&mut raw, &["DBSIZE"]).await == 2).await;
    assert_eq!(memory.statistics().await.unwrap().bytes, 0, "counted from nothing");
    assert_eq!(ask::<Vec<String>>(&mut raw, &["KEYS", "*:memory*"]).await.len(), 1);
}

#[tokio::test]
async fn lists_are_newest_written_first_by_prefix_and_tag() {
    let bench = Bench::start().await;
    let memory = bench.memory(1_000, Duration::ZERO);
    for n in 0..250 {
        let tags: &[&str] = if n % 2 == 0 { &["even", "all"] } else { &["all"] };
        put_tagged(&memory, &format!("{}/{n}", n % 5), tags).await;
    }
    put_tagged(&memory, "0/0", &["even*"]).await;
    let expected = |keep: &dyn Fn(usize) -> bool| -> Vec<String> {
        (1..250).rev().filter(|n| keep(*n)).map(|n| format!("{}/{n}", n % 5)).collect()
    };
    for limit in [1, 7, 100, 1_000] {
        assert_eq!(keys(&memory, "1/", None, limit).await, expected(&|n| n % 5 == 1));
        assert_eq!(keys(&memory, "", Some("even"), limit).await, expected(&|n| n % 2 == 0));
        assert_eq!(keys(&memory, "1/", Some("even"), limit).await, expected(&|n| n % 10 == 6));
    }
    assert_eq!(keys(&memory, "", Some("even*"), 9).await, ["0/0"]);
    assert_eq!(keys(&memory, "", None, 9).await[0], "0/0", "written last");
    assert_eq!(keys(&memory, "*", None, 9).await.len(), 0, "a prefix is no pattern");
}

#[tokio::test]
async fn a_hand_over_copies_all_with_where_it_came_from_or_nothing() {
    let bench = Bench::start().await;
    let memories = bench.memories(3, 100_000_000, Duration::ZERO);
    let (from, to) =
        (memories.of(&bench.workspace, &bench.agent), memories.of(&bench.workspace, &"b".parse().unwrap()));
    put_tagged(&from, "x", &["t"]).await;
    put(&from, "y", "mine").await;
    for key in ["y", "z", "w"] {
        put(&to, key, "theirs").await;
    }
    let thread = |keys: &[&str]| Thread {
        to: "b".parse().unwrap(),
        keys: keys.iter().map(|k| (*k).to_owned()).collect(),
    };
    let error = from.thread(&thread(&["y", "nothing", "x"]), None).await.unwrap_err();
    assert_eq!((error.code, error.field.as_deref()), (Code::NotFound, Some("/keys/1")));
    assert_eq!(get(&to, "y").await.as_deref(), Some("theirs"), "nothing was copied");
    assert_eq!(from.thread(&thread(&["y", "x"]), None).await.unwrap(), 2);
    let copy = to.get(&name("y")).await.unwrap().unwrap();
    let provenance = copy.provenance.unwrap();
    assert_eq!((&provenance.from, provenance.key.as_str()), (&bench.agent, "y"));
    assert_eq!(copy.value, Json::of("mine").unwrap());
    let original = from.get(&name("y")).await.unwrap().unwrap();
    assert_eq!(copy.expires_at, original.expires_at);
    assert_eq!(keys(&to, "", Some("t"), 9).await, ["x"]);
    // Room was made among what was used less recently.
    assert_eq!(keys(&to, "", None, 9).await, ["x", "y", "w"]);
    put(&to, "y", "ours").await;
    assert_eq!(to.get(&name("y")).await.unwrap().unwrap().provenance, None);
    let four = thread(&["a", "b", "c", "d"]);
    for key in &four.keys {
        put(&bench.memory(9, Duration::ZERO), key, "").await;
    }
    assert_eq!(from.thread(&four, None).await.unwrap_err().code, Code::PayloadTooLarge);
    to.clear(None).await.unwrap();
    assert!(keys(&to, "", None, 9).await.is_empty());
    assert_eq!(to.statistics().await.unwrap().bytes, 0);
}

#[tokio::test]
async fn limits_hold_by_bytes_too_and_a_repeat_has_one_effect() {
    let bench = Bench::start().await;
    let memory = bench.memories(9, 100, Duration::ZERO).of(&bench.workspace, &bench.agent);
    put(&memory, "a", &"x".repeat(37)).await; // 1 + 39
    put(&memory, "b", &"x".repeat(37)).await;
    assert_eq!(get(&memory, "a").await.map(|v| v.len()), Some(37));
    put(&memory, "c", "").await;
    assert_eq!(memory.statistics().await.unwrap().bytes, 83);
    put(&memory, "d", &"x".repeat(37)).await;
    assert_eq!(keys(&memory, "", None, 9).await, ["d", "c", "a"]);
    assert_eq!(memory.statistics().await.unwrap().evicted, 1);
    let large = PutMemory::new(Json::of(&"x".repeat(98)).unwrap());
    assert_eq!(memory.put(&name("e"), &large, None).await.unwrap_err().code, Code::PayloadTooLarge);
    assert_eq!(keys(&memory, "", None, 9).await.len(), 3, "nothing went for it");
    let text = |bytes: usize| PutMemory::new(Json::of(&"x".repeat(bytes - 2)).unwrap());
    let roomy = bench.memory(9, Duration::ZERO);
    roomy.put(&name("f"), &text(VALUE_BYTES), None).await.unwrap();
    let over = roomy.put(&name("f"), &text(VALUE_BYTES + 1), None).await.unwrap_err();
    assert_eq!((over.code, over.field.as_deref()), (Code::PayloadTooLarge, Some("/value")));
    assert_eq!(roomy.put(&name("thread"), &text(9), None).await.unwrap_err().code, Code::InvalidArgument);
    let once = Once { key: "k".into(), said: "x".into() };
    let first = roomy.put(&name("g"), &text(9), Some(&once)).await.unwrap();
    put(&roomy, "g", "newer").await;
    assert_eq!(roomy.put(&name("g"), &text(9), Some(&once)).await.unwrap(), first);
    assert_eq!(get(&roomy, "g").await.as_deref(), Some("newer"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_cache_is_bounded_in_time_and_sees_its_own_writes() {
    let bench = Bench::start().await;
    let (warm, cold) = (bench.memory(9, STALENESS / 5), bench.memory(9, Duration::ZERO));
    put(&warm, "a", "1").await;
    assert_eq!(get(&warm, "a").await.as_deref(), Some("1"));
    let mut raw = bench.raw().await;
    ask::<()>(&mut raw, &["CONFIG", "RESETSTAT"]).await;
    for _ in 0..50 {
        get(&warm, "a").await;
    }
    let info: String = ask(&mut raw, &["INFO", "commandstats"]).await;
    let calls = info
        .lines()
        .find_map(|l| l.strip_prefix("cmdstat_evalsha:calls="))
        .map_or(0, |calls| calls.split(',').next().unwrap().parse::<u64>().unwrap());
    assert!(calls < 25, "{calls} calls for 50 reads");
    put(&cold, "a", "2").await;
    until("the other's write is seen", SECOND, async || get(&warm, "a").await.as_deref() == Some("2")).await;
    put(&warm, "a", "3").await;
    assert_eq!(get(&warm, "a").await.as_deref(), Some("3"));
    warm.delete(&name("a"), None).await.unwrap();
    assert_eq!(get(&warm, "a").await, None);
    // Every read is counted in the end, with nobody asking for more.
    let hits = warm.statistics().await.unwrap().hits;
    put(&warm, "b", "").await;
    for _ in 0..10 {
        get(&warm, "b").await;
    }
    until("uses are told by themselves", SECOND, async || cold.statistics().await.unwrap().hits == hits + 10)
        .await;
}

/// What one does to a memory.
#[derive(Clone, Debug)]
enum Act {
    Put(u8),
    Get(u8),
    Delete(u8),
}

/// The simplest memory there can be: keys in the order of their use.
#[derive(Default)]
struct Model {
    used: Vec<u8>,
    written: BTreeMap<u8, usize>,
}

impl Model {
    fn uses(&mut self, key: u8) {
        self.used.retain(|k| *k != key);
        self.used.push(key);
    }
}

async fn agrees(bench: &Bench, round: usize, acts: &[Act], staleness: Duration) -> Result<(), String> {
    const ENTRIES: usize = 5;
    let agent = format!("model-{round}").parse().unwrap();
    let memory = bench.memories(ENTRIES as u64, 1_000_000, staleness).of(&bench.workspace, &agent);
    let mut model = Model::default();
    for (n, act) in acts.iter().enumerate() {
        match act {
            Act::Put(key) => {
                put(&memory, &key.to_string(), &n.to_string()).await;
                model.uses(*key);
                model.written.insert(*key, n);
                if model.used.len() > ENTRIES {
                    let gone = model.used.remove(0);
                    model.written.remove(&gone);
                }
            }
            Act::Get(key) => {
                let found = get(&memory, &key.to_string()).await;
                // A hot cache may show what went less than its staleness ago.
                let expected = model.written.get(key).map(usize::to_string);
                if found != expected && (staleness.is_zero() || expected.is_some()) {
                    return Err(format!("{n}: {key} is {found:?}, not {expected:?}"));
                }
                if expected.is_some() {
                    model.uses(*key);
                }
            }
            Act::Delete(key) => {
                memory.delete(&name(&key.to_string()), None).await.unwrap();
                model.used.retain(|k| k != key);
                model.written.remove(key);
            }
        }
    }
    let mut newest: Vec<(usize, u8)> = model.written.iter().map(|(key, n)| (*n, *key)).collect();
    newest.sort_unstable_by(|a, b| b.cmp(a));
    let expected: Vec<String> = newest.iter().map(|(_, key)| key.to_string()).collect();
    let found = keys(&memory, "", None, 3).await;
    if found == expected { Ok(()) } else { Err(format!("{found:?} are there, not {expected:?}")) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_is_what_a_plain_model_says_through_a_hot_cache_too() {
    let bench = Bench::start().await;
    let act = (0u8..10, 0u8..10).prop_map(|(what, key)| match what {
        0..4 => Act::Put(key),
        4..9 => Act::Get(key),
        _ => Act::Delete(key),
    });
    let lives = proptest::collection::vec(act, 1..60);
    let mut runner = TestRunner::deterministic();
    for round in 0..200 {
        let acts = lives.new_tree(&mut runner).unwrap().current();
        // An hour: every second read is a hit.
        let staleness = if round % 2 == 0 { Duration::ZERO } else { 3600 * SECOND };
        if let Err(why) = agrees(&bench, round, &acts, staleness).await {
            panic!("{why} after {acts:?}");
        }
    }
}
