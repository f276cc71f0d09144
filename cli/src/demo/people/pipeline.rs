//! The first part: three documents become a page, a person wants it otherwise, and its owner dies while she is asked.

use super::agents::{DOCUMENTS, Published};
use super::second::{Second, until};
use super::told::{Decided, Page, Pipeline, Step, Takeover};
use super::{PeopleError, definition};
use crate::mesh::Ground;
use agent_sdk::approval::{Approval, Verdict};
use agent_sdk::workflow::{ExecutionHandle, execution_of};
use agent_sdk::{Client, EntityId, Id, Mesh};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use synod_protocol::primitives::state::Condition;

const WORKFLOW: &str = include_str!("given/document-pipeline.yaml");

/// The person in it; the demo decides in this name, as any program may that shows people what waits for them.
pub(super) const PERSON: &str = "ann";
/// What she says to the first page.
const WANTED: &str = "where do the links lead? and the longest first";
/// Whatever has to come takes this long at most.
const SOON: Duration = Duration::from_secs(20);

/// The scene's parts that this one needs.
pub(super) struct Part<'a> {
    pub(super) ground: &'a Ground,
    pub(super) mesh: &'a Mesh,
    pub(super) run: &'a str,
    /// Where pages are published.
    pub(super) pages: &'a Path,
}

