//! One entity's life, out of all that its shard went through: every record that concerns it, whether it counts,
//! and the claims that fell into it.
//!
//! What is kept is what concerns the entity; the shard's own state is not folded for it.

use super::Entry;
use serde::Serialize;
use serde_json::{Value, json};
use synod_ledger::{Counting, Door, FoldError, Image, Imaged, InputRef, Record, RecordError, Step, Verdict};
use synod_protocol::event::{Event, What};
use synod_protocol::{EntityId, Error, Timestamp, Workspace};

/// Claims that are kept while nothing else happens to the entity; of more, only the newest.
const CLAIMS_KEPT: usize = 32;

/// Follows one entity through its shard's ledger.
#[derive(Debug)]
pub struct Life {
    workspace: Workspace,
    entity: EntityId,
    counting: Counting,
    begun: bool,
    owner: Option<String>,
    moments: Vec<Moment>,
    /// Claims since the last moment; they are told once it is known that the life went on.
    claims: Vec<Moment>,
    claims_left_out: u64,
    standing: Option<Standing>,
}

/// Something that happened to the entity, or to whoever may speak for it.
#[derive(Clone, Debug, Serialize)]
pub struct Moment {
    /// The record's place.
    pub offset: u64,
    /// `claim`, `step` or `image`.
    pub kind: &'static str,
    /// The broker's time of the record.
    pub appended_at: Option<Timestamp>,
    /// Its author's claim; its own offset in a claim.
    pub epoch: u64,
    /// Its number in that epoch; 0 in a claim.
    pub n: u64,
    /// The shard's time as its author had it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<Timestamp>,
    /// What brought it about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<InputRef>,
    /// Why it is as if it were not there; absent where it counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub void: Option<String>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Error>,
    /// What happened to the entity, as it is published: without tokens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Value>,
    /// What an image shows, in short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shows: Option<String>,
    /// Who claimed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Whom it took the shard from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken_from: Option<String>,
}

/// Where the entity stands after all that counts.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// Its status.
    pub status: String,
    /// The record that made it so.
    pub since_offset: u64,
    /// When.
    pub since: Timestamp,
    /// Whether it stays so.
    pub is_final: bool,
    /// How many attempts there were; 0 for what is no task.
    pub attempts: u32,
}

impl Life {
    /// Of this entity.
    pub fn of(workspace: Workspace, entity: EntityId) -> Life {
        Life {
            workspace,
            entity,
            counting: Counting::default(),
            begun: false,
            owner: None,
            moments: Vec::new(),
            claims: Vec::new(),
            claims_left_out: 0,
            standing: None,
        }
    }

    /// What has concerned it so far, in order.
    pub fn moments(&self) -> &[Moment] {
        &self.moments
    }

    /// Claims that are not among the moments, since there were too many in a row.
    pub fn claims_left_out(&self) -> u64 {
        self.claims_left_out
    }

    /// Where it stands, if it is known at all.
    pub fn standing(&self) -> Option<&Standing> {
        self.standing.as_ref()
    }

    /// Takes the shard's next record into account.
    ///
    /// # Errors
    /// A newer build wrote it, and whether it counts decides about what follows.
    pub fn record(&mut self, entry: &Entry) -> Result<(), FoldError> {
        let offset = entry.offset;
        let record = match Record::read(entry.bytes()) {
            Ok(record) => record,
            Err(RecordError::Foreign(_)) => return Ok(()),
            Err(RecordError::Unknown { epoch, n, .. }) if !self.counting.expects(epoch, n) => return Ok(()),
            Err(why) => return Err(FoldError::Unreadable { offset, why }),
        };
        if !std::mem::replace(&mut self.begun, true) && entry.offset > 0 {
            // What was before is trimmed away, up to a floor: the record there counts by definition.
            self.counting = Counting::at_floor(&record);
        }
        let before = self.counting;
        let verdict = self.counting.see(offset, &record);
        match record {
            Record::Claim(claim) => {
                let taken_from =
                    self.owner.replace(claim.owner.clone()).filter(|owner| *owner != claim.owner);
                let mut moment = moment(entry, "claim", offset, 0);
                (moment.owner, moment.taken_from) = (Some(claim.owner), taken_from);
                if !self.moments.is_empty() {
                    self.claims.push(moment);
                    if self.claims.len() > CLAIMS_KEPT {
                        self.claims.remove(0);
                        self.claims_left_out += 1;
                    }
                }
            }
            Record::Step(step) => self.step(entry, before, verdict, &step),
            Record::Image(image) => self.image(entry, before, verdict, &image),
        }
        Ok(())
    }

