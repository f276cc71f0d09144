//! Locks and numbers that all share.

use super::broken::refused_as;
use super::{Broken, Site, Verdict, held};
use serde_json::json;
use std::time::Duration;
use synod_protocol::Code;

/// Long enough for this check; it is given back at its end.
const TTL_MS: u64 = 30_000;
const WAIT_MS: u64 = 10_000;

/// One holds a lock; the next gets it when it is given back, under a greater token; the first can do nothing any more.
pub(super) async fn one_holder(site: &Site) -> Verdict {
    let name = site.fresh("lock");
    let path = format!("/v1/locks/{name}");
    let acquire = async |owner: &str, wait_ms: u64| {
        let body = json!({ "owner": owner, "ttl_ms": TTL_MS, "wait_ms": wait_ms });
        let answer = site.api.post(&path, &[], &body, Duration::from_millis(wait_ms)).await;
        answer.map(|(_, lease)| lease["token"].as_u64().unwrap_or_default())
    };
    let release = async |owner: &str, token: u64| {
        let query = [("owner", owner.to_owned()), ("token", token.to_string())];
        site.api.delete_where(&path, &query).await
    };
    let first = acquire("first", 0).await?;
    refused_as(acquire("second", 0).await, Code::Conflict)?;
    let waits = acquire("second", WAIT_MS);
    let gives_back = async {
        // Once somebody waits.
        while site.api.get(&path, &[], Duration::ZERO).await?["waiters"] != 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        release("first", first).await
    };
    let (second, given_back) = tokio::join!(waits, gives_back);
    given_back?;
    refused_as(release("first", first).await, Code::Fenced)?;
    let second = second?;
    let given_back = release("second", second).await;
    if second <= first {
        return Err(Broken::promise(format!(
            "the second holder's token {second} is not above the first's {first}"
        )));
    }
    given_back?;
    held("handed over to the one who waited, whose token is greater; the first was fenced")
}

/// A counter stays within its bounds and does an operation once; a budget is not overdrawn.
pub(super) async fn shared_numbers(site: &Site) -> Verdict {
    let counter = format!("/v1/counters/{}", site.fresh("counter"));
    let add = async |add: i64, operation: &str| {
        let body = json!({ "add": add, "ceiling": 5, "operation_id": operation });
        site.api.post(&counter, &[], &body, Duration::ZERO).await.map(|(_, counter)| counter["value"].clone())
    };
    let (once, twice) = (add(5, "a").await?, add(5, "a").await?);
    let over = refused_as(add(1, "b").await, Code::Conflict)?;
    if once != 5 || twice != 5 || over.value != Some(5) {
        return Err(Broken::promise(format!(
            "5, repeated, gave {once} and {twice}; over the ceiling: {over:?}"
        )));
    }
    let budget = format!("/v1/budgets/{}", site.fresh("budget"));
    site.api.put(&budget, &json!({ "limit": 10 })).await?;
    let reserve = async |amount: u64| {
        let body = json!({ "amount": amount, "ttl_ms": TTL_MS });
        site.api.post(&format!("{budget}/reserve"), &[], &body, Duration::ZERO).await
    };
    let mine = reserve(7).await?.1["reservation"].clone();
    refused_as(reserve(4).await, Code::Conflict)?;
    let body = json!({ "reservation": mine, "amount": 2 });
    site.api.post(&format!("{budget}/spend"), &[], &body, Duration::ZERO).await?;
    let body = json!({ "reservation": mine });
    let (_, returned) = site.api.post(&format!("{budget}/return"), &[], &body, Duration::ZERO).await?;
    site.api.delete(&counter).await?;
    site.api.delete(&budget).await?;
    match returned["remaining"].as_i64() {
        Some(8) => held("an operation counted once, a ceiling and a budget that held"),
        other => Err(Broken::promise(format!("2 of 10 spent, the rest returned: {other:?} remains"))),
    }
}
