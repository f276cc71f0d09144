//! What a put of shared state costs beside a plain SET through the same driver, on a real Redis, in interleaved rounds.
//!
//! `cargo run --release -p synod-infra --example state_costs [-- redis://…]`; without a URL it starts a server of its own.
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

use std::time::{Duration, Instant};
use synod_infra::primitives::state::{State, Writer};
use synod_infra::redis::{EmbeddedRedis, Redis, RedisConfig};
use synod_protocol::Json;
use synod_protocol::primitives::state::{Batch, Condition, Operation, OperationKind, Put};

const ROUNDS: usize = 40;
const CALLS: usize = 250;
const KEYS: usize = 100;
/// Bytes of a value.
const VALUE: usize = 100;

/// The least that a write with a condition needs: the version is compared and counted up in one script.
const BARE: &str = "local v = redis.call('HGET', KEYS[1], 'v') or '0'
if v ~= ARGV[1] then return v end
local n = string.format('%.0f', tonumber(v) + 1)
redis.call('HSET', KEYS[1], 'v', n, 'e', ARGV[2])
return n";

#[derive(Default)]
struct Arm {
    times: Vec<Duration>,
}

impl Arm {
    async fn call(&mut self, call: impl AsyncFnOnce()) {
        let began = Instant::now();
        call().await;
        self.times.push(began.elapsed());
    }

    fn p50(&mut self) -> f64 {
        self.times.sort_unstable();
        self.times[self.times.len() / 2].as_secs_f64() * 1e6
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let server = match std::env::args().nth(1) {
        Some(url) => (None, url),
        None => {
            let server = EmbeddedRedis::start().await.unwrap();
            let url = server.url();
            (Some(server), url)
        }
    };
    let state = State::new(Redis::new(RedisConfig::new(&server.1)).unwrap());
    state.open_all().await.unwrap();
    let mut raw = redis::Client::open(&*server.1).unwrap().get_multiplexed_async_connection().await.unwrap();
    let sha: String = redis::cmd("SCRIPT").arg("LOAD").arg(BARE).query_async(&mut raw).await.unwrap();
    let writer = Writer::new("measured".parse().unwrap(), "state-costs");
    let value = Json::of(&"x".repeat(VALUE - 2)).unwrap();
    let put = Put::of(value.clone()).checked().unwrap();
    let (mut set, mut bare, mut plain, mut checked) = <(Arm, Arm, Arm, Arm)>::default();
    let mut bare_versions = vec!["0".to_owned(); KEYS];
    let mut versions = vec![0u64; KEYS];
    for n in 0..ROUNDS * CALLS {
        let at = n / CALLS % KEYS;
        let key = format!("measured/{at}");
        set.call(async || {
            redis::cmd("SET").arg(&key).arg(value.as_str()).query_async::<()>(&mut raw).await.unwrap();
        })
        .await;
        let known = bare_versions[at].clone();
        bare.call(async || {
            let mut call = redis::cmd("EVALSHA");
            call.arg(&sha).arg(1).arg(format!("bare/{at}")).arg(known).arg(value.as_str());
            bare_versions[at] = call.query_async(&mut raw).await.unwrap();
        })
        .await;
        let name = format!("plain/{at}").parse().unwrap();
        plain
            .call(async || drop(state.put(&writer, &name, put.clone(), Condition::None).await.unwrap()))
            .await;
        let (name, known) = (format!("checked/{at}").parse().unwrap(), versions[at]);
        checked
            .call(async || {
                let written =
                    state.put(&writer, &name, put.clone(), Condition::Version(known)).await.unwrap();
                versions[at] = written.entry.version;
            })
            .await;
    }
    let base = set.p50();
    println!("p50 of {} calls each, {VALUE} bytes, one client", ROUNDS * CALLS);
    for (what, arm) in [
        ("SET", &mut set),
        ("bare version-checked put", &mut bare),
        ("put", &mut plain),
        ("put with If-Match", &mut checked),
    ] {
        let p50 = arm.p50();
        println!("{what:28} {p50:8.1} µs  {:5.2} x SET", p50 / base);
    }
    let (mut single, mut together) = (Arm::default(), Arm::default());
    for round in 0..20 {
        let key = |n: usize| format!("{{batch-{round}}}/{n}").parse().unwrap();
        single
            .call(async || {
                for n in 0..128 {
                    state.put(&writer, &key(n), put.clone(), Condition::None).await.unwrap();
                }
            })
            .await;
        let of = |n| Operation {
            op: OperationKind::Put,
            key: key(n),
            value: Some(value.clone()),
            if_version: None,
            ttl_ms: None,
            metadata: None,
            strategy: None,
            rules: None,
            lock: None,
        };
        let batch = Batch { operations: (0..128).map(of).collect(), durability: Default::default() };
        together.call(async || drop(state.batch(&writer, batch.checked().unwrap()).await.unwrap())).await;
    }
    let (one, all) = (single.p50(), together.p50());
    println!("128 puts one at a time {one:.0} µs, as one batch {all:.0} µs: {:.1} x", one / all);
}