impl Part<'_> {
    /// Plays it; `second` is the coordinator that is killed, where there is one.
    pub(super) async fn play(&self, second: Option<Second>) -> Result<Pipeline, PeopleError> {
        let client = self.mesh.client().correlated(self.run);
        let begins = format!("{}-page", self.run);
        let (id, second) = match second {
            Some(second) => {
                let (id, shard) = second.owned(self.ground, &begins).await?;
                (id, Some((second, shard)))
            }
            None => (begins.parse()?, None),
        };
        let name = format!("{}.md", self.run);
        let documents: Vec<&str> = DOCUMENTS.iter().map(|(name, _)| *name).collect();
        let workflow = definition(WORKFLOW, "document.", self.run)?;
        let input = json!({"documents": documents, "page": name});
        let handle = client.start(execution_of(&workflow).id(id.as_str()).input(input)).await?;

        let first = self.asked(&handle, &id, 1).await?;
        let wishes = json!({"with_links": true, "longest_first": true});
        let otherwise = Verdict::request_changes(PERSON, WANTED).data(wishes).shown(&first.shown);
        client.approval(first.approval_id.clone()).decide(otherwise).await?;

        let second_page = self.asked(&handle, &id, 2).await?;
        let takeover = match second {
            Some((second, shard)) => Some(self.owner_dies(second, shard, &second_page, &id).await?),
            None => None,
        };
        let yes = Verdict::approve(PERSON).meaning("reviewed").shown(&second_page.shown);
        client.approval(second_page.approval_id.clone()).decide(yes).await?;
        let done = handle.wait::<Value>(SOON).await?;

        let approvals = self.approvals(&client, [&first, &second_page]).await?;
        self.check_asked_once(&id, &approvals).await?;
        check_decisions(&approvals)?;
        let page = self.published(&name, &done.output, &approvals).await?;
        Ok(Pipeline {
            execution_id: id.to_string(),
            documents: documents.into_iter().map(str::to_owned).collect(),
            first: Page::of(&first)?,
            second: page,
            takeover,
            steps: Step::all(&done.execution, self.run),
            decisions: approvals.iter().flat_map(Decided::all).collect(),
            took_ms: done.execution.ended_at.map_or(0, |at| at.millis_since(done.execution.started_at)),
        })
    }

    /// Waits until she is asked about this revision.
    async fn asked(&self, handle: &ExecutionHandle, id: &Id, revision: u32) -> Result<Approval, PeopleError> {
        let what = format!("an approval of revision {revision} for {PERSON}");
        until(&what, SOON, async || {
            // One that has failed asks nobody any more: it is told why.
            let execution = handle.get().await?;
            if execution.status.is_final() {
                let why = execution.error.map(|error| error.message).unwrap_or_default();
                return Err(PeopleError::unexpected(format!(
                    "the workflow ended before {PERSON} was asked: {why}"
                )));
            }
            let mut pending = self.of_execution(id, Some("pending")).await?;
            pending.retain(|one| one.revision == revision);
            Ok(pending.pop())
        })
        .await
    }

    async fn of_execution(&self, id: &Id, status: Option<&str>) -> Result<Vec<Approval>, PeopleError> {
        let mut query = vec![("execution", id.to_string()), ("limit", "100".to_owned())];
        query.extend(status.map(|status| ("status", status.to_owned())));
        let mut page = self.ground.api.get("/v1/approvals", &query, Duration::ZERO).await?;
        Ok(serde_json::from_value(page["items"].take())?)
    }

    /// Kills the owner, and sees that she is asked neither anew nor otherwise.
    async fn owner_dies(
        &self,
        second: Second,
        shard: u32,
        pending: &Approval,
        id: &Id,
    ) -> Result<Takeover, PeopleError> {
        let (heir, took) = second.killed(self.ground, shard).await?;
        let after = self.of_execution(id, Some("pending")).await?;
        match after.as_slice() {
            [one] if one == pending => {}
            other => {
                return Err(PeopleError::unexpected(format!(
                    "after the take-over {} approvals are pending, and one was, of revision 2",
                    other.len()
                )));
            }
        }
        Ok(Takeover { shard, heir, took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX) })
    }

    /// Both approvals, each with what was decided.
    async fn approvals(&self, client: &Client, all: [&Approval; 2]) -> Result<Vec<Approval>, PeopleError> {
        let mut approvals = Vec::new();
        for one in all {
            approvals.push(client.approval(one.approval_id.clone()).get().await?);
        }
        Ok(approvals)
    }

    /// There is one approval for each revision, and she is told of each by one event.
    async fn check_asked_once(&self, id: &Id, approvals: &[Approval]) -> Result<(), PeopleError> {
        let known: BTreeSet<EntityId> = approvals.iter().map(|one| one.approval_id.clone()).collect();
        let found: BTreeSet<EntityId> =
            self.of_execution(id, None).await?.into_iter().map(|one| one.approval_id).collect();
        if found != known {
            return Err(PeopleError::unexpected(format!(
                "{PERSON} was asked {} times, not twice",
                found.len()
            )));
        }
        for approval in &known {
            // Events go out beside the answers.
            let what = format!("an event that tells {PERSON} of {approval}");
            let asked = until(&what, SOON, async || {
                let asked = self.told_of(approval).await?;
                Ok((asked > 0).then_some(asked))
            })
            .await?;
            if asked != 1 {
                return Err(PeopleError::unexpected(format!(
                    "{PERSON} was told of {approval} {asked} times, not once"
                )));
            }
        }
        Ok(())
    }

    /// By how many events she is told of an approval.
    async fn told_of(&self, approval: &EntityId) -> Result<usize, PeopleError> {
        let query = [("entity", approval.to_string()), ("type", "synod.approval.required".to_owned())];
        let page = self.ground.api.get("/v1/events", &query, Duration::ZERO).await?;
        // What a new owner publishes once more has the same id: whoever listens takes it for one. The next revision is listed too.
        let told = page["items"].as_array().into_iter().flatten();
        let about = told.filter(|event| event["data"]["approval_id"] == approval.as_str());
        Ok(about.map(|event| event["id"].to_string()).collect::<BTreeSet<_>>().len())
    }

    /// What was published is what she approved, in the file and in shared state; the latter is taken away again.
    async fn published(
        &self,
        name: &str,
        output: &Value,
        approvals: &[Approval],
    ) -> Result<Page, PeopleError> {
        let expected = |what: &str| PeopleError::unexpected(format!("the published page: {what}"));
        let text = std::fs::read_to_string(self.pages.join(name))?;
        let approved = approvals.last().ok_or_else(|| expected("nobody approved it"))?;
        let page = Page::of(approved)?;
        if page.text != text {
            return Err(expected("it is not what was approved"));
        }
        if output["released_by"] != PERSON || output["revision"] != 2 {
            return Err(expected("it was to be released by her, as revision 2"));
        }
        if !text.contains("- leads to [") || !longest_first(&text) {
            return Err(expected("it is not as she wanted it"));
        }
        let published: Published = serde_json::from_value(output["published"].clone())?;
        let key = format!("published/{name}");
        let saved = until("what the last step saves", SOON, async || {
            Ok(self.mesh.state().get::<Published>(&key).await?.map(|held| held.value))
        })
        .await?;
        if saved != published || saved.bytes != text.len() {
            return Err(expected("shared state says otherwise"));
        }
        self.mesh.state().delete(&key, Condition::None).await?;
        Ok(page)
    }
}

