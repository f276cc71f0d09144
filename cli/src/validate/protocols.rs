//! Every protocol decides, as it says, what its participants have answered.

use super::site::SOON;
use super::{Broken, Site, Verdict, held};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::time::Duration;
use synod_negotiation::{Protocols, verify};
use tokio::time::Instant;

const CASES: &str = include_str!("protocols.json");
/// Long enough for this check; no round ends by its time.
const ROUND_MS: u64 = 30_000;
/// How often what should come is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One negotiation: how it is opened, what is answered round by round, and what its outcome has to say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    open: Map<String, Value>,
    rounds: Vec<Map<String, Value>>,
    outcome: Map<String, Value>,
}

pub(super) async fn each(site: &Site) -> Verdict {
    let cases: Vec<Case> = serde_json::from_str(CASES)?;
    let known: Vec<&str> = Protocols::standard().names().collect();
    for case in &cases {
        let protocol = case.open["protocol"].as_str().unwrap_or_default();
        played(site, case).await.map_err(|broken| Broken::promise(format!("{protocol}: {broken}")))?;
    }
    match known.iter().find(|name| cases.iter().all(|case| case.open["protocol"] != **name)) {
        None => held(format!("{} protocols, each recomputed from its certificate", cases.len())),
        Some(name) => Err(Broken::promise(format!("{name} is not tried"))),
    }
}

async fn played(site: &Site, case: &Case) -> Result<(), Broken> {
    let id = site.fresh("negotiation");
    let path = format!("/v1/negotiations/{id}");
    let mut open = case.open.clone();
    open.insert("negotiation_id".to_owned(), json!(id));
    open.insert("round_ms".to_owned(), json!(ROUND_MS));
    site.api.post("/v1/negotiations", &[], &Value::Object(open), Duration::ZERO).await?;
    for (round, answers) in (1..).zip(&case.rounds) {
        until(site, &path, |it| it["rounds"].as_array().is_some_and(|rounds| rounds.len() == round)).await?;
        for (participant, response) in answers {
            let body = json!({ "participant": participant, "response": response });
            site.api.post(&format!("{path}/responses"), &[], &body, Duration::ZERO).await?;
        }
    }
    let ended = until(site, &path, |it| it["ended_at"].is_string()).await?;
    for (pointer, want) in &case.outcome {
        let got = ended["outcome"].pointer(pointer);
        if got != Some(want) {
            let got = got.map_or("nothing".to_owned(), Value::to_string);
            let why = format!("{pointer} of its outcome is {got}, not {want}; it is {}", ended["status"]);
            return Err(Broken::promise(why));
        }
    }
    let certificate = site.api.get(&format!("{path}/certificate"), &[], Duration::ZERO).await?;
    let told = verify(&certificate.to_string(), Protocols::standard());
    match told.holds() && told.recomputed {
        true => Ok(()),
        false => Err(Broken::promise(format!("its certificate does not hold: {:?}", told.findings))),
    }
}

/// The negotiation, once it is as wanted.
async fn until(site: &Site, path: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value, Broken> {
    let deadline = Instant::now() + SOON;
    loop {
        let it = site.api.get(path, &[], Duration::ZERO).await?;
        if is_so(&it) {
            return Ok(it);
        }
        if Instant::now() >= deadline {
            return Err(Broken::promise(format!("it is {} and does not go on: {it}", it["status"])));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
