//! What goes into a run and what comes out of it.

use super::Child;
use std::collections::BTreeMap;
use synod_protocol::approval::{ApprovalEnded, DecisionMade, RequestApproval};
use synod_protocol::command::{Failure, SubmitTask};
use synod_protocol::event::What;
use synod_protocol::negotiation::OpenNegotiation;
use synod_protocol::workflow::Usage;
use synod_protocol::{EntityId, Id, Json};

/// With what a run begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Opening {
    /// Its id.
    pub execution_id: Id,
    /// What its steps read as `input`.
    pub input: Json,
    /// Labels beside the definition's; the same name here counts instead of the definition's.
    pub labels: BTreeMap<String, String>,
    /// The same for all that belongs to one piece of work.
    pub correlation_id: String,
    /// The trace that it belongs to.
    pub traceparent: Option<String>,
    /// Fingerprint of the command's body.
    pub body: String,
}

/// What came from outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A task or a negotiation has a result.
    Completed {
        /// Which, be it a step's or an expert's.
        child: EntityId,
        /// The result.
        output: Json,
        /// How sure, 0 to 1.
        confidence: Option<f64>,
        /// Who did it.
        agent_id: Option<Id>,
        /// What it used up.
        usage: Option<Usage>,
    },
    /// A task or a negotiation failed or was cancelled by somebody, or nothing could be made of what was asked.
    Failed {
        /// Which, be it a step's or an expert's.
        child: EntityId,
        /// Why.
        failure: Failure,
        /// What it used up.
        usage: Option<Usage>,
    },
    /// An approval is over, in whichever way.
    Decided(Box<ApprovalEnded>),
    /// A signal.
    Signal {
        /// Its name.
        name: String,
        /// What it brings.
        payload: Json,
    },
    /// Time has passed.
    Due,
    /// What was left for a later input.
    GoOn,
    /// Start nothing more.
    Pause {
        /// For people.
        reason: Option<String>,
    },
    /// Go on; a budget that is used up counts no more.
    Resume,
    /// End it.
    Cancel {
        /// For people.
        reason: Option<String>,
    },
    /// Do a step that failed for good once more.
    Retry {
        /// The step's id.
        step: String,
        /// In each map around it, from the outside in, for which item.
        items: Vec<u32>,
    },
}

/// What follows from an input.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What happens to the run, in this order.
    pub whats: Vec<What>,
    /// What is asked of others, each the child that an event among `whats` names.
    pub asks: Vec<Ask>,
    /// What is wanted no more. Some of it may be over by itself already.
    pub taken_back: Vec<Child>,
}

/// What is asked of others.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The child's id, which the request names too.
    pub id: EntityId,
    /// What.
    pub what: Request,
}

/// A request of one of three kinds.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// A task, and what its agent is told of earlier attempts or of what people want otherwise.
    Task(Box<SubmitTask>, Option<Json>),
    /// A negotiation.
    Negotiation(Box<OpenNegotiation>),
    /// An approval, and of which it is a revision.
    Approval(Box<RequestApproval>, Option<Revision>),
}

/// What an approval is a revision of.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// The one before it.
    pub parent: EntityId,
    /// The how-manieth this is, from 2.
    pub number: u32,
    /// The request for changes to that.
    pub feedback: DecisionMade,
}
