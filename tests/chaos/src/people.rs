//! People: they look at what waits for them and decide it as the script says. A process of its own (`synod-chaos people`).
//!
//! They know nothing but the contract. What is not answered is repeated under the same `ce_id`, by any coordinator that listens.

use crate::Trouble;
use crate::journal::{ClientLine, Journal};
use crate::plan::PeoplePlan;
use crate::process::stdin_ends;
use crate::script::{Script, step_of};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// One request may take so long.
const REQUEST: Duration = Duration::from_secs(8);
/// They look again after so long.
const LOOK: Duration = Duration::from_millis(150);
/// Things said together; the rest comes next time.
const BATCH: usize = 32;
/// Approvals of one page.
const PAGE: usize = 500;

struct People {
    plan: PeoplePlan,
    journal: Journal<ClientLine>,
    http: reqwest::Client,
    at: usize,
    /// What was taken, or refused, by `ce_id`.
    said: BTreeSet<String>,
}

/// One thing to be said.
struct Word {
    ce_id: String,
    ty: &'static str,
    data: Value,
}

/// Runs them until stdin ends.
pub(crate) async fn run(plan: PeoplePlan) -> Result<(), Trouble> {
    let http = reqwest::Client::builder().timeout(REQUEST).no_proxy().build().map_err(Trouble::wrong)?;
    let journal = Journal::open(&plan.journal)?;
    let mut people = People { plan, journal, http, at: 0, said: BTreeSet::new() };
    let mut ends = std::pin::pin!(stdin_ends());
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = &mut ends => break,
            _ = tick.tick() => {}
        }
        match people.pending().await {
            Ok(pending) => people.decide(&pending).await?,
            // Somebody else is asked next time.
            Err(_) => people.at += 1,
        }
    }
    people.journal.sync()
}

impl People {
    fn url(&self) -> &str {
        &self.plan.http[self.at % self.plan.http.len()]
    }

    /// What waits for somebody.
    async fn pending(&self) -> Result<Vec<Value>, reqwest::Error> {
        let url = format!("{}/v1/approvals?status=pending&limit={PAGE}", self.url());
        let mut page: Value = self.http.get(url).send().await?.error_for_status()?.json().await?;
        Ok(page["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    /// Decides what nobody has decided yet.
    async fn decide(&mut self, pending: &[Value]) -> Result<(), Trouble> {
        let words = pending.iter().filter_map(words).flatten();
        let mut left: Vec<Word> = words.filter(|word| !self.said.contains(&word.ce_id)).collect();
        left.truncate(BATCH);
        let asked: Vec<ClientLine> = left.iter().map(Word::asked).collect();
        self.journal.note(&asked)?;
        if left.is_empty() {
            return Ok(());
        }
        let Ok(items) = self.say(&left).await else {
            self.at += 1;
            return Ok(());
        };
        let mut lines = Vec::new();
        for word in left.drain(..) {
            let item = items.iter().find(|item| item["ce_id"] == word.ce_id);
            match item.and_then(|item| item["status"].as_u64()) {
                Some(200..=202) => lines.push(ClientLine::Acked { task: word.ce_id.clone(), place: None }),
                // They are looked at again.
                None | Some(429 | 500 | 503 | 504) => continue,
                Some(_) => {
                    let why = item.map(|item| item["error"].to_string()).unwrap_or_default();
                    lines.push(ClientLine::Refused { task: word.ce_id.clone(), why });
                }
            }
            self.said.insert(word.ce_id);
        }
        self.journal.note(&lines)
    }

    async fn say(&self, words: &[Word]) -> Result<Vec<Value>, reqwest::Error> {
        let event = |word: &Word| {
            json!({"specversion": "1.0", "id": word.ce_id, "source": "/chaos/people", "type": word.ty,
                "data": word.data})
        };
        let body = Value::from(words.iter().map(event).collect::<Vec<_>>()).to_string();
        let request = self.http.post(format!("{}/v1/commands", self.url()));
        let request = request.header("content-type", "application/cloudevents-batch+json").body(body);
        request.send().await?.error_for_status()?.json().await
    }
}

impl Word {
    fn asked(&self) -> ClientLine {
        ClientLine::Asked { task: self.ce_id.clone(), key: self.ty.to_owned() }
    }
}

/// What is said about an approval: the signal that comes with it, then each decision.
fn words(approval: &Value) -> Option<Vec<Word>> {
    let (id, run) = (approval["approval_id"].as_str()?, approval["execution_id"].as_str()?);
    let (script, revision) = (Script::of(run)?, u32::try_from(approval["revision"].as_u64()?).ok()?);
    let (step, _) = step_of(id);
    let mut words = Vec::new();
    if let Some((name, payload)) = script.signal(step) {
        let data = json!({"execution_id": run, "name": name, "payload": payload});
        words.push(Word { ce_id: format!("{run}!{name}"), ty: "synod.execution.signal", data });
    }
    for by in script.decides(step, revision) {
        let data = json!({"approval_id": id, "decision": by.decision, "approver": by.person,
            "roles": by.roles, "comment": script.comment(step, revision), "shown": approval["shown"]});
        words.push(Word { ce_id: format!("{id}!{}", by.person), ty: "synod.approval.decide", data });
    }
    Some(words)
}
