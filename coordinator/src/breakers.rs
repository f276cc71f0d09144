//! Circuit breakers at work: what an attempt's end says of its agent, what time does to breakers and ramps, and who is told.

use crate::fleet::wall_clock;
use crate::{Shared, moments, publish, snapshots};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use synod_fleet::breaker::{Event, Kept, Outcome as Verdict, State, Status};
use synod_fleet::{AgentKey, Guards, Scope, Told};
use synod_infra::redis::RedisError;
use synod_infra::redis::breakers::KeptBreakers;
use synod_ledger::End;
use synod_protocol::breaker::{AgentBreaker, BreakerState};
use synod_protocol::event::{BREAKER_CLOSED, BREAKER_HALF_OPENED, BREAKER_OPENED, BreakerChanged};
use synod_protocol::view::{Breaker, Outcome};
use synod_protocol::{Code, Id};
use tokio_util::sync::CancellationToken;

/// How often time is let do what it does.
const EVERY: Duration = Duration::from_millis(100);

/// Errors that are the fault of who submitted the task: they say nothing of who was given it.
const CALLERS_FAULT: [Code; 9] = [
    Code::InvalidArgument,
    Code::Unauthenticated,
    Code::PermissionDenied,
    Code::NotFound,
    Code::AlreadyExists,
    Code::Conflict,
    Code::InvalidTransition,
    Code::PayloadTooLarge,
    Code::Unprocessable,
];

/// What the end of an attempt says of its agent; `None`: nothing.
pub(crate) fn verdict(end: &End) -> Option<Verdict> {
    match end.outcome {
        Outcome::Completed => Some(Verdict::Success),
        Outcome::TimedOut => Some(Verdict::Failure),
        Outcome::Failed => {
            let code = end.code.as_deref();
            let is_callers = CALLERS_FAULT.iter().any(|fault| code == Some(fault.as_str()));
            Some(if is_callers { Verdict::Ignored } else { Verdict::Failure })
        }
        // Its health is judged by other means, and the rest was not its doing.
        Outcome::Lost | Outcome::Declined | Outcome::Withdrawn | Outcome::Cancelled => None,
    }
}

/// How often what has changed is kept for whoever comes next, and of how many agents at a time.
const KEEP: (Duration, usize) = (Duration::from_secs(1), 1_000);

