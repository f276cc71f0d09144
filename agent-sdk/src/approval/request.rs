//! An approval to be asked for.

use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use synod_protocol::approval::{Need, RequestApproval};
use synod_protocol::{EntityId, Error, Id, Json};
use uuid::Uuid;

/// An approval to be asked for. What is wrong is told when it is.
#[derive(Clone, Debug)]
pub struct ApprovalRequest {
    request: RequestApproval,
    wrong: Option<Error>,
}

/// Asks these people something, in one line of 1 to 4,096 bytes: 1 to 64 names, or roles as `role:<name>`. One of them is enough,
/// within 24 hours, unless more is said.
pub fn approval<A: Into<String>>(
    title: impl Into<String>,
    approvers: impl IntoIterator<Item = A>,
) -> ApprovalRequest {
    let request = RequestApproval {
        approval_id: Id::made("appr_", Uuid::now_v7()).into(),
        title: title.into(),
        show: Json::null(),
        approvers: approvers.into_iter().map(Into::into).collect(),
        required: None,
        need: None,
        expires_after_ms: None,
        auto_approve_after_ms: None,
        response_schema: None,
        max_revisions: None,
        labels: None,
    };
    ApprovalRequest { request, wrong: None }
}

impl ApprovalRequest {
    /// With an id of your own, by which asking again is no second approval.
    #[must_use]
    pub fn id(mut self, id: impl AsRef<str>) -> ApprovalRequest {
        match id.as_ref().parse::<EntityId>() {
            Ok(id) => self.request.approval_id = id,
            Err(error) => self.refuse(error.with_field("/approval_id")),
        }
        self
    }

    /// Exactly what is shown and decided on, 256 KiB at most; `null` by default.
    #[must_use]
    pub fn show(mut self, show: impl Serialize) -> ApprovalRequest {
        if let Some(show) = self.json(&show, "/show") {
            self.request.show = show;
        }
        self
    }

    /// One of the approvers who has to approve, whoever else does.
    #[must_use]
    pub fn required(mut self, approver: impl Into<String>) -> ApprovalRequest {
        self.request.required.get_or_insert_default().push(approver.into());
        self
    }

    /// How many of them have to approve; `Any` by default.
    #[must_use]
    pub fn need(mut self, need: Need) -> ApprovalRequest {
        self.request.need = Some(need);
        self
    }

    /// When it is timed out, 1 ms to 366 days from now; 24 hours by default.
    #[must_use]
    pub fn expires_after(mut self, limit: Duration) -> ApprovalRequest {
        self.request.expires_after_ms = Some(millis(limit));
        self
    }

    /// When it is approved by itself where nobody has decided, 1 ms to 366 days from now; never by default.
    #[must_use]
    pub fn auto_approve_after(mut self, limit: Duration) -> ApprovalRequest {
        self.request.auto_approve_after_ms = Some(millis(limit));
        self
    }

    /// JSON Schema of the data that an approval brings.
    #[must_use]
    pub fn response_schema(mut self, schema: impl Serialize) -> ApprovalRequest {
        if let Some(schema) = self.json(&schema, "/response_schema") {
            self.request.response_schema = Some(schema);
        }
        self
    }

    /// How many revisions there may be in all, 1 to 20; 3 by default. With 1 no changes can be requested.
    #[must_use]
    pub fn max_revisions(mut self, revisions: u32) -> ApprovalRequest {
        self.request.max_revisions = Some(revisions);
        self
    }

    /// With a label to find it by.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> ApprovalRequest {
        self.request.labels.get_or_insert_with(BTreeMap::new).insert(name.into(), value.into());
        self
    }

    /// Its id.
    pub fn approval_id(&self) -> &EntityId {
        &self.request.approval_id
    }

    /// The command, or the first thing that was wrong.
    pub(super) fn command(self) -> Result<RequestApproval, Error> {
        match self.wrong {
            Some(error) => Err(error),
            None => Ok(self.request),
        }
    }

    fn json(&mut self, value: &impl Serialize, field: &str) -> Option<Json> {
        match Json::of(value) {
            Ok(json) => Some(json),
            Err(error) => {
                self.refuse(Error::invalid(format!("{}: {error}", &field[1..])).with_field(field));
                None
            }
        }
    }

    fn refuse(&mut self, error: Error) {
        self.wrong.get_or_insert(error);
    }
}

fn millis(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
}
