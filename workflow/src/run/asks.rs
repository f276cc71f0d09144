//! What is asked of others, with every expression filled in.

use super::apply::failure;
use super::doing::readable;
use super::start::shortened;
use super::{ATTEMPT_MS, Ask, Child, ChildKind, Key, Request, Revision, Run};
use crate::definition::{AgentWork, Approval, Invite, Kind, Need, Negotiate, Step, Task};
use crate::expression::{EvalError, Value};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Value_, json};
use std::collections::BTreeMap;
use std::str::FromStr;
use synod_protocol::approval::{self, RequestApproval};
use synod_protocol::command::{self, Failure, RetryPolicy, SubmitTask};
use synod_protocol::negotiation::{self, OpenNegotiation};
use synod_protocol::{EntityId, Error, Json, Timestamp};

/// The longest time limit of one attempt, in milliseconds: 7 days.
const ATTEMPT_MOST_MS: u64 = 7 * 24 * 3_600_000;

impl Ask {
    /// What it takes in a record of the ledger, in bytes, about.
    pub(super) fn bytes(&self) -> usize {
        let len = |json: &Json| json.as_str().len();
        900 + match &self.what {
            Request::Task(task, feedback) => len(&task.input) + feedback.as_ref().map_or(0, len),
            Request::Negotiation(open) => len(&open.question) + open.rules.as_ref().map_or(0, len),
            Request::Approval(request, revision) => {
                let data = revision.as_ref().and_then(|revision| revision.feedback.response_data.as_ref());
                let schema = request.response_schema.as_ref();
                len(&request.show) + schema.map_or(0, len) + data.map_or(0, len)
            }
        }
    }
}

impl Run {
    /// The next attempt's number.
    pub(super) fn next_attempt(&self, key: &Key) -> u32 {
        let before = self.doings.get(key).map(|doing| doing.attempt);
        before.or_else(|| self.past.get(key).map(|past| past.attempt)).unwrap_or(0) + 1
    }

    /// What an attempt of a step asks for.
    pub(super) fn attempt_child(&self, key: &Key, attempt: u32) -> Option<Child> {
        Child::of(&self.workflow, &self.started.execution_id, key, attempt, false)
    }

    /// What a step asks for, filled in.
    fn wanted<T: DeserializeOwned>(&self, key: &Key) -> Result<T, Failure> {
        let template = self.workflow.compiled(key.step).and_then(|compiled| compiled.request.as_ref());
        let filled = template.map(|template| self.filled(Some(key), template, &[])).transpose();
        let filled = filled.map_err(|error| bad_expression(&error))?.unwrap_or_default();
        serde_json::from_value(filled).map_err(|error| failure("expression", shortened(&error.to_string())))
    }

    /// The request of an attempt that is to begin.
    pub(super) fn request(&self, child: &Child, now: Timestamp) -> Result<Ask, Failure> {
        let (id, key) = (child.id.clone(), &child.key);
        let Some(step) = self.workflow.step(key.step) else {
            return Err(failure("expression", "no such step"));
        };
        let what = match &step.kind {
            Kind::Negotiation(_) => Request::Negotiation(Box::new(self.negotiation(&id, key, now)?)),
            Kind::Approval(_) => {
                let asked = match self.doings.get(key) {
                    Some(doing) => doing.anew.asked.clone(),
                    None => self.past.get(key).and_then(|past| past.anew.asked.clone()),
                };
                let revision = asked.map(|asked| Revision {
                    parent: asked.parent,
                    number: asked.number,
                    feedback: asked.feedback,
                });
                Request::Approval(Box::new(self.approval(&id, key)?), revision)
            }
            _ => Request::Task(Box::new(self.task(&id, key, step, now)?), self.told(key, child.attempt)),
        };
        Ok(Ask { id, what })
    }

