//! Every key that the primitives have in Redis.
//!
//! | key | type | holds | ends |
//! |---|---|---|---|
//! | `synod:{state/<r>}:entry:<ws>/<key>` | hash | a value of shared state, or its tombstone | with its history |
//! | `synod:{state/<r>}:past:<ws>/<key>` | stream | its history | with its last line |
//! | `synod:{state/<r>}:index:<ws>` | zset | the keys of range r, in order | - |
//! | `synod:{state/<r>}:expiring` | zset | `<ws>/<key>`: when it ends, in ms | - |
//! | `synod:{state/<r>}:counts:<ws>` | hash | figures of each prefix | - |
//! | `synod:{state/<r>}:policies:<ws>` | hash | prefix: what becomes of a write in a conflict; the same in every range | - |
//! | `synod:{state/<r>}:policies-version:<ws>` | string | grows with each change of them | - |
//! | `synod:{state/<r>}:changes` | stream | the changes of range r, for the relay and for subscriptions | trimmed by the relay |
//! | `synod:{state/<r>}:mirrored` | string | the place in it up to which the mirror has all | - |
//! | `synod:{state/<r>}:open` | string | that the mirror was read back into this Redis: without it the range is not served | 30 s after the relay last renewed it |
//! | `synod:{state/<r>}:era` | string | `<run_id>:<era>`: which life of the stream of changes this is | - |
//! | `synod:{state/<r>}:eras` | hash | earlier era -> the place up to which it is the beginning of this one | the oldest go |
//! | `synod:{state/<r>}:trimmed` | string | the place up to which the stream was trimmed | - |
//! | `synod:{state/<r>}:relay` | string | which relay has the range | - |
//! | `synod:{state/<r>}:again` | string | from which place on it must mirror again | when it does |
//! | `synod:{state/<r>}:news` | channel | the place up to which the mirror has all now | - |
//! | `synod:{subscriptions}:all` | hash | `<ws>/<id>` -> a subscription | - |
//! | `synod:{subscriptions}:ids` | sorted set | the same `<ws>/<id>`, in order | - |
//! | `synod:{subscriptions}:hooks` | hash | `<ws>/<id>` -> how far a webhook is | with its subscription |
//! | `synod:{subscriptions}:again:<ws>/<id>` | list | what is to be delivered to it once more | with its subscription |
//! | `synod:{subscriptions}:dead:<ws>/<id>` | list | what could not be delivered to a webhook | with its subscription |
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

/// The history of a key of shared state.
pub fn state_past(range: u32, workspace: &Workspace, key: &Name) -> String {
    format!("synod:{{state/{range}}}:past:{workspace}/{key}")
}

/// The keys of a range that a workspace has, in order.
pub fn state_index(range: u32, workspace: &Workspace) -> String {
    format!("synod:{{state/{range}}}:index:{workspace}")
}

/// What ends by itself in a range, and when.
pub fn state_expiring(range: u32) -> String {
    format!("synod:{{state/{range}}}:expiring")
}

/// Figures of a workspace's keys in a range.
pub fn state_counts(range: u32, workspace: &Workspace) -> String {
    format!("synod:{{state/{range}}}:counts:{workspace}")
}

/// The policies of a workspace's prefixes.
pub fn state_policies(range: u32, workspace: &Workspace) -> String {
    format!("synod:{{state/{range}}}:policies:{workspace}")
}

/// The version of a workspace's policies in a range.
pub fn state_policies_version(range: u32, workspace: &Workspace) -> String {
    format!("synod:{{state/{range}}}:policies-version:{workspace}")
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

/// Which life of the stream of a range this is.
pub fn state_era(range: u32) -> String {
    format!("synod:{{state/{range}}}:era")
}

/// The earlier lives of the stream of a range.
pub fn state_eras(range: u32) -> String {
    format!("synod:{{state/{range}}}:eras")
}

/// Up to where the stream of a range was trimmed.
pub fn state_trimmed(range: u32) -> String {
    format!("synod:{{state/{range}}}:trimmed")
}

/// Which relay has a range.
pub fn state_relay(range: u32) -> String {
    format!("synod:{{state/{range}}}:relay")
}

/// From where on the relay of a range must mirror again.
pub fn state_again(range: u32) -> String {
    format!("synod:{{state/{range}}}:again")
}

/// The channel on which the relay of a range says how far the mirror is.
pub fn state_news(range: u32) -> String {
    format!("synod:{{state/{range}}}:news")
}

/// Every subscription.
pub const SUBSCRIPTIONS: &str = "synod:{subscriptions}:all";
/// Their ids, in order.
pub const SUBSCRIPTION_IDS: &str = "synod:{subscriptions}:ids";
/// How far the webhooks among them are.
pub const SUBSCRIPTION_HOOKS: &str = "synod:{subscriptions}:hooks";

/// What is to be delivered to a webhook once more; `named` is `<ws>/<id>`.
pub fn subscription_again(named: &str) -> String {
    format!("synod:{{subscriptions}}:again:{named}")
}

/// What could not be delivered to a webhook; `named` is `<ws>/<id>`.
pub fn subscription_dead(named: &str) -> String {
    format!("synod:{{subscriptions}}:dead:{named}")
}

/// A lock: who holds it.
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
