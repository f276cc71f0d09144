//! The coordinators, by HTTP: whether they answer, what they complain of, whether all shards move, whether they are of one build.

use super::Patient;
use super::area::{self, Area};
use super::clock::Asked;
use crate::mesh::Api;
use crate::settings::HttpUrl;
use futures::future::join_all;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use synod_protocol::{Error, Timestamp};

/// What is read of `GET /v1/status`; a newer coordinator may say more.
#[derive(Debug, Deserialize)]
struct Status {
    coordinator: String,
    version: String,
    time: Timestamp,
    ready: bool,
    troubles: Vec<String>,
    coordinators: BTreeMap<String, String>,
    shards: Vec<Shard>,
    #[serde(default)]
    duties: Vec<Duty>,
}

#[derive(Debug, Deserialize)]
struct Shard {
    shard: u32,
    phase: String,
    #[serde(default)]
    owner: Option<String>,
    #[serde(default)]
    advancing: bool,
    #[serde(default)]
    lag: u64,
    #[serde(default)]
    trouble: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Duty {
    coordinator: String,
    duty: String,
    ok: bool,
    result: String,
}

/// Looks at them; how many shards there are, where one tells.
pub(super) async fn examine(patient: &Patient, area: &mut Area) -> Option<u32> {
    let asked = Asked::now();
    let told = status(&patient.api, patient.ask()).await;
    let answered = asked.answered();
    let status = match told {
        Ok(status) => status,
        Err(error) => {
            let mend =
                "start one (synod coordinator, synod up), or name another with --http-url or --endpoints";
            area.wrong("http", error.message, mend);
            return None;
        }
    };
    area.reached = true;
    area.ok("http", format!("{} answers at {}", status.coordinator, patient.api.url()));
    answered.tell(area, status.time.as_millis() as f64);
    ready(&status, area);
    shards(&status.shards, area);
    duties(&status.duties, area);
    others(&status, patient, area).await;
    u32::try_from(status.shards.len()).ok()
}

async fn status(api: &Api, limit: Duration) -> Result<Status, Error> {
    let asked = tokio::time::timeout(limit, api.get("/v1/status", &[], Duration::ZERO)).await;
    let late =
        |_| Error::unavailable(format!("{} does not answer within {} ms", api.url(), limit.as_millis()));
    let unread = |e| Error::unavailable(format!("{} answers, and is no coordinator: {e}", api.url()));
    serde_json::from_value(asked.map_err(late)??).map_err(unread)
}

fn ready(status: &Status, area: &mut Area) {
    if status.ready {
        return area.ok("ready", "it is");
    }
    for trouble in &status.troubles {
        area.wrong("ready", trouble, "mend what it names; it goes on by itself then");
    }
}

fn shards(shards: &[Shard], area: &mut Area) {
    let mut good = 0;
    for shard in shards {
        let name = format!("shard {}", shard.shard);
        let owner = shard.owner.as_deref().unwrap_or("nobody");
        if let Some(trouble) = &shard.trouble {
            area.wrong(&name, format!("{owner}: {trouble}"), "see the log of its owner");
        } else if shard.phase != "serving" {
            let says = format!("{owner} does not serve it ({})", shard.phase);
            area.wrong(
                &name,
                says,
                "wait for a moment (a take-over takes about a second), then see the coordinators' logs",
            );
        } else if !shard.advancing {
            let says = format!("{owner} does not advance while {} records wait", shard.lag);
            area.wrong(&name, says, "see its log; end it with SIGTERM and its shards go to others");
        } else {
            good += 1;
        }
    }
    let owners: BTreeSet<&str> = shards.iter().filter_map(|shard| shard.owner.as_deref()).collect();
    let lag: u64 = shards.iter().map(|shard| shard.lag).sum();
    if good > 0 {
        let all = shards.len();
        area.ok(
            "shards",
            format!(
                "{good} of {all} are served and move, by {}; records that wait: {lag}",
                area::coordinators(owners.len())
            ),
        );
    }
}

fn duties(duties: &[Duty], area: &mut Area) {
    let failing: Vec<&Duty> = duties.iter().filter(|duty| !duty.ok).collect();
    for Duty { coordinator, duty, result, .. } in &failing {
        let mend = "if it stays so, see that coordinator's log";
        area.warning("duties", format!("{duty} of {coordinator} failed the last time: {result}"), mend);
    }
    if failing.is_empty() {
        area.ok("duties", format!("the last run of each of {} went well", duties.len()));
    }
}

/// Asks each that has a lease by itself, all at once.
async fn others(status: &Status, patient: &Patient, area: &mut Area) {
    let asked =
        status.coordinators.iter().filter(|(id, _)| **id != status.coordinator).map(async |(id, address)| {
            let url: Result<HttpUrl, Error> = format!("http://{address}").parse().map_err(Error::invalid);
            let api = url.and_then(|url| {
                Api::new(url, patient.dialling.workspace.clone(), patient.dialling.key.as_ref())
            });
            let told = match api {
                Ok(api) => self::status(&api, patient.ask()).await,
                Err(error) => Err(error),
            };
            (id, address, told)
        });
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    versions.entry(status.version.clone()).or_default().push(status.coordinator.clone());
    for (id, address, told) in join_all(asked).await {
        match told {
            Ok(theirs) => {
                if !theirs.ready {
                    let says = format!("{id} is not ready: {}", theirs.troubles.join("; "));
                    area.wrong("ready", says, "mend what it names; it goes on by itself then");
                }
                versions.entry(theirs.version).or_default().push(id.clone());
            }
            Err(error) => {
                let mend = "its --advertise must be an address that this machine, and the other coordinators, can reach";
                area.warning("others", format!("{id} at {address} is not reached: {}", error.message), mend);
            }
        }
    }
    version(&versions, area);
}

fn version(versions: &BTreeMap<String, Vec<String>>, area: &mut Area) {
    let ours = env!("CARGO_PKG_VERSION");
    let listed = |(version, who): (&String, &Vec<String>)| format!("{version}: {}", who.join(", "));
    let all = versions.iter().map(listed).collect::<Vec<_>>().join("; ");
    match versions.keys().next() {
        Some(only) if versions.len() == 1 && only == ours => {
            area.ok("version", format!("{all}; this command too"));
        }
        Some(_) if versions.len() == 1 => {
            area.warning(
                "version",
                format!("{all}; this command is {ours}"),
                "use the command of the coordinators' version",
            );
        }
        _ => area.warning("version", all, "finish the update: all coordinators are to be of one version"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::area::State;
    use super::*;
    use serde_json::json;

    fn shard(more: &serde_json::Value) -> Shard {
        let mut shard = json!({"shard": 3, "phase": "serving", "owner": "c1", "advancing": true});
        for (name, value) in more.as_object().unwrap() {
            shard[name] = value.clone();
        }
        serde_json::from_value(shard).unwrap()
    }

    #[test]
    fn a_shard_that_is_not_served_or_does_not_move_is_named() {
        let check = |more: serde_json::Value, state: State, says: &str| {
            let mut area = Area::new("coordinators");
            shards(&[shard(&more)], &mut area);
            let found = &area.findings[0];
            assert!(found.state == state && found.says.contains(says), "{found:?}");
        };
        check(json!({}), State::Ok, "1 of 1 are served");
        check(json!({"advancing": false, "lag": 7}), State::Wrong, "while 7 records wait");
        check(json!({"phase": "standing_by", "owner": null}), State::Wrong, "nobody does not serve it");
        check(
            json!({"phase": "data_lost", "trouble": "synod.ledger.v1/3"}),
            State::Wrong,
            "c1: synod.ledger.v1/3",
        );
    }

    #[test]
    fn coordinators_of_two_builds_are_told() {
        let check = |versions: &[(&str, &str)], state: State| {
            let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (version, who) in versions {
                all.entry((*version).to_owned()).or_default().push((*who).to_owned());
            }
            let mut area = Area::new("coordinators");
            version(&all, &mut area);
            assert_eq!(area.findings[0].state, state, "{:?}", area.findings);
        };
        let ours = env!("CARGO_PKG_VERSION");
        check(&[(ours, "a"), (ours, "b")], State::Ok);
        check(&[(ours, "a"), ("9.9.9", "b")], State::Warning);
        check(&[("9.9.9", "a")], State::Warning);
    }
}
