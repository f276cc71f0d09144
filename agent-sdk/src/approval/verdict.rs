//! What one person decides.

use serde::Serialize;
use synod_protocol::approval::{DecideApproval, Decision};
use synod_protocol::{EntityId, Error, Json};

/// What one person decides, in his own name. Who says who he is is believed. What is wrong is told when it is given.
#[derive(Clone, Debug)]
pub struct Verdict {
    decide: DecideApproval,
    wrong: Option<Error>,
}

impl Verdict {
    /// Yes.
    pub fn approve(approver: impl Into<String>) -> Verdict {
        Verdict::new(Decision::Approve, approver)
    }

    /// No.
    pub fn reject(approver: impl Into<String>) -> Verdict {
        Verdict::new(Decision::Reject, approver)
    }

    /// Not like this: it is to be done again and asked again.
    pub fn request_changes(approver: impl Into<String>, comment: impl Into<String>) -> Verdict {
        Verdict::new(Decision::RequestChanges, approver).comment(comment)
    }

    /// It is wanted no more. Anybody may say so.
    pub fn cancel(approver: impl Into<String>) -> Verdict {
        Verdict::new(Decision::Cancel, approver)
    }

    fn new(decision: Decision, approver: impl Into<String>) -> Verdict {
        let decide = DecideApproval {
            // Which is said by the handle that it is given through.
            approval_id: EntityId::from(synod_protocol::Id::made("appr_", uuid::Uuid::nil())),
            decision,
            approver: approver.into(),
            roles: None,
            comment: None,
            meaning: None,
            response_data: None,
            shown: None,
        };
        Verdict { decide, wrong: None }
    }

    /// In this role, without `role:`.
    #[must_use]
    pub fn role(mut self, role: impl Into<String>) -> Verdict {
        self.decide.roles.get_or_insert_default().insert(role.into());
        self
    }

    /// For people; 4,096 bytes at most.
    #[must_use]
    pub fn comment(mut self, comment: impl Into<String>) -> Verdict {
        self.decide.comment = Some(comment.into());
        self
    }

    /// What it stands for, such as `reviewed` or `responsible`; 4,096 bytes at most.
    #[must_use]
    pub fn meaning(mut self, meaning: impl Into<String>) -> Verdict {
        self.decide.meaning = Some(meaning.into());
        self
    }

    /// Data, as the approval's schema wants it; 64 KiB at most.
    #[must_use]
    pub fn data(mut self, data: impl Serialize) -> Verdict {
        match Json::of(&data) {
            Ok(data) => self.decide.response_data = Some(data),
            Err(error) => {
                let error = Error::invalid(format!("the data: {error}")).with_field("/response_data");
                self.wrong.get_or_insert(error);
            }
        }
        self
    }

    /// The fingerprint of what he was shown: where the approval shows something else, it is refused.
    #[must_use]
    pub fn shown(mut self, fingerprint: impl Into<String>) -> Verdict {
        self.decide.shown = Some(fingerprint.into());
        self
    }

    /// The command, or the first thing that was wrong.
    pub(super) fn on(self, approval_id: &EntityId) -> Result<DecideApproval, Error> {
        match self.wrong {
            Some(error) => Err(error),
            None => Ok(DecideApproval { approval_id: approval_id.clone(), ..self.decide }),
        }
    }
}
