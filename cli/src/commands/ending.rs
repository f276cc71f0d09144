//! What is begun and ends some day, waited for and watched alike: tasks, executions, approvals.

use super::event_line;
use crate::mesh::{Api, segment};
use crate::output::{Output, Stop};
use serde_json::Value;
use std::io::Write;
use std::time::{Duration, Instant};
use synod_protocol::{Code, Error};

/// `--wait` without a figure.
pub(super) const WAIT_MS: &str = "60000";
/// A coordinator holds an answer back for so long at most.
const HOLD: Duration = Duration::from_secs(60);
/// Between two looks at what happened.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A kind of such things.
pub(super) struct Kind {
    /// What people call one.
    noun: &'static str,
    /// Where all of them are.
    pub(super) path: &'static str,
    /// The status of one that ended well, and the others in which one is over.
    good: &'static str,
    bad: &'static [&'static str],
    /// The events after which nothing comes.
    last: &'static [&'static str],
}

pub(super) const TASK: Kind = Kind {
    noun: "task",
    path: "/v1/tasks",
    good: "completed",
    bad: &["failed", "cancelled", "dead_lettered"],
    last: &["task.completed", "task.failed", "task.cancelled", "task.dead_lettered"],
};

pub(super) const EXECUTION: Kind = Kind {
    noun: "execution",
    path: "/v1/executions",
    good: "completed",
    bad: &["failed", "cancelled"],
    last: &["execution.completed", "execution.failed", "execution.cancelled"],
};

pub(super) const APPROVAL: Kind = Kind {
    noun: "approval",
    path: "/v1/approvals",
    good: "approved",
    bad: &["rejected", "changes_requested", "cancelled", "timed_out"],
    last: &[],
};

impl Kind {
    /// Where one is.
    pub(super) fn at(&self, id: &str) -> String {
        format!("{}/{}", self.path, segment(id))
    }

    fn is_over(&self, entity: &Value) -> bool {
        let status = entity["status"].as_str().unwrap_or_default();
        status == self.good || self.bad.contains(&status)
    }

    /// One that is over, or as it is when time is up.
    pub(super) async fn ended(&self, api: &Api, id: &str, wait: Duration) -> Result<Value, Error> {
        let deadline = Instant::now() + wait;
        loop {
            let hold = deadline.saturating_duration_since(Instant::now()).min(HOLD);
            let query = [("wait_ms", hold.as_millis().to_string())];
            let entity = api.get(&self.at(id), &query, hold).await?;
            if self.is_over(&entity) || Instant::now() >= deadline {
                return Ok(entity);
            }
        }
    }

    /// Shows one that was waited for; it is a failure if it did not end well.
    pub(super) fn tell(&self, entity: &Value, output: &mut Output<impl Write>) -> Result<(), Stop> {
        output.entity(entity)?;
        let (noun, status) = (self.noun, entity["status"].as_str().unwrap_or_default());
        if status == self.good {
            return Ok(());
        }
        if !self.is_over(entity) {
            return Err(Error::new(Code::DeadlineExceeded, format!("the {noun} is still {status}")).into());
        }
        let why = why(entity).map_or_else(String::new, |why| format!(": {why}"));
        Err(Stop::Failed(format!("the {noun} ended as {status}{why}")))
    }

    /// Shows one as it is, or where there is a time to wait, as [`Kind::tell`] does.
    pub(super) async fn show(
        &self,
        api: &Api,
        id: &str,
        wait_ms: Option<u64>,
        output: &mut Output<impl Write>,
    ) -> Result<(), Stop> {
        match wait_ms {
            None => output.entity(&api.get(&self.at(id), &[], Duration::ZERO).await?),
            Some(ms) => self.tell(&self.ended(api, id, Duration::from_millis(ms)).await?, output),
        }
    }

    /// Shows the events of one as they happen, until it is over.
    pub(super) async fn watch(
        &self,
        api: &Api,
        id: &str,
        limit: Duration,
        output: &mut Output<impl Write>,
    ) -> Result<(), Stop> {
        let deadline = Instant::now() + limit;
        let mut after: Option<String> = None;
        // Not found is said at once, rather than waited for.
        api.get(&self.at(id), &[], Duration::ZERO).await?;
        loop {
            // The entity first: what is over by now has all its events in what is read next.
            let query = [("wait_ms", LOOK_EVERY.as_millis().to_string())];
            let over = self.is_over(&api.get(&self.at(id), &query, LOOK_EVERY).await?);
            let mut said_the_end = false;
            loop {
                let mut query = vec![("entity", id.to_owned()), ("limit", "100".to_owned())];
                query.extend(after.iter().map(|position| ("after", position.clone())));
                let page = api.get("/v1/events", &query, Duration::ZERO).await?;
                let events = super::items(&page);
                for event in events {
                    output.text(&event_line::line(event, output.format()))?;
                    after = event_line::position(event).or(after);
                    said_the_end |= self.last.contains(&event_line::short_type(event).as_str());
                }
                if events.is_empty() {
                    break;
                }
            }
            match over {
                // The events follow the ledger at a short distance.
                true if said_the_end || Instant::now() >= deadline => return Ok(()),
                _ if Instant::now() >= deadline => {
                    let message = format!("the {} has not ended within {} s", self.noun, limit.as_secs());
                    return Err(Error::new(Code::DeadlineExceeded, message).into());
                }
                true => tokio::time::sleep(LOOK_EVERY).await,
                false => {}
            }
        }
    }
}

/// Why it ended as it did: its error, or what the last who decided said.
fn why(entity: &Value) -> Option<&str> {
    let said = entity["decisions"].as_array().and_then(|all| all.last()?["comment"].as_str());
    entity["error"]["message"].as_str().or(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Exit, Format};
    use crate::terminal::Screen;
    use serde_json::json;

    #[test]
    fn how_something_ended_is_the_exit_status() {
        let check = |kind: &Kind, entity: Value, want: Option<(Exit, &str)>| {
            let mut bytes = Vec::new();
            let told = kind.tell(&entity, &mut Output::new(&mut bytes, Format::Json, Screen::PLAIN));
            let told = told.err().map(|stop| (stop.exit(), stop.to_string()));
            assert_eq!(told, want.map(|(exit, why)| (exit, why.to_owned())), "{entity}");
        };
        check(&TASK, json!({"status": "completed"}), None);
        check(&APPROVAL, json!({"status": "approved"}), None);
        let failed = json!({"status": "failed", "error": {"message": "no money"}});
        check(&EXECUTION, failed, Some((Exit::Failed, "the execution ended as failed: no money")));
        let rejected =
            json!({"status": "rejected", "decisions": [{"comment": "fine"}, {"comment": "too long"}]});
        check(&APPROVAL, rejected, Some((Exit::Failed, "the approval ended as rejected: too long")));
        check(
            &APPROVAL,
            json!({"status": "timed_out"}),
            Some((Exit::Failed, "the approval ended as timed_out")),
        );
        check(
            &TASK,
            json!({"status": "running"}),
            Some((Exit::Failed, "deadline_exceeded: the task is still running")),
        );
        check(
            &EXECUTION,
            json!({"status": "paused"}),
            Some((Exit::Failed, "deadline_exceeded: the execution is still paused")),
        );
    }
}
