//! Each rule, with what is read and what is ordered side by side.

use super::{SHARDS, id};
use std::collections::BTreeSet;
use synod_ledger::tenure::{Orders, Route, Row, Table, Tenure, Terms, rendezvous};
use synod_protocol::Id;

fn row(name: &str, held: &[u32]) -> Row {
    let held: BTreeSet<u32> = held.iter().copied().collect();
    Row {
        id: id(name),
        holder: format!("{name}-1"),
        address: format!("{name}:7700"),
        takes: true,
        serving: held.clone(),
        held,
        beat: 1,
        present: Some(true),
    }
}

fn table(at_ms: u64, rows: &[Row]) -> Table {
    let (run_id, era) = ("server".to_owned(), "era".to_owned());
    Table { at_ms, run_id, connection: 1, era, age_ms: 60_000, rows: rows.to_vec() }
}

/// What belongs to this one among these.
fn parts(name: &str, among: &[&str]) -> Vec<u32> {
    let among: BTreeSet<Id> = among.iter().map(|n| id(n)).collect();
    (0..SHARDS).filter(|shard| rendezvous(*shard, &among) == Some(&id(name))).collect()
}

/// `a`, joined, its lease renewed at 0.
fn joined() -> Tenure {
    let mut a = Tenure::new(id("a"), "a-1", SHARDS, Terms::default());
    a.join();
    a.renewed(0);
    a
}

/// The same, holding everything alone since 0.
fn settled() -> Tenure {
    let mut a = joined();
    a.read(table(0, &[row("a", &[])]));
    for shard in a.orders(0).claim {
        a.serving(shard, true);
    }
    a
}

#[track_caller]
fn is(orders: &Orders, claim: &[u32], hand_over: &[u32], stand_down: &[u32]) {
    let want =
        Orders { claim: claim.to_vec(), hand_over: hand_over.to_vec(), stand_down: stand_down.to_vec() };
    assert_eq!(orders, &want);
}

#[test]
fn it_claims_what_is_its_and_nobody_holds() {
    let all: Vec<u32> = (0..SHARDS).collect();
    let mut a = joined();
    is(&a.orders(0), &[], &[], &[]);
    a.read(table(0, &[row("a", &[])]));
    is(&a.orders(0), &all, &[], &[]);
    is(&a.orders(0), &[], &[], &[]);

    let (ours, theirs) = (parts("a", &["a", "b"]), parts("b", &["a", "b"]));
    let mut a = joined();
    a.read(table(0, &[row("a", &[]), row("b", &[ours[0], theirs[0]])]));
    is(&a.orders(0), &ours[1..], &[], &[]);

    // Without a lease of our own, or one that another process holds: nothing.
    for rows in [vec![], vec![Row { holder: "a-0".into(), ..row("a", &[]) }]] {
        let mut a = joined();
        a.read(table(0, &rows));
        is(&a.orders(0), &[], &[], &[]);
    }
    // One that does not take shards is no heir.
    let mut a = joined();
    a.read(table(0, &[row("a", &[]), Row { takes: false, ..row("b", &[]) }]));
    is(&a.orders(0), &all, &[], &[]);
}

#[test]
fn a_holder_that_ignores_us_is_claimed_over_in_the_end() {
    let ours = parts("a", &["a", "b"]);
    let mut a = joined();
    let rows = [row("a", &[]), row("b", &ours)];
    for at in (0..10_000).step_by(500) {
        a.renewed(at);
        a.read(table(at, &rows));
        is(&a.orders(at), &[], &[], &[]);
        assert!(matches!(a.route(ours[0]), Route::There { id: b, .. } if b == id("b")));
    }
    a.read(table(10_000, &rows));
    is(&a.orders(10_000), &ours, &[], &[]);
    // That it still lists them is not news.
    a.renewed(10_100);
    a.read(table(10_100, &rows));
    is(&a.orders(10_100), &[], &[], &[]);
}

#[test]
fn what_belongs_to_another_is_handed_over_two_at_a_time() {
    let theirs = parts("b", &["a", "b"]);
    assert!(theirs.len() > 4);
    let mut a = settled();
    a.renewed(1_000);
    let joins = |at, held: &[u32]| table(at, &[row("a", &[]), row("b", held)]);
    a.read(joins(1_000, &[]));
    is(&a.orders(1_000), &[], &theirs[..2], &[]);
    assert!(a.held().contains(&theirs[0]), "listed until it is let go of");
    assert!(matches!(a.route(theirs[0]), Route::There { .. }), "requests wait at the next already");
    assert_eq!(a.route(theirs[2]), Route::Here);
    a.released(theirs[0], 1_100);
    assert!(!a.held().contains(&theirs[0]));
    is(&a.orders(1_100), &[], &[], &[]);
    // Only when it is served goes the next, however long that takes.
    a.renewed(9_000);
    a.read(table(9_000, &[row("a", &[]), Row { serving: BTreeSet::new(), ..row("b", &theirs[..1]) }]));
    is(&a.orders(9_000), &[], &[], &[]);
    a.read(joins(9_100, &theirs[..1]));
    is(&a.orders(9_100), &[], &theirs[2..3], &[]);
}

