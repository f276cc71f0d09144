//! A doubt about an agent takes effect here at once, and is told: to the agent's shard what the ledger should have, to
//! everyone else as an event behind which no record stands.

use crate::fleet::wall_clock;
use crate::{Shared, publish};
use synod_fleet::{AgentKey, Cause, Doubt};
use synod_protocol::event::{AGENT_SUSPECTED, AgentChanged};
use synod_protocol::view::Health;
use synod_protocol::{Incarnation, topics};

/// The health of an agent is another, by what one coordinator sees.
const STATUS_CHANGED: &str = "synod.agent.status_changed";

/// Raises a doubt about a process start, or drops it for the reason given.
pub(crate) fn set(
    shared: &Shared,
    key: &AgentKey,
    incarnation: &Incarnation,
    cause: Cause,
    doubt: Result<Doubt, &str>,
) {
    let (doubt, why) = match doubt {
        Ok(doubt) => (Some(doubt.clone()), doubt.why),
        Err(why) => (None, why.to_owned()),
    };
    let raised = doubt.is_some();
    let Some((durable, health)) = shared.fleet.doubt(key, incarnation, cause, doubt) else { return };
    let (agent, health_now) = (&key.agent, health.as_str());
    tracing::info!(%agent, %incarnation, ?cause, raised, why, health = health_now, "what is thought of an agent");
    match (durable, health) {
        (Health::Lost, _) if !raised && cause == Cause::Absence => {
            shared.judged(key, incarnation, false, why);
        }
        (Health::Lost, _) => {}
        (_, Health::Lost) => shared.judged(key, incarnation, true, why),
        (_, Health::Suspected) => tell(shared, key, incarnation, health, why, AGENT_SUSPECTED),
        _ => tell(shared, key, incarnation, health, why, STATUS_CHANGED),
    }
}

/// Publishes, if the agent's shard is ours or it holds work of ours: others say the same of their own.
fn tell(
    shared: &Shared,
    key: &AgentKey,
    incarnation: &Incarnation,
    health: Health,
    why: String,
    ty: &'static str,
) {
    let shard = topics::partition(key.agent.as_str().as_bytes(), shared.config.partitions);
    let known = shared.fleet.lock().registry.get(key).map(|member| (member.entry.status, member.in_flight()));
    let Some((status, _)) = known.filter(|(_, held)| *held > 0 || shared.tenures.holds(shard)) else {
        return;
    };
    let changed = AgentChanged {
        agent_id: key.agent.clone(),
        incarnation: incarnation.clone(),
        status,
        health,
        reason: Some(why),
        revision: 0,
        recovery: None,
        resume_at: None,
    };
    publish::about_agent(shared, key, ty, wall_clock(), &changed);
}
