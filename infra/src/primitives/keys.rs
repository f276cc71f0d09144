//! Every key that the primitives have in Redis.
//!
//! | key | type | holds | ends |
//! |---|---|---|---|
//! | `synod:{state/<r>}:entry:<ws>/<key>` | hash | a value of shared state, or its tombstone | with its history |
//! | `synod:{state/<r>}:changes` | stream | the changes of range r, for the relay and for subscriptions | trimmed by the relay |
//! | `synod:{state/<r>}:mirrored` | string | the place in it up to which the mirror has all | - |
//! | `synod:{state/<r>}:open` | string | that the mirror was read back into this Redis: without it the range is not served | - |
//! | `synod:{<ws>/<queue>}:queue` | hash | counters of a queue, and who waits for the next thing that is due | 25 h empty |
//! | `synod:{<ws>/<queue>}:queue:messages` | hash | `m<id>` → what is known of the message, msgpack; `p<id>` → its payload, JSON | ack, or room for newer dead ones |
//! | `synod:{<ws>/<queue>}:queue:ready` | zset | ids of messages that can be leased, the next first | lease |
//! | `synod:{<ws>/<queue>}:queue:leased` | zset | ids of those that are leased → until when, ms | ack, nack, time |
//! | `synod:{<ws>/<queue>}:queue:delayed` | zset | ids of those that are not due → when they are, ms | time |
//! | `synod:{<ws>/<queue>}:queue:dead` | zset | ids of dead ones in the order of their deaths | redrive, 10,000 messages, 64 MiB |
//! | `synod:{<ws>/<queue>}:queue:seen` | zset | ids that callers have given → when, ms | 24 h, 1,000,000 ids |
//! | `synod:{<ws>/<queue>}:queue:settled` | zset | receipts that have settled something → when, ms | 1 h, 100,000 receipts |
//! | `synod:{<ws>/<queue>}:queue:waiters` | zset | who waits, first come first | 10,000, 2 min |
//! | `synod:{<ws>/<queue>}:queue:rates` | hash | events per second | 2 min |
//! | `synod:queues:wake:<uuid>` | channel | which of a process' waiting consumers is to look again | - |
//! | `synod:{<ws>/<agent>}:memory` | hash | counters of an agent's memory | 30 days unused |
//! | `synod:{<ws>/<agent>}:memory:meta` | hash | key → what is known of the entry, msgpack | with its last entry |
//! | `synod:{<ws>/<agent>}:memory:values` | hash | key → value, JSON | with its last entry |
//! | `synod:{<ws>/<agent>}:memory:used` | zset | keys in the order of their last use | with its last entry |
//! | `synod:{<ws>/<agent>}:memory:written` | zset | keys in the order of their last writing | with its last entry |
//! | `synod:{<ws>/<agent>}:memory:expiry` | zset | keys → when they end, ms | with its last entry |
//! | `synod:{<ws>/<agent>}:memory:tags` | zset | `<tag> NUL <order of writing> NUL <key>`, by its letters | with its last entry |
//! | `synod:memories:news` | list | what coordinators are to publish of memories, oldest first | 10,000 entries |
//! | `synod:{<tag>}:once:<request>` | hash | the answer to a request with an `Idempotency-Key` | 24 h |
//!
//! A workspace has no slash and no brace, so what stands before the first slash of a tag is the workspace, whatever the
//! name after it holds. A name may hold braces: Redis hashes what stands in the first ones, and those are ours; where
//! a name stands inside them, [`tag`] makes its braces harmless.

use synod_protocol::{Id, Name, Workspace};

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

/// All keys of a queue, in the order in which its scripts know them.
pub fn queue(workspace: &Workspace, name: &Name) -> Vec<String> {
    let root = format!("synod:{}:queue", tag(workspace, name));
    let parts = ["messages", "ready", "leased", "delayed", "dead", "seen", "settled", "waiters", "rates"];
    let parts = parts.iter().map(|part| format!("{root}:{part}"));
    std::iter::once(root.clone()).chain(parts).collect()
}

/// The channel on which the waiting consumers of one process are woken.
pub fn queue_wake(handle: &uuid::Uuid) -> String {
    format!("synod:queues:wake:{handle}")
}

/// All keys of an agent's memory, in the order in which its scripts know them.
pub fn memory(workspace: &Workspace, agent: &Id) -> Vec<String> {
    let root = format!("synod:{{{workspace}/{agent}}}:memory");
    let parts = ["meta", "values", "used", "written", "expiry", "tags"];
    let parts = parts.iter().map(|part| format!("{root}:{part}"));
    std::iter::once(root.clone()).chain(parts).collect()
}

/// The list of what coordinators are to publish of agents' memories.
pub const MEMORY_NEWS: &str = "synod:memories:news";

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
