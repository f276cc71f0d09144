//! Strikes at a moment that the ledger tells: at whoever owns a shard just then, or at whoever holds something.

use crate::Trouble;
use crate::process::now_ms;
use crate::stage::{READY, Stage};
use std::time::Duration;

/// A take-over that takes longer is told as not having come.
const TAKE_OVER: Duration = Duration::from_secs(30);
/// Longer than a lease.
const PAST_THE_LEASE: Duration = Duration::from_secs(4);

/// SIGKILL of the owner of a shard; another takes over, then it is started again. `of`: what it has just done, `when` the same for
/// all such strikes.
pub(super) async fn kill_owner(stage: &mut Stage, shard: u32, of: &str, when: &str) -> Result<(), Trouble> {
    let Some(n) = owner(stage, shard) else { return Ok(()) };
    let victim = stage.coordinators[n].id();
    let at = stage.coordinators[n].kill().await?;
    stage.fault(&format!("SIGKILL {victim}, which {of}"));
    stage.take_over(&format!("SIGKILL of a coordinator {when}"), at, victim);
    stage.until_going_on(TAKE_OVER).await;
    stage.coordinators[n].start()?;
    stage.coordinators[n].ready(READY).await
}

/// SIGSTOP of the owner of a shard past its lease; another takes over, then it goes on.
pub(super) async fn stop_owner(stage: &mut Stage, shard: u32, of: &str, when: &str) -> Result<(), Trouble> {
    let Some(n) = owner(stage, shard) else { return Ok(()) };
    let victim = stage.coordinators[n].id();
    let at = stage.coordinators[n].stop()?;
    stage.fault(&format!("SIGSTOP {victim}, which {of}"));
    stage.take_over(&format!("SIGSTOP of a coordinator {when}"), at, victim);
    stage.run_for(PAST_THE_LEASE).await?;
    stage.until_going_on(TAKE_OVER).await;
    stage.coordinators[n].go_on()?;
    stage.fault("SIGCONT");
    stage.run_for(Duration::from_secs(1)).await
}

/// SIGKILL of an agent; another comes for it.
pub(super) async fn kill_agent(stage: &mut Stage, name: &str, of: &str, when: &str) -> Result<(), Trouble> {
    let Some(n) = stage.agents.iter().position(|agent| agent.name == name) else { return Ok(()) };
    let mut agent = stage.agents.remove(n);
    agent.kill().await?;
    stage.fault(&format!("SIGKILL {name}, which {of}"));
    stage.go_on(&format!("SIGKILL of an agent {when}"), now_ms());
    stage.hire(1).await
}

/// Which coordinator has a shard.
fn owner(stage: &Stage, shard: u32) -> Option<usize> {
    let owner = stage.owner_of(shard)?;
    stage.coordinators.iter().position(|coordinator| coordinator.id() == owner)
}
