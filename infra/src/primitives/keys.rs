//! Every key that the primitives have in Redis.
//!
//! | key | type | holds | ends |
//! |---|---|---|---|
//! | `synod:{state/<r>}:entry:<ws>/<key>` | hash | a value of shared state, or its tombstone | with its history |
//! | `synod:{state/<r>}:changes` | stream | the changes of range r, for the relay and for subscriptions | trimmed by the relay |
//! | `synod:{state/<r>}:mirrored` | string | the place in it up to which the mirror has all | - |
//! | `synod:{state/<r>}:open` | string | that the mirror was read back into this Redis: without it the range is not served | - |
//! | `synod:{<tag>}:lock` | hash | who holds it: `owner`, `token`, `until`, `since` (ms of Redis' time), `by`, `bell`, `line`; free: `until` is 0, the `token` the last one | 1 h after its lease |
//! | `synod:{<tag>}:semaphore` | hash | `total`, the last `token`, each permit that is out | 1 h after its last lease |
//! | `synod:{<tag>}:semaphore:holders` | zset | token → when its lease ends, in ms of Redis' time | with the last of them |
//! | `synod:{<tag>}:lock:queue`, `…:semaphore:queue` | list | who waits, first come first | 1,000 entries; with the longest wait |
//! | `synod:{<tag>}:lock:waiters`, `…:semaphore:waiters` | hash | of each: bell, time to live, limit, owner | as the queue |
//! | `synod:{<ws>}:locks`, `synod:{<ws>}:semaphores` | zset | names that are or were held | swept |
//! | `synod:{<tag>}:counter` | string | a counter's value | - |
//! | `synod:{<tag>}:budget` | hash | `limit`, `spent`, `reserved` | - |
//! | `synod:{<tag>}:budget:reservations` | hash | reservation → what is left of it | 10,000 entries |
//! | `synod:{<tag>}:budget:ends` | zset | reservation → when it returns by itself, in ms of Redis' time | as they |
//! | `synod:{<tag>}:counter:operations`, `…:budget:operations` | hash | operation id → until when, and what it was answered | 24 h, a million entries |
//! | `synod:{<tag>}:counter:operations:order`, `…:budget:operations:order` | list | the operation ids, oldest first | as they |
//! | `synod:{<tag>}:limit` | hash | `level` in billionths, `at` in µs of Redis' time: a token bucket | when it would be full |
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

/// The entry of a key of shared state.
pub fn state_entry(range: u32, workspace: &Workspace, key: &Name) -> String {
    format!("synod:{{state/{range}}}:entry:{workspace}/{key}")
}

/// The stream of changes of a range.
pub fn state_changes(range: u32) -> String {
    format!("synod:{{state/{range}}}:changes")
}

/// Up to where the mirror has the changes of a range.
pub fn state_mirrored(range: u32) -> String {
    format!("synod:{{state/{range}}}:mirrored")
}

/// That a range is served.
pub fn state_open(range: u32) -> String {
    format!("synod:{{state/{range}}}:open")
}

/// A lock, and who waits for it.
pub fn lock(workspace: &Workspace, name: &Name) -> String {
    format!("synod:{}:lock", tag(workspace, name))
}

/// A semaphore.
pub fn semaphore(workspace: &Workspace, name: &Name) -> String {
    format!("synod:{}:semaphore", tag(workspace, name))
}

/// The names of locks that are or were held.
pub fn locks(workspace: &Workspace) -> String {
    format!("synod:{{{workspace}}}:locks")
}

/// The names of semaphores of which permits are or were out.
pub fn semaphores(workspace: &Workspace) -> String {
    format!("synod:{{{workspace}}}:semaphores")
}

/// A counter.
pub fn counter(workspace: &Workspace, name: &Name) -> String {
    format!("synod:{}:counter", tag(workspace, name))
}

/// A budget.
pub fn budget(workspace: &Workspace, name: &Name) -> String {
    format!("synod:{}:budget", tag(workspace, name))
}

/// A rate limit.
pub fn limit(workspace: &Workspace, name: &Name) -> String {
    format!("synod:{}:limit", tag(workspace, name))
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