/// Lets time pass for breakers and ramps, and publishes what has happened to breakers, until `stop`.
pub(crate) async fn watch(shared: Arc<Shared>, stop: CancellationToken) {
    let keeping = tokio::spawn(keep(shared.clone(), stop.clone()));
    pass(&shared, &stop).await;
    if let Err(error) = keeping.await
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

/// Takes over what was kept of breakers, then keeps what changes, in Redis.
async fn keep(shared: Arc<Shared>, stop: CancellationToken) {
    let store = KeptBreakers::new(shared.redis.clone());
    let mut taken_over = false;
    loop {
        if !taken_over {
            taken_over = take_over(&shared, &store)
                .await
                .inspect_err(|error| {
                    tracing::debug!(%error, "what is kept of breakers cannot be read yet");
                })
                .is_ok();
        } else if let Err(error) = save(&shared, &store).await {
            // What changes again is kept then.
            tracing::debug!(%error, "breakers are not kept");
        }
        tokio::select! {
            () = tokio::time::sleep(KEEP.0) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn take_over(shared: &Shared, store: &KeptBreakers) -> Result<(), RedisError> {
    let keys: Vec<AgentKey> = shared.fleet.lock().registry.iter().map(|(key, _)| key.clone()).collect();
    let names: Vec<_> = keys.iter().map(|key| (key.workspace.clone(), key.agent.clone())).collect();
    for (key, found) in keys.iter().zip(store.load(&names).await?) {
        let Some((text, ago)) = found else { continue };
        match serde_json::from_str::<Vec<(Scope, Kept)>>(&text) {
            Ok(kept) => shared.fleet.breakers_kept(key, &kept, ago),
            Err(error) => {
                tracing::warn!(agent = %key.agent, %error, "what is kept of its breakers does not read");
            }
        }
    }
    Ok(())
}

async fn save(shared: &Shared, store: &KeptBreakers) -> Result<(), RedisError> {
    let changed = shared.fleet.breakers_changed(KEEP.1);
    let text = |(agent, kept): (AgentKey, Vec<(Scope, Kept)>)| {
        let text = serde_json::to_string(&kept).map_err(|e| RedisError::Unexpected(e.to_string()))?;
        Ok((agent.workspace, agent.agent, text))
    };
    let texts: Result<Vec<_>, RedisError> = changed.into_iter().map(text).collect();
    store.save(&texts?).await
}

async fn pass(shared: &Shared, stop: &CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(moments::next(EVERY)) => {}
            () = stop.cancelled() => return,
        }
        for told in shared.fleet.breakers_tick() {
            tell(shared, told);
        }
    }
}

fn tell(shared: &Shared, told: Told) {
    let Told { agent, scope, event, status } = told;
    let Event::Transition { from, to, .. } = event else { return };
    let (before, now) = (name(from), name(to));
    let ty = match now.plain() {
        Breaker::Open => BREAKER_OPENED,
        Breaker::HalfOpen => BREAKER_HALF_OPENED,
        Breaker::Closed => BREAKER_CLOSED,
    };
    let capability = scope.as_ref().map(|scope| scope.as_str());
    let (failure_rate, slow_rate) = (status.failure_rate_percent, status.slow_rate_percent);
    tracing::info!(
        agent = %agent.agent, capability, before = before.as_str(), now = now.as_str(), failure_rate, slow_rate, "a breaker"
    );
    metrics::counter!(synod_infra::telemetry::names::BREAKER_CHANGES_TOTAL, "state" => now.as_str())
        .increment(1);
    let changed = BreakerChanged {
        agent_id: agent.agent.clone(),
        capability: scope,
        status: now,
        before,
        failure_rate,
        slow_rate,
        attempts: status.calls,
        coordinator: shared.config.id.clone(),
    };
    publish::about_agent(shared, &agent, ty, wall_clock(), &changed);
    // What an operator has done needs no evidence.
    if now == BreakerState::Open {
        if changed.capability.is_none() {
            shared.statistics.breaker_opened(&agent);
        }
        let rate = |name: &str, rate: Option<f32>| rate.map(|rate| format!("{rate:.1} % {name}"));
        let rates = [rate("failed", failure_rate), rate("slow", slow_rate)].into_iter().flatten();
        let why = format!("{} attempts, of which {}", status.calls, rates.collect::<Vec<_>>().join(", "));
        snapshots::critical(shared, &snapshots::Cause::BreakerOpened(agent, why));
    }
}

/// Whether work flows to an agent, by its breaker for all that it does.
pub(crate) fn plain(guards: &Guards, agent: &AgentKey) -> Breaker {
    guards.state(agent).map_or(Breaker::Closed, |state| name(state).plain())
}

/// How many breakers there are of each state.
pub(crate) fn counts(shared: &Shared) -> BTreeMap<&'static str, u64> {
    let mut counts: BTreeMap<&'static str, u64> =
        [BreakerState::Closed, BreakerState::Open, BreakerState::HalfOpen]
            .map(|state| (state.as_str(), 0))
            .into();
    for (state, count) in shared.fleet.lock().guards.count() {
        *counts.entry(name(state).as_str()).or_default() += count;
    }
    counts
}

fn name(state: State) -> BreakerState {
    match state {
        State::Closed => BreakerState::Closed,
        State::Open => BreakerState::Open,
        State::HalfOpen => BreakerState::HalfOpen,
        State::ForcedOpen => BreakerState::ForcedOpen,
        State::MetricsOnly | State::Disabled => BreakerState::ForcedClosed,
    }
}

/// An agent's breakers as a reader sees them.
pub(crate) fn views(guards: &Guards, agent: &AgentKey, now_ns: u64, coordinator: &Id) -> Vec<AgentBreaker> {
    let ms = |ns: u64| ns / 1_000_000;
    let view = |capability, status: Status| AgentBreaker {
        capability,
        status: name(status.state),
        since_ms: ms(now_ns.saturating_sub(status.since_ns)),
        failure_rate: status.failure_rate_percent,
        slow_rate: status.slow_rate_percent,
        attempts: status.calls,
        opened: status.attempts,
        retry_in_ms: status.open_until_ns.map(|until_ns| ms(until_ns.saturating_sub(now_ns))),
        coordinator: coordinator.clone(),
    };
    guards.of(agent, now_ns).map(|(scope, status)| view(scope.clone(), status)).collect()
}