    fn step(&mut self, entry: &Entry, before: Counting, verdict: Verdict, step: &Step) {
        let concerns = |event: &&Event| event.entity == self.entity;
        let asked = step.input.entity.as_ref() == Some(&self.entity);
        if step.workspace.as_ref() != Some(&self.workspace)
            || !(asked || step.events.iter().any(|e| concerns(&e)))
        {
            return;
        }
        let events: Vec<&Event> = step.events.iter().filter(concerns).collect();
        if verdict == Verdict::Counts {
            for event in &events {
                self.standing = standing(self.standing.take(), entry.offset, step.now, event);
            }
        }
        let mut moment = moment(entry, "step", step.epoch, step.n);
        moment.now = Some(step.now);
        moment.input = Some(step.input.clone());
        moment.void = (verdict == Verdict::Void).then(|| why_void(before, step.epoch, step.n));
        moment.rejected.clone_from(&step.rejected);
        moment.events = events.into_iter().map(published).collect();
        self.moments.append(&mut self.claims);
        self.moments.push(moment);
    }
}

impl Life {
    /// The entity as it was written down whole, so that a fold need not begin at its birth.
    fn image(&mut self, entry: &Entry, before: Counting, verdict: Verdict, image: &Image) {
        let (workspace, id, status, attempts, is_final) = match &image.of {
            Imaged::Task(task) => {
                let (state, id) = (&task.state, task.id.as_str());
                (&task.workspace, id, state.status.as_str(), state.attempts.len(), state.status.is_final())
            }
            Imaged::Agent(agent) => {
                (&agent.workspace, agent.id.as_str(), agent.state.status.as_str(), 0, false)
            }
            Imaged::Negotiation(it) => {
                let (status, id) = (it.state.status, it.id.as_str());
                (&it.workspace, id, status.as_str(), 0, status.is_final())
            }
            Imaged::Workflow(it) => (&it.workspace, it.id.as_str(), "defined", 0, false),
            Imaged::Execution(it) => {
                let (status, id) = (it.state.status(), it.id.as_str());
                (&it.workspace, id, status.as_str(), 0, status.is_final())
            }
            Imaged::Approval(it) => {
                let (status, id) = (it.state.status, it.id.as_str());
                (&it.workspace, id, status.as_str(), 0, status.is_final())
            }
            Imaged::Shard(_) | Imaged::Seen(_) => return,
        };
        if *workspace != self.workspace || id != self.entity.as_str() {
            return;
        }
        if verdict == Verdict::Counts && self.standing.is_none() {
            self.standing = Some(Standing {
                status: status.to_owned(),
                since_offset: entry.offset,
                since: entry.appended_at().unwrap_or_default(),
                is_final,
                attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
            });
        }
        let mut moment = moment(entry, "image", image.epoch, image.n);
        moment.void = (verdict == Verdict::Void).then(|| why_void(before, image.epoch, image.n));
        moment.shows = Some(match &image.of {
            Imaged::Task(_) => format!("{status}, {attempts} attempts"),
            _ => status.to_owned(),
        });
        self.moments.append(&mut self.claims);
        self.moments.push(moment);
    }
}

