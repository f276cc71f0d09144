//! An execution as people follow it: a sentence for each event, and how many steps stand how.

use crate::door::DoorError;
use crate::watch::{Watch, Watched};
use futures::Stream;
use futures::stream::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use synod_protocol::event::What;
use synod_protocol::workflow::ExecutionStatus;
use synod_protocol::{Json, Timestamp};
use synod_workflow::source::Format;
use synod_workflow::{Place, Workflow};

/// An execution's progress as a stream; it ends with the execution.
///
/// ```no_run
/// # async fn example(handle: agent_sdk::workflow::ExecutionHandle) -> Result<(), Box<dyn std::error::Error>> {
/// let mut monitor = handle.monitor();
/// while let Some(progress) = monitor.next_progress().await? {
///     println!("{progress}"); // 2026-01-01T00:00:00.000Z draft: attempt 2 | 3 done, 1 under way
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Monitor {
    watch: Watch,
    tally: Tally,
}

/// What an execution has come to with one event. Counts are of doings of steps: one in a `map` counts for each item.
#[derive(Clone, Debug)]
pub struct Progress {
    /// When, by the shard's time.
    pub at: Option<Timestamp>,
    /// How the execution stands.
    pub status: ExecutionStatus,
    /// What happened, in a few words.
    pub what: String,
    /// Completed so far.
    pub completed: usize,
    /// Failed for good so far, whether or not that ends the execution.
    pub failed: usize,
    /// Skipped so far.
    pub skipped: usize,
    /// Under way: begun and not over.
    pub under_way: usize,
    /// The event.
    pub watched: Watched,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = self.at {
            write!(f, "{at} ")?;
        }
        write!(f, "{} | {} done, {} under way", self.what, self.completed, self.under_way)?;
        if self.failed > 0 {
            write!(f, ", {} failed", self.failed)?;
        }
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

impl Monitor {
    pub(super) fn new(watch: Watch) -> Monitor {
        Monitor { watch, tally: Tally::default() }
    }

    /// What comes next; `None` after the end.
    ///
    /// # Errors
    /// Those of any question to the mesh.
    pub async fn next_progress(&mut self) -> Result<Option<Progress>, DoorError> {
        self.next().await.transpose()
    }
}

impl Stream for Monitor {
    type Item = Result<Progress, DoorError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match std::task::ready!(self.watch.poll_next_unpin(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(watched)) => {
                    if let Some(progress) = self.tally.count(watched) {
                        return Poll::Ready(Some(Ok(progress)));
                    }
                }
            }
        }
    }
}

/// A step and for which items of the maps around it.
type Doing = (String, Vec<u32>);

/// How many doings stand how. It holds as many as one execution may have, and no outputs.
#[derive(Debug, Default)]
struct Tally {
    under_way: BTreeSet<Doing>,
    completed: BTreeSet<Doing>,
    failed: BTreeSet<Doing>,
    skipped: BTreeSet<Doing>,
    /// By step, the blocks around it.
    around: BTreeMap<String, BTreeSet<String>>,
}

impl Tally {
    /// Takes an event; `None` for what is none of an execution.
    fn count(&mut self, watched: Watched) -> Option<Progress> {
        let (status, what) = self.told(&watched.event.what)?;
        Some(Progress {
            at: watched.time,
            status,
            what,
            completed: self.completed.len(),
            failed: self.failed.len(),
            skipped: self.skipped.len(),
            under_way: self.under_way.len(),
            watched,
        })
    }