    fn task(&self, id: &EntityId, key: &Key, step: &Step, now: Timestamp) -> Result<SubmitTask, Failure> {
        let blank = |input: Value_| self.task_of(id, key, step, input.into(), now);
        if let Kind::Agent(_) = &step.kind {
            let work: AgentWork = self.wanted(key)?;
            return Ok(SubmitTask { agent_id: Some(name(&work.agent_id)?), ..blank(work.input) });
        }
        let task: Task = self.wanted(key)?;
        let requires = task.requires.map(|requires| command::Requires {
            labels: Some(requires.labels).filter(|labels| !labels.is_empty()),
            resources: Some(requires.resources).filter(|resources| !resources.is_empty()),
        });
        let capability = Some(name(&task.capability)?);
        Ok(SubmitTask { capability, strategy: task.strategy, requires, ..blank(task.input) })
    }

    /// A task of a step, of which it is still to be said for whom it is. It has one attempt: the run makes the others.
    fn task_of(&self, id: &EntityId, key: &Key, step: &Step, input: Json, now: Timestamp) -> SubmitTask {
        let deadline = self.time_is_up(key, now);
        let left = deadline.map(|deadline| deadline.millis_since(now).clamp(1, ATTEMPT_MOST_MS));
        SubmitTask {
            priority: step.priority,
            timeout_ms: Some(left.unwrap_or(ATTEMPT_MS)),
            deadline,
            retry: Some(RetryPolicy { max_attempts: Some(1), ..RetryPolicy::default() }),
            labels: Some(self.labels_of(key)),
            ..SubmitTask::for_anyone(id.clone(), input)
        }
    }

    /// When an attempt that begins now is no longer wanted.
    fn time_is_up(&self, key: &Key, now: Timestamp) -> Option<Timestamp> {
        let step = match self.doings.get(key) {
            Some(doing) => doing.due_at,
            None => self.time_limit(key, now),
        };
        // What is around it may have less time.
        let around = self.around(key).into_iter().filter_map(|around| self.doings.get(&around)?.due_at);
        around.chain(step).chain(self.deadline()).min()
    }

