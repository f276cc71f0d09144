//! Every key and channel that Synod has in Redis, in one place.
//!
//! | key | type | holds | ends |
//! |---|---|---|---|
//! | `synod:{<ws>/<agent>}:inbox` | list | what waits for the agent, oldest first | 10,000 entries |
//! | `synod:{<ws>/<agent>}:taken:<incarnation>` | list | what that process start took and has not settled | `forget`, 24 h |
//! | `synod:{<ws>/<agent>}:guard` | hash | shard → newest issuing owner's epoch | 7 days unused |
//! | `synod:{<ws>/<agent>}:seen` | zset | attempt ids by Redis' time in ms | 1 h, 10,000 entries |
//! | `synod:heartbeats` | hash | `<ws>/<agent>` → beat | `forget` |
//! | `synod:presence:<ws>/<agent>/<incarnation>` | channel | nothing; being subscribed is the message | the process |
//! | `synod:coordinator:<id>` | string | a coordinator's lease, JSON | its time to live |
//! | `synod:probe:<id>` | string | nothing: that a coordinator could write it is the message | 60 s |
//! | `synod:coordinators` | set | ids that have or had a lease | swept by readers |
//! | `synod:coordinators:era` | string | Redis' time in µs of the first lease since its data began | - |
//! | `synod:coordinators:news` | channel | `released`: a coordinator has let go of shards | - |
//! | `synod:presence:coordinator/<id>/<holder>` | channel | nothing; being subscribed is the message | the process |
//! | `synod:bell:<uuid>` | channel | a word to one who waits in the process that listens | the process |
//! | `synod:{permits}:out:<permit>` | zset | who holds one of a permit → when it comes back by itself, in ms of Redis' time | with the last of them |
//! | `synod:{permits}:guard` | hash | shard → newest owner's epoch | 7 days unused |
//! | `synod:{permits}:era` | string | the server's run id and its time in ms at the first call since then | - |
//! | `synod:reply:<anything>` | list | answers to commands | 60 s |
//! | `synod:{<ws>}:<kind>:<id>` | hash | `position`, `body`: the view of an entity | as written, or its shard's shelf is full |
//! | `synod:{views/<shard>}:shelf` | list | bytes and key of each view that the shard has written, oldest first | with the newest of them |
//! | `synod:{views/<shard>}:bytes` | string | what they weigh in all | with it |
//! | `synod:{<ws>/<agent>}:breakers` | string | what is kept of its breakers for coordinators that come, JSON | 10 min unused |
//! | `synod:{<ws>/<agent>}:context` | hash | the agent's own context: `incarnation`, `order`, `version`, `versions`, `note:<v>` | 30 days unused |
//! | `synod:{<ws>/<agent>}:context:<version>` | string | the bytes of that version | 30 days unused |
//! | `synod:{<ws>/<agent>}:context:draft:<uuid>` | string | the bytes of the next one while it is saved | 30 days, if it never becomes one |
//! | `synod:contexts:news` | list | what coordinators are to publish of contexts, oldest first | 10,000 entries |
//! | `synod:{snapshots}:at:<id>` | hash | `head`, `<ws>/<n>`: a snapshot of the mesh, its agents a thousand to a field | its time to live |
//! | `synod:{snapshots}:draft:<uuid>` | hash | the same while it is written | 60 s |
//! | `synod:{snapshots}:of:<ws or *>` | zset | snapshot ids by when they came (Redis' time in µs) | with the newest of them |
//! | `synod:{snapshots}:bytes:<ws or *>` | hash | what each of them weighs | with the newest of them |
//! | `synod:{snapshots}:last` | string | when the newest of all came | - |
//! | `synod:{snapshots}:turn:<what>` | string | that one was taken for this reason just now | the pause |
//!
//! The hash tag `{…}` keeps what one script touches in one slot, for the day of Redis Cluster. The parts
//! are validated names, so no part can hold a brace, a slash or white space of its own.

use synod_protocol::{EntityId, Id, Incarnation, Workspace};

/// The hash of heartbeats.
pub const HEARTBEATS: &str = "synod:heartbeats";
/// The set of coordinators that have or had a lease.
pub const COORDINATORS: &str = "synod:coordinators";
/// When these data began, by their first lease.
pub const ERA: &str = "synod:coordinators:era";
/// The channel on which coordinators tell each other to look at the leases.
pub const NEWS: &str = "synod:coordinators:news";
/// The list of what coordinators are to publish of agents' contexts.
pub const CONTEXT_NEWS: &str = "synod:contexts:news";
/// When the newest snapshot of the mesh came.
pub const SNAPSHOT_LAST: &str = "synod:{snapshots}:last";
/// When the data of permits began.
pub const PERMITS_ERA: &str = "synod:{permits}:era";
/// The hash of the newest owner's epoch per shard, for permits.
pub const PERMITS_GUARD: &str = "synod:{permits}:guard";
/// What the channel of a process that waits begins with.
pub(crate) const BELL_PREFIX: &str = "synod:bell:";
/// What the key of a reply list begins with.
pub const REPLY_PREFIX: &str = "synod:reply:";

/// The sorted set of who holds one of a permit. All carry one hash tag: they are taken together.
pub fn permits(name: &str) -> String {
    format!("synod:{{permits}}:out:{name}")
}

/// The list of what waits for an agent.
pub fn inbox(workspace: &Workspace, agent: &Id) -> String {
    format!("synod:{{{workspace}/{agent}}}:inbox")
}

