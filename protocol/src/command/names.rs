//! The public names of commands, one line each: how a payload is read by its name, and what the reference says of it.
//!
//! What does not stand here cannot be read, so no command is missing from the reference.

use super::{
    AgentChange, CancelTask, ChangeAgent, Command, CompleteTask, FailTask, PauseFleet, RegisterAgent,
    ReportError, ReportProgress, ResumeFleet, SubmitTask,
};
use crate::approval::{DecideApproval, RequestApproval, ResubmitApproval};
use crate::breaker::OrderBreaker;
use crate::catalogue::Shape;
use crate::codec::{ContentType, decode};
use crate::error::Error;
use crate::limits::Limits;
use crate::negotiation::{CancelNegotiation, OpenNegotiation, RespondNegotiation};
use crate::track::AppraiseAgent;
use crate::workflow::{
    ChangeExecution, DefineWorkflow, ExecutionChange, RetryExecution, SignalExecution, StartExecution,
};

/// Declares the closed list of commands that have a variant of their own: name, variant, payload, how it is read, in a sentence.
macro_rules! commands {
    ($($ty:literal => $variant:ident($payload:ident, $read:path), $says:literal;)*) => {
        impl Command {
            /// Reads a payload by its public name; `None`: there is no such command.
            pub(super) fn read(
                ce_type: &str,
                content_type: ContentType,
                bytes: &[u8],
                limits: &Limits,
            ) -> Option<Result<Command, Error>> {
                match ce_type {
                    $($ty => Some($read(content_type, bytes, limits).map(Command::$variant)),)*
                    _ => Command::read_change(ce_type, content_type, bytes, limits),
                }
            }

            /// Every command: its public name, in a sentence, and the schema of its payload.
            pub fn shapes() -> Vec<Shape> {
                let mut shapes = vec![$(Shape::of::<$payload>($ty, $says)),*];
                shapes.extend(Command::shapes_of_changes());
                shapes
            }
        }
    };
}

commands! {
    "synod.agent.register" => RegisterAgent(RegisterAgent, decode), "A process start of an agent takes work";
    "synod.agent.order_breaker" => OrderBreaker(OrderBreaker, decode), "Order what one of an agent's breakers does";
    "synod.agent.appraise" => AppraiseAgent(AppraiseAgent, decode), "What became of a promise of an agent";
    "synod.agent.report_error" => ReportError(ReportError, decode), "An agent is in error";
    "synod.fleet.pause" => PauseFleet(PauseFleet, decode), "A part of the fleet gets no work";
    "synod.fleet.resume" => ResumeFleet(ResumeFleet, decode), "It gets work again";
    "synod.task.submit" => SubmitTask(SubmitTask, SubmitTask::read), "Work to be done once";
    "synod.task.start" => StartTask(ReportProgress, decode), "Its agent works on it";
    "synod.task.progress" => ProgressTask(ReportProgress, decode), "How far its agent is";
    "synod.task.complete" => CompleteTask(CompleteTask, CompleteTask::read), "Done, with an output";
    "synod.task.fail" => FailTask(FailTask, decode), "This attempt has failed";
    "synod.task.decline" => DeclineTask(FailTask, decode), "This agent does not want it";
    "synod.task.cancel" => CancelTask(CancelTask, decode), "It is wanted no more";
    "synod.negotiation.open" => OpenNegotiation(OpenNegotiation, decode), "Participants are to decide something";
    "synod.negotiation.respond" => RespondNegotiation(RespondNegotiation, decode), "A participant's answer in a round";
    "synod.negotiation.cancel" => CancelNegotiation(CancelNegotiation, decode), "It is wanted no more";
    "synod.workflow.define" => DefineWorkflow(DefineWorkflow, decode), "A new version of a workflow";
    "synod.execution.start" => StartExecution(StartExecution, decode), "Run a workflow";
    "synod.execution.signal" => SignalExecution(SignalExecution, decode), "A signal that steps wait for";
    "synod.execution.retry" => RetryExecution(RetryExecution, decode), "Do a step that has failed for good once more";
    "synod.approval.request" => RequestApproval(RequestApproval, decode), "People are to decide";
    "synod.approval.decide" => DecideApproval(DecideApproval, decode), "What one of them has decided";
    "synod.approval.resubmit" => ResubmitApproval(ResubmitApproval, decode), "The same once more, changed as somebody wanted";
}

impl Command {
    /// Reads one whose name says which of several changes it is.
    fn read_change(
        ce_type: &str,
        content_type: ContentType,
        bytes: &[u8],
        limits: &Limits,
    ) -> Option<Result<Command, Error>> {
        if let Some((change, _)) = ExecutionChange::ALL.iter().find(|(_, ty)| *ty == ce_type) {
            return Some(decode(content_type, bytes, limits).map(|of| Command::ChangeExecution(*change, of)));
        }
        let (change, _) = AgentChange::ALL.iter().find(|(_, ty)| *ty == ce_type)?;
        Some(decode(content_type, bytes, limits).map(|of| Command::ChangeAgent(*change, of)))
    }

    fn shapes_of_changes() -> impl Iterator<Item = Shape> {
        let says = |change| match change {
            AgentChange::Deregister => "An agent leaves; what it holds is given to others",
            AgentChange::Drain => "Finish what runs and take no more",
            AgentChange::Start => "Take work (again)",
            AgentChange::Pause => "Take no new work for now",
            AgentChange::Resume => "Take work again after a pause",
            AgentChange::Stop => "End for good",
        };
        let agents = AgentChange::ALL.into_iter().map(move |(c, ty)| Shape::of::<ChangeAgent>(ty, says(c)));
        let says = |change| match change {
            ExecutionChange::Cancel => "An execution is wanted no more",
            ExecutionChange::Pause => "Start nothing more for now",
            ExecutionChange::Resume => "Go on",
        };
        let changes = ExecutionChange::ALL.into_iter();
        agents.chain(changes.map(move |(c, ty)| Shape::of::<ChangeExecution>(ty, says(c))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_the_reference_is_read_by_its_name() {
        for shape in Command::shapes() {
            let limits = Limits::default();
            let refused = Command::decode(shape.ty, ContentType::Json, b"7", &limits).expect_err(shape.ty);
            assert!(!refused.message.contains("is not a command"), "{}: {refused}", shape.ty);
        }
        let unknown = Command::decode("synod.task.juggle", ContentType::Json, b"{}", &Limits::default());
        assert!(unknown.is_err_and(|refused| refused.message.contains("is not a command")));
    }
}
