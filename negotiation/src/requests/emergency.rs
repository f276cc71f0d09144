//! Declare this emergency.

use super::{Request, moved, read, written};
use crate::emergency::{Report, Required, Rules};
use crate::protocols::escaped;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use synod_protocol::negotiation::OpenNegotiation;
use synod_protocol::{EntityId, Error, Id, Json};

/// A procedure that was prepared, and who has which role in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeclareEmergency {
    /// The negotiation's id; made where there is none.
    #[serde(default)]
    pub negotiation_id: Option<EntityId>,
    /// The procedure's name, 1 to 256 bytes.
    pub procedure: String,
    /// What has happened, as those who are called are shown it.
    #[serde(default)]
    pub question: Json,
    /// Who holds each role, at least one.
    pub roles: BTreeMap<String, Vec<Id>>,
    /// Who is asked for vacant roles, one after the other; at most 50.
    #[serde(default)]
    pub escalation: Vec<Id>,
    /// What everyone does, in order.
    #[serde(default)]
    pub steps: Vec<String>,
    /// What each role does besides.
    #[serde(default)]
    pub role_steps: BTreeMap<String, Vec<String>>,
    /// How long each has to acknowledge, 10 ms to 7 days; 2,000 by default.
    #[serde(default)]
    pub acknowledge_ms: Option<u64>,
    /// Who has to acknowledge; `roles` by default.
    #[serde(default)]
    pub required: Required,
    /// Whether a procedure that is not complete fails rather than being decided; false by default.
    #[serde(default)]
    pub fail_when_incomplete: bool,
}

impl DeclareEmergency {
    /// Calls these: each role, and who holds it.
    ///
    /// # Errors
    /// A holder's name is none.
    pub fn calling<'a>(
        procedure: &str,
        roles: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<DeclareEmergency, Error> {
        let mut holders: BTreeMap<String, Vec<Id>> = BTreeMap::new();
        for (role, holder) in roles {
            let holder = holder.parse().map_err(|error: Error| error.with_field("/roles"))?;
            holders.entry(role.to_owned()).or_default().push(holder);
        }
        Ok(DeclareEmergency {
            procedure: procedure.to_owned(),
            roles: holders,
            ..DeclareEmergency::default()
        })
    }

    /// Holders in the order of their roles, then the list; each once.
    fn participants(&self) -> Vec<Id> {
        let mut known = BTreeSet::new();
        self.roles
            .values()
            .flatten()
            .chain(&self.escalation)
            .filter(|id| known.insert(*id))
            .cloned()
            .collect()
    }
}

impl Request for DeclareEmergency {
    type Outcome = Report;

    fn named(&self) -> Option<&EntityId> {
        self.negotiation_id.as_ref()
    }

    fn open(&self, negotiation_id: EntityId) -> Result<OpenNegotiation, Error> {
        if self.roles.is_empty() {
            return Err(Error::invalid("nobody has a role: roles says who does what").with_field("/roles"));
        }
        if let Some((role, _)) = self.roles.iter().find(|(_, holders)| holders.is_empty()) {
            let message = format!("nobody has the role {role}");
            return Err(Error::invalid(message).with_field(format!("/roles/{}", escaped(role))));
        }
        let rules = Rules {
            procedure: self.procedure.clone(),
            steps: self.steps.clone(),
            role_steps: self.role_steps.clone(),
            roles: Some(self.roles.clone()),
            acknowledge_ms: self.acknowledge_ms,
            escalation: self.escalation.clone(),
            required: self.required,
            fail_when_incomplete: self.fail_when_incomplete,
        };
        let mut open = OpenNegotiation::new(negotiation_id, "emergency", self.question.clone());
        open.rules = Some(written(&rules)?);
        open.participants = Some(self.participants());
        Ok(open)
    }

    fn placed(&self, error: Error) -> Error {
        moved(error, &[("/rules", ""), ("/participants", "/roles")])
    }

    fn outcome(&self, outcome: &Json) -> Result<Report, serde_json::Error> {
        read(outcome)
    }
}