/// The list of what one process start of an agent has taken.
pub fn taken(workspace: &Workspace, agent: &Id, incarnation: &Incarnation) -> String {
    format!("synod:{{{workspace}/{agent}}}:taken:{incarnation}")
}

/// The hash of the newest issuing epoch per shard.
pub fn guard(workspace: &Workspace, agent: &Id) -> String {
    format!("synod:{{{workspace}/{agent}}}:guard")
}

/// The sorted set of attempts delivered lately.
pub fn seen(workspace: &Workspace, agent: &Id) -> String {
    format!("synod:{{{workspace}/{agent}}}:seen")
}

/// The field of an agent in [`HEARTBEATS`].
pub fn heartbeat_field(workspace: &Workspace, agent: &Id) -> String {
    format!("{workspace}/{agent}")
}

/// The channel whose subscription says that this process start runs.
pub fn presence(workspace: &Workspace, agent: &Id, incarnation: &Incarnation) -> String {
    format!("synod:presence:{workspace}/{agent}/{incarnation}")
}

/// The lease of a coordinator.
pub fn coordinator(id: &Id) -> String {
    format!("synod:coordinator:{id}")
}

/// The channel whose subscription says that this process of a coordinator runs. (No agent's: those end with an
/// incarnation that its own process drew, as `holder` was drawn here.)
pub fn coordinator_presence(id: &Id, holder: &str) -> String {
    format!("synod:presence:coordinator/{id}/{holder}")
}

/// What a coordinator writes to learn whether Redis takes writes.
pub fn probe(id: &Id) -> String {
    format!("synod:probe:{id}")
}

/// The view of an entity; `kind` is one of ours, such as `task`.
pub fn view(workspace: &Workspace, kind: &'static str, id: &EntityId) -> String {
    format!("synod:{{{workspace}}}:{kind}:{id}")
}

/// What is kept of an agent's breakers.
pub fn breakers(workspace: &Workspace, agent: &Id) -> String {
    format!("synod:{{{workspace}/{agent}}}:breakers")
}

/// The hash of an agent's own context.
pub fn context(workspace: &Workspace, agent: &Id) -> String {
    format!("synod:{{{workspace}/{agent}}}:context")
}

/// The bytes of one version of it.
pub fn context_bytes(workspace: &Workspace, agent: &Id, version: u64) -> String {
    format!("{}:{version}", context(workspace, agent))
}

/// The bytes of the next one while it is saved.
pub fn context_draft(workspace: &Workspace, agent: &Id, draft: &uuid::Uuid) -> String {
    format!("{}:draft:{draft}", context(workspace, agent))
}

/// A snapshot of the mesh.
pub fn snapshot(id: &Id) -> String {
    format!("synod:{{snapshots}}:at:{id}")
}

/// A snapshot that is being written.
pub fn snapshot_draft(draft: &uuid::Uuid) -> String {
    format!("synod:{{snapshots}}:draft:{draft}")
}

/// The snapshots of a workspace, or of all (`*`, which is no workspace), by when they came; and what each weighs.
pub fn snapshots_of(scope: &str) -> (String, String) {
    (format!("synod:{{snapshots}}:of:{scope}"), format!("synod:{{snapshots}}:bytes:{scope}"))
}

/// That a snapshot was taken for this reason just now.
pub fn snapshot_turn(what: &str) -> String {
    format!("synod:{{snapshots}}:turn:{what}")
}

/// The list of the views that a shard has written, and what they weigh.
pub fn shelf(shard: u32) -> (String, String) {
    (format!("synod:{{views/{shard}}}:shelf"), format!("synod:{{views/{shard}}}:bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_fixed() {
        let (ws, agent): (Workspace, Id) = ("w-1".parse().unwrap(), "a.1".parse().unwrap());
        let incarnation: Incarnation = "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10".parse().unwrap();
        assert_eq!(inbox(&ws, &agent), "synod:{w-1/a.1}:inbox");
        assert_eq!(
            taken(&ws, &agent, &incarnation),
            "synod:{w-1/a.1}:taken:0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10"
        );
        assert_eq!(guard(&ws, &agent), "synod:{w-1/a.1}:guard");
        assert_eq!(seen(&ws, &agent), "synod:{w-1/a.1}:seen");
        assert_eq!(
            presence(&ws, &agent, &incarnation),
            "synod:presence:w-1/a.1/0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10"
        );
        assert_eq!(coordinator(&agent), "synod:coordinator:a.1");
        assert_eq!(coordinator_presence(&agent, "h"), "synod:presence:coordinator/a.1/h");
        assert_eq!(probe(&agent), "synod:probe:a.1");
        assert_eq!(shelf(7), ("synod:{views/7}:shelf".into(), "synod:{views/7}:bytes".into()));
        assert_eq!(breakers(&ws, &agent), "synod:{w-1/a.1}:breakers");
        assert_eq!(context(&ws, &agent), "synod:{w-1/a.1}:context");
        assert_eq!(context_bytes(&ws, &agent, 7), "synod:{w-1/a.1}:context:7");
        assert_eq!(snapshot(&agent), "synod:{snapshots}:at:a.1");
        assert_eq!(
            snapshots_of("w-1"),
            ("synod:{snapshots}:of:w-1".into(), "synod:{snapshots}:bytes:w-1".into())
        );
        assert_eq!(snapshot_turn("x"), "synod:{snapshots}:turn:x");
        assert_eq!(view(&ws, "task", &"wf:s".parse().unwrap()), "synod:{w-1}:task:wf:s");
    }
}