    fn labels_of(&self, key: &Key) -> BTreeMap<String, String> {
        let of = [("synod.execution", self.started.execution_id.as_str()), ("synod.step", self.name(key))];
        of.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// What the next attempt is told: why the one before it failed, and what people want otherwise.
    fn told(&self, key: &Key, attempt: u32) -> Option<Json> {
        let failed = match self.doings.get(key) {
            Some(doing) => doing.failure.as_ref(),
            None => self.past.get(key).and_then(|past| past.failure.as_ref()),
        };
        let mut told = Map::new();
        // It may be for a block that the whole of it is done again.
        let own = self.past.get(key).map(|past| &past.anew);
        let own = own.or_else(|| self.doings.get(key).map(|doing| &doing.anew));
        let around =
            self.around(key).into_iter().rev().filter_map(|around| Some(&self.doings.get(&around)?.anew));
        if let Some(feedback) = own.into_iter().chain(around).find_map(|anew| anew.feedback.as_ref())
            && let Ok(Value_::Object(feedback)) = readable(feedback)
        {
            told.extend(feedback);
        }
        if let Some(why) = failed {
            told.insert("attempt".into(), json!(attempt.saturating_sub(1)));
            told.insert("error".into(), json!({ "code": why.code, "message": why.message }));
        }
        (!told.is_empty()).then(|| Value_::Object(told).into())
    }

    fn negotiation(&self, id: &EntityId, key: &Key, now: Timestamp) -> Result<OpenNegotiation, Failure> {
        let wanted: Negotiate = self.wanted(key)?;
        let participants = Some(wanted.participants).filter(|participants| !participants.is_null());
        let participants = participants.map(serde_json::from_value).transpose().map_err(|error| {
            failure("expression", shortened(&format!("`participants` is no list of ids: {error}")))
        })?;
        let open = json!({ "negotiation_id": id, "protocol": wanted.protocol });
        let open: OpenNegotiation =
            serde_json::from_value(open).map_err(|error| failure("expression", error.to_string()))?;
        Ok(OpenNegotiation {
            question: wanted.question.into(),
            rules: Some(wanted.rules).filter(|rules| !rules.is_null()).map(Json::from),
            participants,
            invite: wanted.invite.map(invited).transpose()?,
            round_ms: wanted.round_ms,
            deadline: self.time_is_up(key, now),
            labels: Some(self.labels_of(key)),
            ..open
        })
    }

    fn approval(&self, id: &EntityId, key: &Key) -> Result<RequestApproval, Failure> {
        let wanted: Approval = self.wanted(key)?;
        Ok(RequestApproval {
            approval_id: id.clone(),
            title: wanted.title,
            show: wanted.show.into(),
            approvers: wanted.approvers,
            required: Some(wanted.required).filter(|required| !required.is_empty()),
            need: wanted.need.map(|need| match need {
                Need::Any => approval::Need::Any,
                Need::All => approval::Need::All,
                Need::Quorum(many) => approval::Need::Quorum(many),
            }),
            expires_after_ms: wanted.expires_after_ms,
            auto_approve_after_ms: wanted.auto_approve_after_ms,
            response_schema: wanted.response_schema.map(Json::from),
            max_revisions: Some(self.revisions(key)),
            labels: Some(self.labels_of(key)),
        })
    }

    /// How many revisions of an approval there may be in all; 1 where a request for changes is not taken.
    pub(super) fn revisions(&self, key: &Key) -> u32 {
        match self.workflow.step(key.step).map(|step| &step.kind) {
            Some(Kind::Approval(Approval { revise: Some(revise), .. })) => {
                revise.max_revisions.unwrap_or(approval::REVISIONS)
            }
            _ => 1,
        }
    }

    /// What an expert is asked about a result.
    pub(super) fn advice_request(
        &self,
        child: &Child,
        own: &[(&'static str, Value); 2],
        now: Timestamp,
    ) -> Result<Ask, Failure> {
        let key = &child.key;
        let (Some(step), Some(compiled)) = (self.workflow.step(key.step), self.workflow.compiled(key.step))
        else {
            return Err(failure("expression", "no such step"));
        };
        let template = compiled.consult.as_ref().and_then(|consult| consult.input.as_ref());
        let input = match template {
            Some(template) => {
                self.filled(Some(key), template, own).map_err(|error| bad_expression(&error))?
            }
            None => {
                let output = own[0].1.json().map_err(|error| bad_expression(&error))?;
                let given: Option<Value_> = self.given(key).and_then(|given| readable(&given).ok());
                let both = json!({ "input": given, "output": output });
                Value::of(&both).json().map_err(|error| bad_expression(&error))?
            }
        };
        let capability = step.consult.as_ref().map(|consult| name(&consult.capability)).transpose()?;
        let task = SubmitTask { capability, ..self.task_of(&child.id, key, step, input.into(), now) };
        Ok(Ask { id: child.id.clone(), what: Request::Task(Box::new(task), None) })
    }

    /// What an attempt of a step is given, as it follows from what there is now; nothing where it asks nothing of others, or
    /// where that cannot be told any more.
    pub(super) fn given(&self, key: &Key) -> Option<Json> {
        let member = match Child::of(&self.workflow, &self.started.execution_id, key, 1, false)?.kind {
            ChildKind::Task => "input",
            ChildKind::Negotiation => "question",
            ChildKind::Approval => "show",
        };
        let template = self.workflow.compiled(key.step)?.request.as_ref()?;
        let mut filled = self.filled(Some(key), template, &[]).ok()?;
        Some(filled.get_mut(member).map(Value_::take).unwrap_or_default().into())
    }
}

fn invited(invite: Invite) -> Result<negotiation::Invite, Failure> {
    Ok(negotiation::Invite {
        capability: invite.capability.as_deref().map(name).transpose()?,
        labels: Some(invite.labels).filter(|labels| !labels.is_empty()),
        min: invite.min,
        max: invite.max,
    })
}

/// A name that an expression gave.
fn name<T: FromStr<Err = Error>>(text: &str) -> Result<T, Failure> {
    text.parse().map_err(|error: Error| failure("expression", error.message))
}

pub(super) fn bad_expression(error: &EvalError) -> Failure {
    failure("expression", shortened(&error.to_string()))
}
