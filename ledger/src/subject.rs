//! Which entity: what a command is about, an answer shows, and what is looked for when it has left memory.

use crate::effect::{Told, shown};
use crate::negotiations::NegotiationKey;
use crate::record::Step;
use crate::state::{State, TaskKey};
use synod_fleet::AgentKey;
use synod_protocol::event::What;
use synod_protocol::{Code, EntityId, Error, Json, Workspace};
use synod_workflow::approval::next_revision;

/// One entity of one workspace, where what kind it is of is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntityKey {
    /// Its workspace.
    pub workspace: Workspace,
    /// Its id.
    pub id: EntityId,
}

impl EntityKey {
    /// Of this id in this workspace.
    pub fn of(workspace: &Workspace, id: &EntityId) -> EntityKey {
        EntityKey { workspace: workspace.clone(), id: id.clone() }
    }
}

/// The entity that an answer shows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A task.
    Task(TaskKey),
    /// An agent.
    Agent(AgentKey),
    /// A negotiation.
    Negotiation(NegotiationKey),
    /// The same in short.
    NegotiationBrief(NegotiationKey),
    /// What is on record of one that has ended.
    Certificate(NegotiationKey),
    /// What of the fleet is paused.
    Fleet,
    /// A workflow.
    Workflow(EntityKey),
    /// A run of one.
    Execution(EntityKey),
    /// An approval.
    Approval(EntityKey),
}

/// The command to which a whole negotiation is too long an answer.
const RESPOND: &str = "synod.negotiation.respond";
/// The command by which the next revision of an approval is made.
const RESUBMIT: &str = "synod.approval.resubmit";

impl Subject {
    /// The entity that an answer to a step's input shows.
    pub(crate) fn of(step: &Step) -> Option<Subject> {
        let (workspace, id) = (step.workspace.clone()?, step.input.entity.clone()?);
        let ty = step.input.ty.as_deref()?;
        let kind = ty.strip_prefix("synod.")?.split_once('.')?.0;
        Some(match kind {
            "fleet" => Subject::Fleet,
            "agent" => Subject::Agent(AgentKey { workspace, agent: id.as_str().parse().ok()? }),
            "negotiation" => {
                let key = NegotiationKey { workspace, negotiation: id };
                if ty == RESPOND { Subject::NegotiationBrief(key) } else { Subject::Negotiation(key) }
            }
            "workflow" => Subject::Workflow(EntityKey { workspace, id }),
            "execution" => Subject::Execution(EntityKey { workspace, id }),
            // What is asked by a resubmission is asked of the one, and makes the next.
            "approval" if ty == RESUBMIT && step.rejected.is_none() => {
                Subject::Approval(EntityKey { workspace, id: next_revision(&id).ok()? })
            }
            "approval" => Subject::Approval(EntityKey { workspace, id }),
            _ => Subject::Task(TaskKey { workspace, task: id }),
        })
    }

