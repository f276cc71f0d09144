//! Every shard has one owner, of whom all coordinators say the same, and it advances.

use super::site::SOON;
use super::{Broken, Site, Verdict, held};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Between two looks: shards may be on the move.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) async fn owned(site: &Site) -> Verdict {
    let until = Instant::now() + SOON;
    loop {
        let wrong = match looked(site).await? {
            Ok(seen) => return held(seen),
            Err(wrong) => wrong,
        };
        if Instant::now() >= until {
            return Err(Broken::promise(wrong));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What was seen, or what of it is not as it should be.
async fn looked(site: &Site) -> Result<Result<String, String>, Broken> {
    let status = site.api.get("/v1/status", &[], Duration::ZERO).await?;
    let owners = match owners(&status) {
        Ok(owners) => owners,
        Err(wrong) => return Ok(Err(wrong)),
    };
    let addresses = status["coordinators"].as_object().cloned().unwrap_or_default();
    for (id, address) in &addresses {
        let url = format!("http://{}", address.as_str().unwrap_or_default());
        let Ok(url) = url.parse() else {
            return Ok(Err(format!("coordinator {id} has the address {address}")));
        };
        let other = site.api.at(url).get("/v1/status", &[], Duration::ZERO).await?;
        match self::owners(&other) {
            Ok(theirs) if theirs == owners => {}
            Ok(theirs) => return Ok(Err(format!("{id} sees other owners: {theirs:?}, not {owners:?}"))),
            Err(wrong) => return Ok(Err(format!("{id}: {wrong}"))),
        }
    }
    let distinct: BTreeSet<&String> = owners.values().collect();
    if let Some(stranger) = distinct.iter().find(|owner| !addresses.contains_key(**owner)) {
        return Ok(Err(format!("{stranger} owns shards and has no lease")));
    }
    Ok(Ok(format!(
        "{} shards, owned by {} of {} coordinators",
        owners.len(),
        distinct.len(),
        addresses.len()
    )))
}

/// Who owns which, if each is owned, serves and advances.
fn owners(status: &Value) -> Result<BTreeMap<u64, String>, String> {
    let mut owners = BTreeMap::new();
    for shard in status["shards"].as_array().map_or(&[][..], Vec::as_slice) {
        let (Some(number), Some(owner)) = (shard["shard"].as_u64(), shard["owner"].as_str()) else {
            return Err(format!("a shard has no owner: {shard}"));
        };
        if shard["phase"] != "serving" || shard["advancing"] != true {
            return Err(format!("shard {number} is {} and does not advance: {shard}", shard["phase"]));
        }
        owners.insert(number, owner.to_owned());
    }
    if owners.is_empty() { Err("there are no shards".to_owned()) } else { Ok(owners) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_shard_without_owner_or_progress_is_told() {
        let check = |shard: Value, want: Result<(), &str>| match (owners(&json!({ "shards": [shard] })), want)
        {
            (Ok(owners), Ok(())) => assert_eq!(owners, BTreeMap::from([(3, "c".to_owned())])),
            (Err(said), Err(want)) => assert!(said.contains(want), "{said}"),
            (got, want) => panic!("{got:?}, not {want:?}"),
        };
        let shard = |owner, phase, advancing| json!({"shard": 3, "owner": owner, "phase": phase, "advancing": advancing});
        check(shard(json!("c"), "serving", true), Ok(()));
        check(shard(Value::Null, "standing_by", false), Err("no owner"));
        check(shard(json!("c"), "folding", false), Err("folding"));
        check(shard(json!("c"), "serving", false), Err("does not advance"));
        assert!(owners(&json!({})).is_err());
    }
}
