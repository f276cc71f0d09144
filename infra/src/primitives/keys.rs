//! Every key that the primitives have in Redis.
//!
//! | key | type | holds | ends |
//! |---|---|---|---|
//! | `synod:{<tag>}:once:<request>` | hash | the answer to a request with an `Idempotency-Key` | 24 h |
//!
//! A workspace has no slash and no brace, so what stands before the first slash of a tag is the workspace, whatever the
//! name after it holds. A name may hold braces: Redis hashes what stands in the first ones, and those are ours; where
//! a name stands inside them, [`tag`] makes its braces harmless.

use synod_protocol::{Name, Workspace};

/// The hash tag of what belongs to one name: the workspace and the name, in which `}` is `%7D` and `%` is `%25`, so that
/// the tag ends where it should and no two names share one.
pub fn tag(workspace: &Workspace, name: &Name) -> String {
    format!("{{{workspace}/{}}}", name.as_str().replace('%', "%25").replace('}', "%7D"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_names_share_a_tag_and_none_ends_early() {
        let check = |name: &str, tagged: &str| {
            assert_eq!(tag(&"w-1".parse().unwrap(), &name.parse().unwrap()), tagged);
        };
        check("a", "{w-1/a}");
        check("a}b", "{w-1/a%7Db}");
        check("a%7Db", "{w-1/a%257Db}");
        check("{a}/*", "{w-1/{a%7D/*}");
    }
}
