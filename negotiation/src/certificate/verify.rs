//! Checks a certificate by nothing but its text: the entry, and what is checked of the text itself.

use super::canonical::difference;
use super::{CERTIFICATE_BYTES, Certificate, FORMAT, canonical, digest_of, rounds, run, tie_of};
use crate::Protocols;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use synod_protocol::Json;
use synod_protocol::codec::pointer;
use synod_protocol::limits::check_nesting;

/// Levels of nested arrays and objects that are read: those of an answer, and those of the certificate around it.
const NESTING: usize = 96;
/// Findings that are told; more say nothing more.
const FINDINGS: usize = 100;

/// What was found in a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Verification {
    /// What does not hold, at most 100; empty: all that was checked holds.
    pub findings: Vec<Finding>,
    /// Whether the run was recomputed by its protocol. Where it was not, `note` says why.
    pub recomputed: bool,
    /// Why the run was not recomputed, or not to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// One thing that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Finding {
    /// The place, as a JSON pointer into the certificate.
    pub at: String,
    /// What does not hold there, in a sentence.
    pub what: String,
}

impl Verification {
    /// Whether everything was checked, the run included, and everything holds.
    pub fn holds(&self) -> bool {
        self.recomputed && self.findings.is_empty()
    }
}

/// What has been found so far.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn say(&mut self, at: impl Into<String>, what: impl Into<String>) {
        if self.0.len() < FINDINGS {
            self.0.push(Finding { at: at.into(), what: what.into() });
        }
    }

    /// Says it unless the condition holds.
    pub(super) fn unless(&mut self, holds: bool, at: &str, what: impl FnOnce() -> String) {
        if !holds {
            self.say(at, what());
        }
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}

/// Checks a certificate: the text, the digest, the seed, every round, and the run as its protocol recomputes it.
///
/// The size is limited to [`CERTIFICATE_BYTES`]; the time is that of the negotiation itself, over again.
pub fn verify(text: &str, protocols: &Protocols) -> Verification {
    let mut found = Findings::default();
    let mut note = None;
    let read = read(text, &mut found);
    let recomputed = read.as_ref().is_some_and(|it| match whole(it, protocols, &mut found) {
        Ok(()) => true,
        Err(why) => {
            note = Some(why);
            false
        }
    });
    if read.is_none() {
        note = Some("the run was not recomputed: the certificate does not read".to_owned());
    }
    Verification { findings: found.0, recomputed, note }
}

/// Everything behind the text. `Err`: why the run was not recomputed.
fn whole(it: &Certificate, protocols: &Protocols, found: &mut Findings) -> Result<(), String> {
    seed(it, found);
    let tie = it.outcome.as_ref().and_then(tie_of);
    found.unless(it.tie_break == tie, "/tie_break", || "the outcome tells another tie".to_owned());
    if !rounds::check(it, found) {
        return Err("the run was not recomputed: such a negotiation cannot have been held".to_owned());
    }
    let Ok(protocol) = protocols.get(&it.protocol) else {
        return Err(format!("the run was not recomputed: protocol {} is not known here", it.protocol));
    };
    if protocol.version() != it.version {
        return Err(format!(
            "the run was not recomputed: it was decided by version {} of protocol {}, here is version {}",
            it.version,
            it.protocol,
            protocol.version()
        ));
    }
    run::check(it, protocol, found)
}

/// The certificate, if the text is one, with all opaque values in canonical form.
fn read(text: &str, found: &mut Findings) -> Option<Certificate> {
    if text.len() > CERTIFICATE_BYTES {
        let size = text.len();
        found.say("", format!("it has {size} bytes; at most {CERTIFICATE_BYTES} are read"));
        return None;
    }
    if let Err(error) = check_nesting(text.as_bytes(), NESTING) {
        found.say("", format!("it does not read: {}", error.message));
        return None;
    }
    let members: BTreeMap<String, Json> = match serde_json::from_str(text) {
        Ok(members) => members,
        Err(error) => {
            found.say("", format!("it does not read as a JSON object: {error}"));
            return None;
        }
    };
    let format = members.get("format").map_or("missing", Json::as_str);
    if format != FORMAT.to_string() {
        found.say("/format", format!("the format is {format:.20}; the one that is known here is {FORMAT}"));
        return None;
    }
    digest(&members, found);
    let whole = canonical(&Json::of(&members).unwrap_or_default());
    typed(&whole, found)
}

fn digest(members: &BTreeMap<String, Json>, found: &mut Findings) {
    let told: Option<String> = members.get("digest").and_then(|json| json.to().ok());
    let is = digest_of(members.clone());
    let told = told.as_deref().unwrap_or("missing");
    found.unless(told == is, "/digest", || {
        format!("the digest is {told:.80}, that of the content is {is}: something was changed")
    });
}

/// Reads it, and sees that nothing stands there that is not read, or would be written otherwise.
fn typed(whole: &str, found: &mut Findings) -> Option<Certificate> {
    let mut json = serde_json::Deserializer::from_str(whole);
    let it: Certificate = match serde_path_to_error::deserialize(&mut json) {
        Ok(it) => it,
        Err(error) => {
            let place = pointer(error.path());
            found.say(place, format!("it does not read: {}", error.inner()));
            return None;
        }
    };
    let (stands, written) = (Json::parse(whole), Json::of(&it));
    match (stands, written) {
        (Ok(stands), Ok(written)) => {
            if let Some(place) = difference(&stands, &written) {
                found.say(place, "no certificate is written so: it is unknown, missing, or has another form");
            }
        }
        _ => found.say("", "it cannot be written again"),
    }
    Some(it)
}

/// The seed is the one whose digest was published at the opening.
fn seed(it: &Certificate, found: &mut Findings) {
    let is = blake3::hash(it.seed.as_bytes()).to_hex();
    found.unless(it.seed_digest == is.as_str(), "/seed_digest", || {
        "the digest that was published at the opening is not that of the seed".to_owned()
    });
}
