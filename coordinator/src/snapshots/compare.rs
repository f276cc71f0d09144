//! Two snapshots side by side: who came, who left, whose status or health is another, and which counts moved.

use serde::Serialize;
use std::collections::BTreeMap;
use synod_protocol::Id;
use synod_protocol::snapshot::{AgentMoment, Snapshot};
use synod_protocol::view::{AgentStatistics, AgentStatus, Breaker, Health};
use utoipa::ToSchema;

/// Entries of each list; the counts beside them are whole.
pub(crate) const LISTED: usize = 1_000;

/// What is different, from one snapshot to another.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Comparison {
    /// The first.
    from: Id,
    /// The second.
    to: Id,
    /// From the one to the other, in ms; below zero where the second is the earlier.
    elapsed_ms: i64,
    /// Agents of both that differ in nothing.
    unchanged: u64,
    /// Agents of the second alone.
    came_count: u64,
    /// The first 1,000 of them.
    came: Vec<Id>,
    /// Agents of the first alone.
    left_count: u64,
    /// The first 1,000 of them.
    left: Vec<Id>,
    /// Agents of both that differ.
    changed_count: u64,
    /// The first 1,000 of them.
    changed: Vec<AgentDifference>,
    /// Tasks by status, where the number is another.
    tasks: BTreeMap<String, Moved>,
    /// Tasks that wait, if the number is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<Moved>,
    /// Attempts that agents hold, if the number is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight: Option<Moved>,
    /// Shards with another owner.
    shards: Vec<ShardMoved>,
    /// Shards that could not be asked for one or the other: what is said of their tasks means nothing.
    missing: Vec<u32>,
}

/// A count that moved.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Moved {
    from: u64,
    to: u64,
    by: i64,
}

/// Something that became something else.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Became<T> {
    from: T,
    to: T,
}

/// How an agent differs.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct AgentDifference {
    agent_id: Id,
    /// It was started anew.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    restarted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Became<AgentStatus>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<Became<Health>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    breaker: Option<Became<Breaker>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_concurrency: Option<Moved>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight: Option<Moved>,
    /// What it has done, by name; below zero where a coordinator that counted has ended.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    statistics: BTreeMap<&'static str, Moved>,
}

/// A shard with another owner.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ShardMoved {
    shard: u32,
    owner: Became<Id>,
}

/// What is different, from `a` to `b`; the agents in order of their ids.
pub(crate) fn compare(a: (&Snapshot, &[AgentMoment]), b: (&Snapshot, &[AgentMoment])) -> Comparison {
    let ((from, before), (to, after)) = (a, b);
    let elapsed_ms = to.taken_at.as_millis().saturating_sub(from.taken_at.as_millis());
    let mut found = Comparison {
        from: from.snapshot_id.clone(),
        to: to.snapshot_id.clone(),
        elapsed_ms,
        unchanged: 0,
        came_count: 0,
        came: Vec::new(),
        left_count: 0,
        left: Vec::new(),
        changed_count: 0,
        changed: Vec::new(),
        tasks: BTreeMap::new(),
        waiting: moved(from.waiting, to.waiting),
        in_flight: moved(from.agents.in_flight, to.agents.in_flight),
        shards: Vec::new(),
        missing: from.missing.iter().chain(&to.missing).map(|missing| missing.shard).collect(),
    };
    found.missing.sort_unstable();
    found.missing.dedup();
    let (mut before, mut after) = (before.iter().peekable(), after.iter().peekable());
    loop {
        match (before.peek(), after.peek()) {
            (Some(old), Some(new)) if old.agent_id == new.agent_id => {
                match difference(old, new) {
                    None => found.unchanged += 1,
                    Some(difference) => push(&mut found.changed, &mut found.changed_count, difference),
                }
                before.next();
                after.next();
            }
            (Some(old), new) if new.is_none_or(|new| old.agent_id < new.agent_id) => {
                push(&mut found.left, &mut found.left_count, old.agent_id.clone());
                before.next();
            }
            (_, Some(new)) => {
                push(&mut found.came, &mut found.came_count, new.agent_id.clone());
                after.next();
            }
            (_, None) => break,
        }
    }
    for status in from.tasks.keys().chain(to.tasks.keys()) {
        let count = |snapshot: &Snapshot| snapshot.tasks.get(status).copied().unwrap_or(0);
        if let Some(moved) = moved(count(from), count(to)) {
            found.tasks.insert(status.as_str().to_owned(), moved);
        }
    }
    for old in &from.shards {
        let now = to.shards.iter().find(|new| new.shard == old.shard && new.owner != old.owner);
        if let Some(new) = now {
            let owner = Became { from: old.owner.clone(), to: new.owner.clone() };
            found.shards.push(ShardMoved { shard: old.shard, owner });
        }
    }
    found
}

fn push<T>(list: &mut Vec<T>, count: &mut u64, item: T) {
    *count += 1;
    if list.len() < LISTED {
        list.push(item);
    }
}

fn moved(from: u64, to: u64) -> Option<Moved> {
    (from != to).then(|| Moved { from, to, by: to.wrapping_sub(from).cast_signed() })
}

fn became<T: Copy + PartialEq>(from: T, to: T) -> Option<Became<T>> {
    (from != to).then_some(Became { from, to })
}