/// Every decision is about exactly what was shown: the fingerprint is computed anew here from the page itself.
fn check_decisions(approvals: &[Approval]) -> Result<(), PeopleError> {
    for approval in approvals {
        let shown = json!({"revision": approval.revision, "show": approval.show.to::<Value>()?, "title": approval.title});
        let anew = blake3::hash(shown.to_string().as_bytes()).to_hex().to_string();
        let [decision] = approval.decisions.as_slice() else {
            let many = approval.decisions.len();
            return Err(PeopleError::unexpected(format!(
                "revision {} has {many} decisions, not one",
                approval.revision
            )));
        };
        if decision.shown != anew || approval.shown != anew {
            let revision = approval.revision;
            return Err(PeopleError::unexpected(format!(
                "the decision on revision {revision} is about another page"
            )));
        }
    }
    Ok(())
}

/// Whether the documents come by how many words they have.
fn longest_first(page: &str) -> bool {
    let words = |line: &str| line.split_once(" words: ").and_then(|(count, _)| count.parse::<usize>().ok());
    let counts: Vec<usize> = page.lines().filter_map(words).collect();
    counts.len() == DOCUMENTS.len() && counts.is_sorted_by(|a, b| a >= b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn approval(shown: &str, decided_on: &str) -> Approval {
        let decision = json!({"decision": "approve", "approver": PERSON, "at": "2026-01-01T00:00:01Z", "shown": decided_on});
        let approval = json!({
            "workspace": "default", "approval_id": "a:release", "status": "approved", "title": "Publish a.md?", "show": "# 3",
            "shown": shown, "approvers": [PERSON], "need": "any", "expires_at": "2026-01-02T00:00:00Z", "revision": 1,
            "max_revisions": 3, "correlation_id": "c", "created_at": "2026-01-01T00:00:00Z", "decisions": [decision],
        });
        serde_json::from_value(approval).unwrap()
    }

    #[test]
    fn a_decision_about_another_page_than_the_one_shown_fails_the_scene() {
        let other = "ca2e5b5f2c7bb44d";
        let check = |shown: &str, decided_on: &str, holds: bool| {
            let checked = check_decisions(&[approval(shown, decided_on)]);
            assert_eq!(checked.is_ok(), holds, "{checked:?}");
        };
        let anew =
            blake3::hash(br##"{"revision":1,"show":"# 3","title":"Publish a.md?"}"##).to_hex().to_string();
        check(&anew, &anew, true);
        check(&anew, other, false);
        check(other, other, false);
    }

    #[test]
    fn a_page_that_is_not_as_she_wanted_is_told_from_one_that_is() {
        let check = |page: &str, longest: bool| assert_eq!(longest_first(page), longest, "{page}");
        check("129 words: a.\n122 words: b.\n104 words: c.", true);
        check("129 words: a.\n104 words: b.\n122 words: c.", false);
        check("129 words: a.\n104 words: b.", false);
    }
}