fn moment(entry: &Entry, kind: &'static str, epoch: u64, n: u64) -> Moment {
    Moment {
        offset: entry.offset,
        kind,
        appended_at: entry.appended_at(),
        epoch,
        n,
        now: None,
        input: None,
        void: None,
        rejected: None,
        events: Vec::new(),
        shows: None,
        owner: None,
        taken_from: None,
    }
}

/// An event as everybody may see it.
fn published(event: &Event) -> Value {
    let data = event.public_value().ok().and_then(|json| json.to::<Value>().ok());
    json!({ "entity": event.entity, "type": event.what.ce_type(), "data": data })
}

fn standing(before: Option<Standing>, offset: u64, now: Timestamp, event: &Event) -> Option<Standing> {
    let data = published(event);
    let data = &data["data"];
    let Some(status) = data["status"].as_str() else { return before };
    let attempt = if matches!(event.what, What::TaskAssigned(_)) { data["attempt"].as_u64() } else { None };
    let had = before.as_ref().map_or(0, |before| before.attempts);
    let attempts = attempt.and_then(|n| u32::try_from(n).ok()).unwrap_or(had);
    match before {
        Some(before) if before.status == status => Some(Standing { attempts, ..before }),
        _ => {
            let is_final = event.what.is_end();
            Some(Standing { status: status.to_owned(), since_offset: offset, since: now, is_final, attempts })
        }
    }
}

/// Why a record of this epoch and number does not count here.
fn why_void(before: Counting, epoch: u64, n: u64) -> String {
    match before.epoch() {
        None => "nobody had claimed the shard".to_owned(),
        Some(claim) if claim > epoch => format!("epoch {epoch} was over since the claim at {claim}"),
        Some(_) if before.epoch() != Some(epoch) => format!("there is no claim at {epoch}"),
        Some(_) if n <= before.n() => format!("record {n} of this epoch was there already"),
        Some(_) => format!("record {} of this epoch is missing before it", before.n() + 1),
    }
}

