//! Names of things, valid by construction.
//!
//! Each is a cheap clone (`Arc<str>`), since the ledger holds the same id in many places.

use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Declares one validated string newtype: what it is, the check that its text must pass, and the same as the reference says it.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $pattern:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// What every text of it matches, as a regular expression. Where that counts characters, bytes are meant.
            pub const PATTERN: &'static str = $pattern;

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                let check: fn(&str) -> Result<(), &'static str> = $check;
                match check(text) {
                    Ok(()) => Ok($name(Arc::from(text))),
                    Err(rule) => Err(Error::invalid(format!(
                        concat!("{} is not a valid ", $what, ": {}"), shown(text), rule
                    ))),
                }
            }
        }
        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self, Error> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &self.0)
            }
        }
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                let text = utoipa::openapi::schema::ObjectBuilder::new();
                text.schema_type(utoipa::openapi::schema::Type::String).pattern(Some($pattern)).into()
            }
        }
        impl utoipa::ToSchema for $name {}
    };
}

name! {
    /// A tenant: `[a-z0-9-]{1,63}`.
    Workspace, "workspace", r"^[a-z0-9-]{1,63}$", |t| {
        let ok = (1..=63).contains(&t.len()) && t.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if ok { Ok(()) } else { Err("1 to 63 of a-z, 0-9 and -") }
    }
}

name! {
    /// The id of an agent or of a root entity: 1 to 128 of `A-Z a-z 0-9 . _ -`.
    Id, "id", r"^[A-Za-z0-9._-]{1,128}$", check_id
}

name! {
    /// The id of any entity: an [`Id`], or a child's `<root>:<path>`, at most 512 bytes.
    EntityId, "entity id", r"^[A-Za-z0-9._-]{1,128}(:[A-Za-z0-9._:/\[\]-]+)?$", |t| {
        let (root, path) = t.split_once(':').unwrap_or((t, "-"));
        check_id(root)?;
        let path_ok = !path.is_empty() && path.bytes().all(|b| is_id_byte(b) || matches!(b, b':' | b'/' | b'[' | b']'));
        if path_ok && t.len() <= 512 { Ok(()) } else { Err("<root>:<path>, the path of A-Z a-z 0-9 . _ - : / [ ], 512 bytes in all") }
    }
}

name! {
    /// What an agent can do: `[a-z0-9][a-z0-9._-]{0,127}`.
    Capability, "capability", r"^[a-z0-9][a-z0-9._-]{0,127}$", |t| {
        let ok = (1..=128).contains(&t.len())
            && t.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
            && t.as_bytes()[0].is_ascii_alphanumeric();
        if ok { Ok(()) } else { Err("1 to 128 of a-z 0-9 . _ -, beginning with a letter or digit") }
    }
}

name! {
    /// A kind of work, under which promises of agents are remembered: `[a-z0-9._-]{1,64}`.
    WorkKind, "kind of work", r"^[a-z0-9._-]{1,64}$", |t| {
        let ok = (1..=64).contains(&t.len())
            && t.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'));
        if ok { Ok(()) } else { Err("1 to 64 of a-z 0-9 . _ -") }
    }
}

name! {
    /// One process start of an agent: a UUID in its hyphenated form.
    Incarnation, "incarnation", r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$", |t| {
        if t.len() == 36 && uuid::Uuid::try_parse(t).is_ok() { Ok(()) } else { Err("a UUID such as 0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10") }
    }
}

name! {
    /// The name of a key, lock, semaphore, counter, queue or budget: 1 to 512 bytes of UTF-8 without control characters,
    /// not `.` or `..`. Braces, `*`, `/` and `%` in it are plain text.
    Name, "name", r"^[^\x00-\x1f\x7f-\x9f]{1,512}$", |t| {
        let ok = (1..=512).contains(&t.len()) && !t.chars().any(char::is_control) && t != "." && t != "..";
        if ok { Ok(()) } else { Err("1 to 512 bytes of UTF-8 without control characters, not . or ..") }
    }
}

fn is_id_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')
}

fn check_id(t: &str) -> Result<(), &'static str> {
    if (1..=128).contains(&t.len()) && t.bytes().all(is_id_byte) {
        Ok(())
    } else {
        Err("1 to 128 of A-Z a-z 0-9 . _ -")
    }
}

