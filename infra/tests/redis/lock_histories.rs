//! What many holders of one lock wrote down, in processes that are killed and stopped and over connections that lose
//! answers; and a check of it that knows nothing of how locks are made.

use super::locks::{by, name};
use super::network::{Fault, Network};
use super::process::Actor;
use super::{Bench, ask, raw, until};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use synod_infra::primitives::leases::{Held, Locks};
use synod_infra::redis::{Redis, RedisConfig};
use tokio::time::Instant;

const TTL_MS: u64 = 150;
const WAIT: Duration = Duration::from_secs(10);
const HISTORY: &str = "test:history";

/// The wall clock, which all processes here and Redis share.
pub(super) fn now_us() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

/// One grant: when it was given and would end (Redis' time), and until when its holder worked under it, if it says so.
#[derive(Clone, Copy, Debug)]
struct Tenure {
    from_us: u64,
    until_us: u64,
    worked_until_us: Option<u64>,
}

/// `held <token> <from> <until>` and `done <token> <at>`; each is written before the holder goes on.
fn read(lines: &[String]) -> Result<BTreeMap<u64, Tenure>, String> {
    let mut all = BTreeMap::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |n: usize| words[n].parse::<u64>().unwrap();
        match words[0] {
            "held" => {
                let tenure = Tenure { from_us: number(2), until_us: number(3), worked_until_us: None };
                if all.insert(number(1), tenure).is_some() {
                    return Err(format!("token {} was given twice", words[1]));
                }
            }
            _ => all.get_mut(&number(1)).ok_or("done, but never held")?.worked_until_us = Some(number(2)),
        }
    }
    Ok(all)
}

/// Tokens in the order of the grants; nobody is granted it before the one before has given it back or run out.
fn check(lines: &[String]) -> Result<usize, String> {
    let all: Vec<(u64, Tenure)> = read(lines)?.into_iter().collect();
    for pair in all.windows(2) {
        let [(token, before), (next, after)] = pair else { continue };
        let over = before.worked_until_us.unwrap_or(before.until_us);
        // Redis tells whole milliseconds.
        if after.from_us + 1_000 <= over {
            return Err(format!("{next} was granted {} µs before the end of {token}", over - after.from_us));
        }
    }
    Ok(all.len())
}

/// Takes the lock again and again, works for a moment, gives it back.
pub(super) async fn hold_locks(argument: &str) {
    let words: Vec<&str> = argument.split(' ').collect();
    let config = RedisConfig { command_timeout: Duration::from_millis(300), ..RedisConfig::new(words[0]) };
    let (locks, workspace) = (Locks::new(Redis::new(config).unwrap()), words[1].parse().unwrap());
    let mut notes = raw(words[2]).await;
    loop {
        let Ok(grant) = locks.acquire(&workspace, &name("l"), &by("worker", TTL_MS, WAIT), None).await else {
            continue;
        };
        let until_us = u64::try_from(grant.lease.expires_at.as_millis()).unwrap() * 1_000;
        let (token, from_us) = (grant.lease.token, until_us - TTL_MS * 1_000);
        ask::<u64>(&mut notes, &["RPUSH", HISTORY, &format!("held {token} {from_us} {until_us}")]).await;
        tokio::time::sleep(Duration::from_millis(token % 7)).await;
        // Both clocks are read in one breath; a process that is stopped in between would misreport itself.
        let (at, holds) = (now_us(), Instant::now() < grant.held_until);
        if holds {
            ask::<u64>(&mut notes, &["RPUSH", HISTORY, &format!("done {token} {at}")]).await;
            let _ = locks.release(&workspace, Held::from(&grant.lease), None).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_two_hold_it_at_a_time_whoever_is_killed_stopped_or_cut_off() {
    let bench = Bench::start().await;
    let network = Network::to(bench.server.port()).await;
    let direct = bench.server.url();
    let worker = |url: &str| Actor::start("hold_locks", &format!("{url} {} {direct}", bench.workspace));
    let mut workers: Vec<Actor> = (0..3).map(|_| worker(&direct)).collect();
    let _cut_off: Vec<Actor> = (0..2).map(|_| worker(&network.url)).collect();
    let mut notes = bench.raw().await;
    let mut seen = 0u64;
    for round in 0..24usize {
        let more = seen + 20;
        until("it goes on", 4 * WAIT, async || {
            seen = ask::<u64>(&mut notes, &["LLEN", HISTORY]).await;
            seen >= more
        })
        .await;
        match round % 4 {
            0 => {
                workers[round % 3].kill();
                workers[round % 3] = worker(&direct);
            }
            1 => workers[round % 3].signal("-STOP"),
            2 => network.order(Fault::Silence),
            _ => workers.iter().for_each(|worker| worker.signal("-CONT")),
        }
    }
    drop(workers);
    let lines: Vec<String> = ask(&mut notes, &["LRANGE", HISTORY, "0", "-1"]).await;
    let grants = check(&lines).unwrap();
    assert!(grants > 100, "{grants} grants");
}

/// The check sees what a lock without its guard does: look, then take, in two steps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_check_catches_a_lock_that_looks_before_it_takes() {
    let bench = Bench::start().await;
    let mut workers = Vec::new();
    for _ in 0..6 {
        let mut raw = bench.raw().await;
        workers.push(tokio::spawn(async move {
            for _ in 0..60 {
                while ask::<bool>(&mut raw, &["EXISTS", "planted"]).await {
                    tokio::task::yield_now().await;
                }
                ask::<()>(&mut raw, &["SET", "planted", "1", "PX", "150"]).await;
                let (token, from_us): (u64, u64) = (ask(&mut raw, &["INCR", "token"]).await, now_us());
                let held = format!("held {token} {from_us} {}", from_us + TTL_MS * 1_000);
                ask::<u64>(&mut raw, &["RPUSH", HISTORY, &held]).await;
                tokio::time::sleep(Duration::from_millis(2)).await;
                ask::<u64>(&mut raw, &["RPUSH", HISTORY, &format!("done {token} {}", now_us())]).await;
                ask::<u64>(&mut raw, &["DEL", "planted"]).await;
            }
        }));
    }
    for worker in workers {
        worker.await.unwrap();
    }
    let lines: Vec<String> = ask(&mut bench.raw().await, &["LRANGE", HISTORY, "0", "-1"]).await;
    assert!(check(&lines).is_err_and(|why| why.contains("before the end of")));
    assert!(check(&["held 1 0 9".to_owned(), "held 1 9 20".to_owned()]).is_err());
}