#[test]
fn one_that_leaves_hands_over_all_and_claims_nothing() {
    let mut a = settled();
    a.renewed(1_000);
    a.read(table(1_000, &[row("a", &[]), row("b", &[])]));
    a.leave();
    assert!(!a.takes());
    is(&a.orders(1_000), &[], &[0, 1, 2, 3], &[]);
    a.released(0, 1_010);
    is(&a.orders(1_010), &[], &[], &[]);
    is(&a.orders(3_009), &[], &[], &[]);
    // The next does not come; an end must come all the same.
    is(&a.orders(3_010), &[], &[4], &[]);

    let mut alone = settled();
    alone.leave();
    is(&alone.orders(0), &[], &(0..SHARDS).collect::<Vec<_>>(), &[]);
}

#[test]
fn without_redis_an_owner_goes_on_and_nothing_changes() {
    let mut a = settled();
    a.unread();
    is(&a.orders(60_000), &[], &[], &[]);
    assert_eq!(a.route(3), Route::Here);
    // What it loses meanwhile waits for Redis.
    a.lost(3, 60_000, 0);
    is(&a.orders(120_000), &[], &[], &[]);
    a.renewed(120_000);
    a.read(table(120_000, &[row("a", &[])]));
    is(&a.orders(120_000), &[3], &[], &[]);
}

#[test]
fn after_a_wipe_nothing_is_claimed_or_handed_over_for_one_lease() {
    let (ours, theirs) = (parts("a", &["a", "b"]), parts("b", &["a", "b"]));
    let mut a = joined();
    a.read(table(0, &[row("a", &[]), row("b", &theirs)]));
    is(&a.orders(0), &ours, &[], &[]);
    let wiped = |at| Table { era: "another".into(), ..table(at, &[row("a", &[])]) };
    for at in [1_000, 1_500, 2_799] {
        a.renewed(at);
        a.read(wiped(at));
        is(&a.orders(at), &[], &[], &[]);
    }
    a.renewed(2_800);
    a.read(wiped(2_800));
    is(&a.orders(2_800), &theirs, &[], &[]);

    // An old file looks old, and the server is another: it is no better than none.
    let mut a = joined();
    a.read(table(0, &[row("a", &[]), row("b", &theirs)]));
    is(&a.orders(0), &ours, &[], &[]);
    a.renewed(1_000);
    a.read(Table { run_id: "restarted".into(), ..table(1_000, &[row("a", &[])]) });
    is(&a.orders(1_000), &[], &[], &[]);

    // One that starts into it waits as well.
    let mut c = joined();
    c.read(Table { age_ms: 300, ..table(0, &[row("a", &[])]) });
    is(&c.orders(1_499), &[], &[], &[]);
    assert_eq!(c.orders(1_500).claim.len(), SHARDS as usize);
}

#[test]
fn the_fenced_reads_the_table_afresh_and_claims_again_after_a_growing_pause() {
    let mut a = settled();
    let mut now = 1_000;
    let mut pauses = Vec::new();
    for _ in 0..9 {
        a.lost(0, now, 128);
        a.renewed(now);
        is(&a.orders(now + 60_000), &[], &[], &[]);
        let fenced = now;
        loop {
            a.read(table(now, &[row("a", &[])]));
            if !a.orders(now).claim.is_empty() {
                break;
            }
            now += 1;
            assert!(now - fenced < 10_000, "it never claims again");
        }
        pauses.push(now - fenced);
    }
    assert_eq!(pauses, [20, 40, 80, 160, 320, 641, 1_282, 2_003, 2_003]);
    // After a while in service it begins again.
    now += 5_000;
    a.lost(0, now, 0);
    a.renewed(now);
    a.read(table(now, &[row("a", &[])]));
    assert_eq!(a.orders(now + 10).claim, [0]);

    // What belongs to another by then is never claimed again.
    let theirs = parts("b", &["a", "b"]);
    a.lost(theirs[0], now, 0);
    a.read(table(now + 20, &[row("a", &[]), row("b", &[])]));
    assert!(!a.orders(now + 1_000).claim.contains(&theirs[0]));
}

#[test]
fn one_that_was_away_for_a_lease_stands_down_where_another_holds() {
    let mut a = settled();
    // Stopped at 100 and continued at 5,000: it reads before it renews.
    assert!(a.has_lapsed(5_000) && !a.is_sure(0, 5_000));
    a.read(table(5_000, &[row("b", &[0, 5])]));
    is(&a.orders(5_000), &[], &[], &[0, 5]);
    assert!(!a.held().contains(&0) && !a.held().contains(&5), "its lease does not list them again");
}

#[test]
fn of_two_that_hold_the_same_the_one_to_whom_it_belongs_claims_anew() {
    let (ours, theirs) = (parts("a", &["a", "b"]), parts("b", &["a", "b"]));
    let mut a = joined();
    a.read(table(0, &[row("a", &[])]));
    assert_eq!(a.orders(0).claim.len(), SHARDS as usize);
    a.renewed(100);
    a.read(table(100, &[row("a", &[]), row("b", &[ours[0], theirs[0]])]));
    let orders = a.orders(100);
    assert_eq!(orders.stand_down, [theirs[0]]);
    assert!(!a.is_sure(ours[0], 100), "its reads ask the ledger");
    a.released(theirs[0], 150);
    a.read(table(200, &[row("a", &[]), row("b", &[])]));
    assert_eq!(a.orders(200).stand_down, [ours[0]]);
    a.released(ours[0], 210);
    a.read(table(220, &[row("a", &[]), row("b", &[])]));
    assert_eq!(a.orders(220).claim, [ours[0]]);
}