    fn told(&mut self, what: &What) -> Option<(ExecutionStatus, String)> {
        Some(match what {
            What::ExecutionStarted(e) => {
                self.around = around(&e.definition);
                (e.status, format!("{} of {} started", e.execution_id, e.workflow_id))
            }
            What::ExecutionStepStarted(e) => {
                let doing = self.begins(&e.step, &e.items);
                let by = e.child.as_ref().map(|child| format!(" as {child}")).unwrap_or_default();
                let said = match (e.attempt, e.wake_at) {
                    (0, _) => "begun".to_owned(),
                    (attempt, Some(until)) => format!("attempt {attempt} waits until {until}"),
                    (attempt, None) => format!("attempt {attempt}{by}"),
                };
                (e.status, format!("{doing}: {said}"))
            }
            What::ExecutionStepConsulted(e) => {
                (e.status, format!("{}: an expert is asked as {}", named(&e.step, &e.items), e.child))
            }
            What::ExecutionStepAdvised(e) => {
                let said = if e.error.is_some() { "has no answer" } else { "has answered" };
                (e.status, format!("{}: the expert {said}", named(&e.step, &e.items)))
            }
            What::ExecutionStepCompleted(e) => {
                let doing = self.ends(&e.step, &e.items, |tally| &mut tally.completed);
                let by = e.agent_id.as_ref().map(|agent| format!(" by {agent}")).unwrap_or_default();
                (e.status, format!("{doing}: completed{by}"))
            }
            What::ExecutionStepFailed(e) => {
                let (code, message) = (&e.error.code, &e.error.message);
                let said = match (e.retry_at, e.falls_back) {
                    (Some(at), _) => format!("failed, again at {at}"),
                    (None, true) => "failed, its fallback is next".to_owned(),
                    (None, false) => {
                        self.ends(&e.step, &e.items, |tally| &mut tally.failed);
                        "failed for good".to_owned()
                    }
                };
                (e.status, format!("{}: {said}: {code}: {message}", named(&e.step, &e.items)))
            }
            What::ExecutionStepSkipped(e) => {
                let doing = self.ends(&e.step, &e.items, |tally| &mut tally.skipped);
                (e.status, format!("{doing}: skipped"))
            }
            What::ExecutionStepCancelled(e) => {
                self.forget(&e.step, &e.items);
                (e.status, format!("{}: cancelled", named(&e.step, &e.items)))
            }
            What::ExecutionStepDue(e) => {
                (e.status, format!("{}: its next attempt is due", named(&e.step, &e.items)))
            }
            What::ExecutionRevised(e) => {
                // The approval waits no more; what is done again counts as before until it begins.
                self.forget(&e.step, &e.items);
                let (asked, from) = (named(&e.step, &e.items), &e.from);
                let said = format!("changes were requested, {from} begins again as revision {}", e.revision);
                (e.status, format!("{asked}: {said}"))
            }
            What::ExecutionRetried(e) => {
                self.forget(&e.step, &e.items);
                (e.status, format!("{}: to be done once more", named(&e.step, &e.items)))
            }
            What::ExecutionSignalled(e) => (e.status, format!("the signal {} came", e.name)),
            What::ExecutionPaused(e) => (e.status, because("paused", e.reason.as_deref())),
            What::ExecutionResumed(e) => (e.status, because("resumed", e.reason.as_deref())),
            What::ExecutionCompleted(e) | What::ExecutionFailed(e) | What::ExecutionCancelled(e) => {
                // What was open is over by this one event.
                self.under_way.clear();
                let why = e.error.as_ref().map(|error| format!("{}: {}", error.code, error.message));
                (e.status, because(e.status.as_str(), why.as_deref()))
            }
            _ => return None,
        })
    }

    /// A doing begins, perhaps once more.
    fn begins(&mut self, step: &str, items: &[u32]) -> String {
        self.forget(step, items);
        self.under_way.insert((step.to_owned(), items.to_vec()));
        named(step, items)
    }

    fn ends(
        &mut self,
        step: &str,
        items: &[u32],
        how: impl FnOnce(&mut Tally) -> &mut BTreeSet<Doing>,
    ) -> String {
        self.forget(step, items);
        // With a block is over what is left over in it, and no event of its own says so.
        let around = &self.around;
        let is_within = |(inner, of): &Doing| {
            of.starts_with(items) && around.get(inner).is_some_and(|blocks| blocks.contains(step))
        };
        self.under_way.retain(|doing| !is_within(doing));
        how(self).insert((step.to_owned(), items.to_vec()));
        named(step, items)
    }

    fn forget(&mut self, step: &str, items: &[u32]) {
        let doing = (step.to_owned(), items.to_vec());
        for set in [&mut self.under_way, &mut self.completed, &mut self.failed, &mut self.skipped] {
            set.remove(&doing);
        }
    }
}

/// By step, the blocks around it; nothing where this build cannot read the definition.
fn around(definition: &Json) -> BTreeMap<String, BTreeSet<String>> {
    let Ok(workflow) = Workflow::parse_as(definition.as_str(), Format::Json) else { return BTreeMap::new() };
    let all = (0..workflow.len()).filter_map(|number| workflow.place(number));
    all.map(|place| {
        let outer = |at: &&Place| at.parent.and_then(|parent| workflow.place(parent));
        let blocks = std::iter::successors(Some(place), outer).skip(1).map(|block| block.id.to_string());
        (place.id.to_string(), blocks.collect())
    })
    .collect()
}