fn difference(old: &AgentMoment, new: &AgentMoment) -> Option<AgentDifference> {
    let counts = |s: AgentStatistics| {
        [("assigned", s.assigned), ("completed", s.completed), ("failed", s.failed), ("lost", s.lost)]
    };
    let pairs = counts(old.statistics).into_iter().zip(counts(new.statistics));
    let statistics: BTreeMap<_, _> =
        pairs.filter_map(|((name, from), (_, to))| Some((name, moved(from, to)?))).collect();
    let found = AgentDifference {
        agent_id: new.agent_id.clone(),
        restarted: old.incarnation != new.incarnation,
        status: became(old.status, new.status),
        health: became(old.health, new.health),
        breaker: became(old.breaker, new.breaker),
        max_concurrency: moved(u64::from(old.max_concurrency), u64::from(new.max_concurrency)),
        in_flight: moved(u64::from(old.in_flight), u64::from(new.in_flight)),
        statistics,
    };
    let same = AgentDifference {
        agent_id: new.agent_id.clone(),
        restarted: false,
        status: None,
        health: None,
        breaker: None,
        max_concurrency: None,
        in_flight: None,
        statistics: BTreeMap::new(),
    };
    (found != same).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use synod_protocol::Timestamp;
    use synod_protocol::snapshot::{AgentCounts, CauseKind, ShardMissing, ShardMoment, SnapshotCause};
    use synod_protocol::view::TaskStatus;

    fn agent(id: &str, change: impl FnOnce(&mut AgentMoment)) -> AgentMoment {
        let mut agent = AgentMoment {
            agent_id: id.parse().unwrap(),
            incarnation: "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10".parse().unwrap(),
            status: AgentStatus::Idle,
            health: Health::Healthy,
            breaker: Breaker::Closed,
            in_flight: 0,
            max_concurrency: 4,
            statistics: AgentStatistics::default(),
            last_seen_at: Timestamp::from_millis(0),
            hearsay: false,
        };
        change(&mut agent);
        agent
    }

    fn snapshot(
        id: &str,
        at: i64,
        agents: &[AgentMoment],
        tasks: &[(TaskStatus, u64)],
        owner: &str,
    ) -> Snapshot {
        let shard = ShardMoment {
            shard: 0,
            owner: owner.parse().unwrap(),
            epoch: None,
            position: 0,
            in_flight: 0,
            owed: 0,
            waiting: 0,
            lag: 0,
            tasks: BTreeMap::new(),
        };
        Snapshot {
            snapshot_id: id.parse().unwrap(),
            mesh_wide: false,
            cause: SnapshotCause { kind: CauseKind::Demand, detail: None, times: 1 },
            label: None,
            taken_at: Timestamp::from_millis(at),
            span_us: 0,
            expires_at: Timestamp::from_millis(at),
            parts: Vec::new(),
            missing: Vec::new(),
            tasks: tasks.iter().copied().collect(),
            waiting: 0,
            agents: AgentCounts::of(agents),
            shards: vec![shard],
            items: None,
            next_cursor: None,
        }
    }

    fn compared(a: (&Snapshot, &[AgentMoment]), b: (&Snapshot, &[AgentMoment])) -> Value {
        serde_json::to_value(compare(a, b)).unwrap()
    }

    #[test]
    fn who_came_left_and_changed_is_told_and_what_moved() {
        let same = |_: &mut AgentMoment| {};
        let before = [agent("a", same), agent("b", same), agent("c", same), agent("e", same)];
        let after = [
            agent("b", |b| (b.status, b.in_flight, b.statistics.assigned) = (AgentStatus::Running, 2, 5)),
            agent("c", |c| c.last_seen_at = Timestamp::from_millis(9)),
            agent("d", same),
            agent("e", |e| (e.health, e.max_concurrency) = (Health::Lost, 3)),
        ];
        let a = snapshot("s1", 1_000, &before, &[(TaskStatus::Waiting, 3), (TaskStatus::Running, 1)], "one");
        let mut b =
            snapshot("s2", 3_500, &after, &[(TaskStatus::Waiting, 1), (TaskStatus::Running, 1)], "two");
        b.missing = vec![ShardMissing { shard: 7, why: "away".into() }];
        assert_eq!(
            compared((&a, &before), (&b, &after)),
            json!({
                "from": "s1", "to": "s2", "elapsed_ms": 2_500, "unchanged": 1,
                "came_count": 1, "came": ["d"], "left_count": 1, "left": ["a"], "changed_count": 2,
                "changed": [
                    {"agent_id": "b", "status": {"from": "idle", "to": "running"},
                     "in_flight": {"from": 0, "to": 2, "by": 2},
                     "statistics": {"assigned": {"from": 0, "to": 5, "by": 5}}},
                    {"agent_id": "e", "health": {"from": "healthy", "to": "lost"},
                     "max_concurrency": {"from": 4, "to": 3, "by": -1}},
                ],
                "tasks": {"waiting": {"from": 3, "to": 1, "by": -2}},
                "in_flight": {"from": 0, "to": 2, "by": 2},
                "shards": [{"shard": 0, "owner": {"from": "one", "to": "two"}}],
                "missing": [7],
            })
        );
    }

    #[test]
    fn a_snapshot_does_not_differ_from_itself_and_lists_are_limited() {
        let many: Vec<AgentMoment> = (0..1_500).map(|n| agent(&format!("a{n:05}"), |_| {})).collect();
        let (a, none) = (snapshot("s", 0, &many, &[], "one"), snapshot("n", 0, &[], &[], "one"));
        let itself = compared((&a, &many), (&a, &many));
        assert_eq!((&itself["unchanged"], &itself["changed_count"]), (&json!(1_500), &json!(0)));
        let all_left = compared((&a, &many), (&none, &[]));
        assert_eq!(all_left["left_count"], 1_500);
        assert_eq!(all_left["left"].as_array().map(Vec::len), Some(LISTED));
    }
}