impl Moment {
    /// Through which door it came; a claim comes through none.
    pub fn door(&self) -> Option<Door> {
        self.input.as_ref().map(|input| input.door)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(offset: u64, text: String) -> Entry {
        Entry { offset, timestamp_ms: Some(0), key: None, value: Some(text.into_bytes()) }
    }

    fn claim(offset: u64, owner: &str) -> Entry {
        entry(
            offset,
            format!(r#"{{"v":1,"kind":"claim","owner":"{owner}","at":"2026-11-21T08:00:00.000Z"}}"#),
        )
    }

    fn step(offset: u64, epoch: u64, n: u64, entity: &str, ty: &str, status: &str, more: &str) -> Entry {
        let data = format!(r#"{{"task_id":"{entity}","status":"{status}"{more}}}"#);
        let event = format!(r#"{{"entity":"{entity}","type":"{ty}","data":{data}}}"#);
        entry(
            offset,
            format!(
                r#"{{"v":1,"kind":"step","epoch":{epoch},"n":{n},"now":"2026-11-21T08:00:00.00{}Z","workspace":"default","root":"{entity}","input":{{"door":"http","ce_id":"c{offset}","entity":"{entity}"}},"events":[{event}],"floor":0,"done":0}}"#,
                offset % 10
            ),
        )
    }

    const SECRET: &str = r#","attempt":1,"agent_id":"a","incarnation":"0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10","deadline":"2026-11-21T08:00:30.000Z","choice":{"rule":"r","candidates":1,"in_flight":0},"secret":{"attempt_token":"hush","delivery":"redis"}"#;

    #[test]
    fn a_life_has_its_own_steps_the_void_ones_and_the_claims_between() {
        let mut life = Life::of(Workspace::default_name(), "t".parse().unwrap());
        let cancelled =
            |offset, epoch, n, task| step(offset, epoch, n, task, "synod.task.cancelled", "cancelled", "");
        let log = [
            claim(0, "one"),
            cancelled(1, 0, 1, "other"),
            step(2, 0, 2, "t", "synod.task.assigned", "assigned", SECRET),
            claim(3, "two"),
            cancelled(4, 0, 3, "t"),
            entry(5, "hello".into()),
            cancelled(6, 3, 2, "t"),
            cancelled(7, 3, 1, "t"),
            cancelled(8, 3, 1, "t"),
            claim(9, "three"),
        ];
        for record in &log {
            life.record(record).unwrap();
        }
        let told: Vec<_> = life.moments().iter().map(|m| (m.offset, m.void.as_deref())).collect();
        assert_eq!(
            told,
            [
                (2, None),
                (3, None),
                (4, Some("epoch 0 was over since the claim at 3")),
                (6, Some("record 1 of this epoch is missing before it")),
                (7, None),
                (8, Some("record 1 of this epoch was there already")),
            ]
        );
        let claim = &life.moments()[1];
        assert_eq!((claim.owner.as_deref(), claim.taken_from.as_deref()), (Some("two"), Some("one")));
        let standing = life.standing().unwrap();
        assert_eq!((standing.status.as_str(), standing.since_offset), ("cancelled", 7));
        assert_eq!((standing.is_final, standing.attempts), (true, 1));
        assert!(!serde_json::to_string(life.moments()).unwrap().contains("hush"));
    }

    fn image(offset: u64, epoch: u64, n: u64) -> Entry {
        let state = r#"{"submitted":{"task_id":"t","status":"waiting","capability":"c","input":null,"priority":5,"timeout_ms":1,"deadline":"2026-11-22T08:00:00.000Z","retry":{"max_attempts":3,"initial_backoff_ms":1,"max_backoff_ms":1,"multiplier":1.0},"strategy":"s","retry_on_suspect":false,"correlation_id":"k","body":"b"},"submitted_at":"2026-11-21T08:00:00.000Z","status":"waiting","attempts":[],"avoid":[],"failures":0,"losses":0}"#;
        let of = format!(r#"{{"task":{{"workspace":"default","id":"t","arrival":1,"state":{state}}}}}"#);
        entry(offset, format!(r#"{{"v":1,"kind":"image","epoch":{epoch},"n":{n},"of":{of}}}"#))
    }

    #[test]
    fn where_the_beginning_is_trimmed_away_a_life_begins_with_its_image() {
        let mut life = Life::of(Workspace::default_name(), "t".parse().unwrap());
        // The record at the floor counts by definition.
        life.record(&image(41, 30, 11)).unwrap();
        life.record(&image(42, 30, 11)).unwrap();
        let standing = life.standing().unwrap();
        assert_eq!(
            (standing.status.as_str(), standing.since_offset, standing.is_final),
            ("waiting", 41, false)
        );
        life.record(&step(43, 30, 12, "t", "synod.task.cancelled", "cancelled", "")).unwrap();
        assert_eq!(life.standing().unwrap().status, "cancelled");
        let told: Vec<_> =
            life.moments().iter().map(|m| (m.kind, m.shows.as_deref(), m.void.is_some())).collect();
        let shows = Some("waiting, 0 attempts");
        assert_eq!(told, [("image", shows, false), ("image", shows, true), ("step", None, false)]);
    }

    #[test]
    fn another_workspace_is_another_entity() {
        let mut life = Life::of("elsewhere".parse().unwrap(), "t".parse().unwrap());
        life.record(&claim(0, "one")).unwrap();
        life.record(&step(1, 0, 1, "t", "synod.task.cancelled", "cancelled", "")).unwrap();
        assert!(life.moments().is_empty() && life.standing().is_none());
    }

    #[test]
    fn what_a_newer_build_wrote_is_not_passed_over_where_it_may_count() {
        let mut life = Life::of(Workspace::default_name(), "t".parse().unwrap());
        life.record(&claim(0, "one")).unwrap();
        let unknown = |offset, n| step(offset, 0, n, "t", "synod.task.riddled", "riddled", "");
        life.record(&unknown(1, 2)).unwrap();
        assert!(matches!(life.record(&unknown(2, 1)), Err(FoldError::Unreadable { offset: 2, .. })));
    }
}