    /// What people call it.
    pub fn noun(&self) -> &'static str {
        match self {
            Subject::Task(_) => "task",
            Subject::Agent(_) => "agent",
            Subject::Negotiation(_) | Subject::NegotiationBrief(_) | Subject::Certificate(_) => "negotiation",
            Subject::Fleet => "fleet",
            Subject::Workflow(_) => "workflow",
            Subject::Execution(_) => "execution",
            Subject::Approval(_) => "approval",
        }
    }

    /// How it came to be, in a word that follows its name.
    pub fn made(&self) -> &'static str {
        match self {
            Subject::Task(_) => "submitted",
            Subject::Execution(_) => "started",
            Subject::Approval(_) => "requested",
            Subject::Workflow(_) => "defined",
            Subject::Agent(_) => "registered",
            _ => "opened",
        }
    }

    /// Where its id lives; `None` where there is but one.
    pub fn at(&self) -> Option<(&Workspace, &str)> {
        match self {
            Subject::Task(key) => Some((&key.workspace, key.task.as_str())),
            Subject::Agent(key) => Some((&key.workspace, key.agent.as_str())),
            Subject::Negotiation(key) | Subject::NegotiationBrief(key) | Subject::Certificate(key) => {
                Some((&key.workspace, key.negotiation.as_str()))
            }
            Subject::Workflow(key) | Subject::Execution(key) | Subject::Approval(key) => {
                Some((&key.workspace, key.id.as_str()))
            }
            Subject::Fleet => None,
        }
    }

    /// The id, for a message.
    pub fn id(&self) -> &str {
        self.at().map_or("", |(_, id)| id)
    }

    /// Whether it ends, and leaves memory then.
    pub fn ends(&self) -> bool {
        !matches!(self, Subject::Agent(_) | Subject::Fleet | Subject::Workflow(_))
    }

    /// The kind under which its view is kept once it has ended.
    pub fn view(&self) -> Option<&'static str> {
        match self {
            // A certificate is made anew.
            Subject::Certificate(_) => None,
            _ => self.ends().then(|| self.noun()),
        }
    }

    /// By which its id is told in what is remembered from that of another kind; `None` where it never leaves memory.
    pub(crate) fn print_kind(&self) -> Option<u8> {
        match self {
            Subject::Task(_) => Some(1),
            Subject::Negotiation(_) | Subject::NegotiationBrief(_) | Subject::Certificate(_) => Some(2),
            Subject::Execution(_) => Some(3),
            Subject::Approval(_) => Some(4),
            Subject::Agent(_) | Subject::Fleet | Subject::Workflow(_) => None,
        }
    }

    /// The fingerprint of the body that it was made with, if this step made it.
    pub fn body_in<'a>(&self, step: &'a Step) -> Option<&'a str> {
        let (_, id) = self.at()?;
        step.events.iter().filter(|event| event.entity.as_str() == id).find_map(|event| {
            match (self, &event.what) {
                (Subject::Task(_), What::TaskSubmitted(e)) => Some(&*e.body),
                (Subject::Execution(_), What::ExecutionStarted(e)) => Some(&*e.body),
                (Subject::Approval(_), What::ApprovalRequired(e)) => Some(&*e.body),
                (
                    Subject::Negotiation(_) | Subject::NegotiationBrief(_) | Subject::Certificate(_),
                    What::NegotiationOpened(e),
                ) => Some(&*e.body),
                _ => None,
            }
        })
    }

    /// The refusal of one that was made again with another body.
    pub fn made_otherwise(&self) -> Error {
        let (noun, id, made) = (self.noun(), self.id(), self.made());
        let why = format!("{noun} {id} exists already and was {made} with another body");
        Error::new(Code::AlreadyExists, why)
    }

    /// The refusal of what is asked of one that is over.
    pub fn is_over(&self, status: &str) -> Error {
        Error::invalid_transition(format!("{} {} has ended as {status}", self.noun(), self.id()), status)
    }

    /// Whether a fold that is to meet it whole, and began where it was made (`from_birth`) or before its end, has read enough.
    pub fn is_met(&self, state: &State, from_birth: bool) -> bool {
        self.standing(state).map_or(from_birth, |standing| standing.is_over)
    }

    /// It as JSON, in this state.
    ///
    /// # Errors
    /// `not_found`, or what keeps it from being shown.
    pub fn shown(&self, state: &State) -> Result<Json, Error> {
        match shown(state, self) {
            Told::Now(told) => told.map(|(json, _)| json),
            Told::Past(_) => Err(Error::not_found(self.noun(), self.id())),
        }
    }

    /// How it stands in this state, if it is there.
    pub fn standing<'a>(&self, state: &'a State) -> Option<Standing<'a>> {
        match self {
            Subject::Task(key) => state.task(key).map(|task| Standing {
                status: task.status.as_str(),
                is_over: task.status.is_final(),
                body: &task.submitted.body,
            }),
            Subject::Negotiation(key) | Subject::NegotiationBrief(key) | Subject::Certificate(key) => {
                state.negotiation(key).map(|it| Standing {
                    status: it.status.as_str(),
                    is_over: it.status.is_final(),
                    body: &it.opened.body,
                })
            }
            Subject::Execution(key) => state.execution(key).map(|run| Standing {
                status: run.status().as_str(),
                is_over: run.status().is_final(),
                body: &run.started().body,
            }),
            Subject::Approval(key) => state.approval(key).map(|it| Standing {
                status: it.status.as_str(),
                is_over: it.status.is_final(),
                body: &it.required.body,
            }),
            Subject::Agent(_) | Subject::Fleet | Subject::Workflow(_) => None,
        }
    }
}

/// How an entity that ends stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing<'a> {
    /// The name on the wire.
    pub status: &'static str,
    /// Whether it is over.
    pub is_over: bool,
    /// The fingerprint of the body that it was made with.
    pub body: &'a str,
}