fn named(step: &str, items: &[u32]) -> String {
    items.iter().fold(step.to_owned(), |name, item| format!("{name}[{item}]"))
}

fn because(what: &str, why: Option<&str>) -> String {
    why.map_or_else(|| what.to_owned(), |why| format!("{what}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use synod_protocol::Event;

    fn event(ty: &str, more: &Value) -> Watched {
        let mut data = json!({"execution_id": "e", "status": "running"});
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let text = json!({"entity": "e", "type": format!("synod.execution.{ty}"), "data": data}).to_string();
        let event: Event = serde_json::from_str(&text).unwrap();
        Watched {
            event,
            id: ty.to_owned(),
            position: None,
            time: None,
            correlation_id: None,
            causation_id: None,
        }
    }

    #[test]
    fn what_is_left_over_in_a_block_is_over_with_it() {
        let definition = json!({"id": "w", "steps": [
            {"id": "first", "parallel": {"join": "any", "steps": [
                {"id": "a", "task": {"capability": "c"}}, {"id": "b", "task": {"capability": "c"}}]}},
            {"id": "other", "task": {"capability": "c"}}]});
        let mut tally = Tally::default();
        let more = json!({"workflow_id": "w", "hash": "h", "definition": definition, "input": null,
            "correlation_id": "c", "body": "b"});
        assert_eq!(tally.count(event("started", &more)).unwrap().what, "e of w started");
        for step in ["first", "a", "b", "other"] {
            tally.count(event("step_started", &json!({"step": step, "attempt": 1}))).unwrap();
        }
        tally.count(event("step_completed", &json!({"step": "a", "attempt": 1}))).unwrap();
        let over = tally.count(event("step_completed", &json!({"step": "first", "attempt": 0}))).unwrap();
        assert_eq!((over.completed, over.under_way), (2, 1), "only the other one is under way");
    }

    #[test]
    fn each_event_is_told_and_counted() {
        let mut tally = Tally::default();
        let mut check = |ty: &str, more: Value, want: &str| {
            assert_eq!(tally.count(event(ty, &more)).unwrap().to_string(), want);
        };
        let error = json!({"code": "c", "message": "m", "retryable": true});
        let at = "2026-01-01T00:00:00.000Z";
        let part = |more: Value| {
            let mut part = json!({"step": "part", "items": [0, 2], "attempt": 1});
            part.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            part
        };
        check("step_started", json!({"step": "work", "attempt": 0}), "work: begun | 0 done, 1 under way");
        check(
            "step_started",
            part(json!({"child": "e:part[0][2]"})),
            "part[0][2]: attempt 1 as e:part[0][2] | 0 done, 2 under way",
        );
        check(
            "step_failed",
            part(json!({"error": error, "retry_at": at})),
            "part[0][2]: failed, again at 2026-01-01T00:00:00.000Z: c: m | 0 done, 2 under way",
        );
        check(
            "step_failed",
            part(json!({"error": error})),
            "part[0][2]: failed for good: c: m | 0 done, 1 under way, 1 failed",
        );
        check("retried", part(json!({})), "part[0][2]: to be done once more | 0 done, 1 under way");
        check(
            "step_completed",
            part(json!({"agent_id": "a"})),
            "part[0][2]: completed by a | 1 done, 1 under way",
        );
        check("step_skipped", json!({"step": "more"}), "more: skipped | 1 done, 1 under way, 1 skipped");
        let feedback = json!({"decision": "request_changes", "at": at, "shown": "s"});
        let revised = json!({"step": "ask", "from": "part", "revision": 2, "feedback": feedback});
        check(
            "step_started",
            json!({"step": "ask", "attempt": 1}),
            "ask: attempt 1 | 1 done, 2 under way, 1 skipped",
        );
        check(
            "revised",
            revised,
            "ask: changes were requested, part begins again as revision 2 | 1 done, 1 under way, 1 skipped",
        );
        check("step_started", part(json!({})), "part[0][2]: attempt 1 | 0 done, 2 under way, 1 skipped");
        check("cancelled", json!({"status": "cancelled"}), "cancelled | 0 done, 0 under way, 1 skipped");
    }
}