/// A refused text as an error message shows it: quoted, escaped, cut after 64 characters.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(64) {
        None => format!("{text:?}"),
        Some((cut, _)) => format!("{:?}… ({} bytes)", &text[..cut], text.len()),
    }
}

impl Workspace {
    /// The workspace of everything that names none.
    pub fn default_name() -> Workspace {
        Workspace(Arc::from("default"))
    }
}

impl Default for Workspace {
    fn default() -> Self {
        Workspace::default_name()
    }
}

impl EntityId {
    /// The id of the root whose shard this entity lives in.
    pub fn root(&self) -> &str {
        self.0.split_once(':').map_or(&self.0, |(root, _)| root)
    }
}

impl From<Id> for EntityId {
    fn from(id: Id) -> EntityId {
        EntityId(id.0)
    }
}

impl Id {
    /// `<prefix><UUIDv7>`, such as `task_0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10`; the caller draws the UUID.
    pub fn made(prefix: &str, uuid: uuid::Uuid) -> Id {
        Id(Arc::from(format!("{prefix}{}", uuid.hyphenated())))
    }

    /// The id that a workspace and an `Idempotency-Key` always give: `<prefix><UUIDv8 of their BLAKE3>`.
    pub fn derived(prefix: &str, workspace: &Workspace, key: &str) -> Id {
        let mut hash = blake3::Hasher::new();
        hash.update(workspace.as_str().as_bytes()).update(&[0]).update(key.as_bytes());
        let mut bytes = [0u8; 16];
        bytes.copy_from_slice(&hash.finalize().as_bytes()[..16]);
        Id::made(prefix, uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

impl From<uuid::Uuid> for Incarnation {
    fn from(uuid: uuid::Uuid) -> Incarnation {
        Incarnation(Arc::from(uuid.hyphenated().to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference's pattern says the same as the check.
    fn check<T: FromStr>(pattern: &str, good: &[&str], bad: &[&str]) {
        let pattern = regex::Regex::new(pattern).unwrap();
        for t in good {
            assert!(t.parse::<T>().is_ok() && pattern.is_match(t), "{t:?} should be taken");
        }
        for t in bad {
            assert!(t.parse::<T>().is_err() && !pattern.is_match(t), "{t:?} should be refused");
        }
    }

    #[test]
    fn names_are_what_the_contract_says() {
        let long = "a".repeat(128);
        let too_long = "a".repeat(129);
        check::<Id>(
            Id::PATTERN,
            &["a", "A.b_c-9", "..", &long],
            &["", "a b", "a:b", "ä", "a/b", "a\n", &too_long],
        );
        check::<EntityId>(
            EntityId::PATTERN,
            &["a", "a:b", "a:b:c", "a:steps/3[0]"],
            &["", ":b", "a:", "a b:c", "a: b"],
        );
        check::<Capability>(
            Capability::PATTERN,
            &["a", "0", "a.b_c-d", &long],
            &["", "A", "-a", ".a", "a b", &too_long],
        );
        check::<WorkKind>(WorkKind::PATTERN, &["a", "-a.b_c"], &["", "A", &"a".repeat(65)]);
        check::<Name>(
            Name::PATTERN,
            &["a", "ä*{}/%", &"a".repeat(512)],
            &["", "a\n", "a\u{85}", &"a".repeat(513)],
        );
        check::<Workspace>(Workspace::PATTERN, &["default", "a-1", "-"], &["", "A", "a_b", &"a".repeat(64)]);
        check::<Incarnation>(
            Incarnation::PATTERN,
            &["0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10"],
            &["", "x", "0190f7a27c3e7cc18f5e2d1f2a6b9c10"],
        );
    }

    #[test]
    fn a_child_lives_with_its_root() {
        assert_eq!("wf_1:a:b".parse::<EntityId>().unwrap().root(), "wf_1");
        assert_eq!("wf_1".parse::<EntityId>().unwrap().root(), "wf_1");
    }

    #[test]
    fn a_derived_id_depends_on_workspace_and_key() {
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        assert_eq!(Id::derived("task_", &a, "k"), Id::derived("task_", &a, "k"));
        assert_ne!(Id::derived("task_", &a, "k"), Id::derived("task_", &b, "k"));
        assert_ne!(Id::derived("task_", &a, "k"), Id::derived("task_", &a, "l"));
    }
}
