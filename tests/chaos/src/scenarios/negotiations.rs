//! Negotiations go on all the time, and whoever has just given an award is killed or stopped, or whoever holds it is killed.

use super::Scale;
use crate::Trouble;
use crate::process::now_ms;
use crate::stage::{READY, Stage};
use crate::verify::Awarded;
use std::time::Duration;

/// An award comes within this.
const AWARDED: Duration = Duration::from_secs(30);
/// A take-over that takes longer is told as not having come.
const TAKE_OVER: Duration = Duration::from_secs(30);
/// Longer than a lease.
const PAST_THE_LEASE: Duration = Duration::from_secs(4);

/// Kills and stops between an award and its commitment.
pub(super) async fn struck(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    stage.agents_died();
    while let Some(round) = stage.round(scale.of(4, 44)) {
        stage.run_for(scale.of(Duration::from_secs(1), Duration::from_secs(3))).await?;
        let award = stage.until_awarded(AWARDED).await?;
        match round % 4 {
            0 | 2 => kill_owner(stage, &award).await?,
            1 => kill_holder(stage, &award).await?,
            _ => stop_owner(stage, &award).await?,
        }
    }
    stage.run_for(scale.between()).await
}

async fn kill_owner(stage: &mut Stage, award: &Awarded) -> Result<(), Trouble> {
    let Some(n) = owner(stage, award) else { return Ok(()) };
    let victim = stage.coordinators[n].id();
    let at = stage.coordinators[n].kill().await?;
    stage.fault(&format!("SIGKILL {victim}, which has given {} to {}", award.negotiation, award.holder));
    stage.take_over("SIGKILL of a coordinator between an award and its commitment", at, victim);
    stage.until_going_on(TAKE_OVER).await;
    stage.coordinators[n].start()?;
    stage.coordinators[n].ready(READY).await
}

async fn stop_owner(stage: &mut Stage, award: &Awarded) -> Result<(), Trouble> {
    let Some(n) = owner(stage, award) else { return Ok(()) };
    let victim = stage.coordinators[n].id();
    let at = stage.coordinators[n].stop()?;
    stage.fault(&format!("SIGSTOP {victim}, which has given {} to {}", award.negotiation, award.holder));
    stage.take_over("SIGSTOP of a coordinator between an award and its commitment", at, victim);
    stage.run_for(PAST_THE_LEASE).await?;
    stage.until_going_on(TAKE_OVER).await;
    stage.coordinators[n].go_on()?;
    stage.fault("SIGCONT");
    stage.run_for(Duration::from_secs(1)).await
}

async fn kill_holder(stage: &mut Stage, award: &Awarded) -> Result<(), Trouble> {
    let holder = stage.agents.iter().position(|agent| agent.name == award.holder.as_str());
    let Some(n) = holder else { return Ok(()) };
    let mut agent = stage.agents.remove(n);
    agent.kill().await?;
    stage.fault(&format!("SIGKILL {}, which was given {}", award.holder, award.negotiation));
    stage.go_on("SIGKILL of an agent between its award and its commitment", now_ms());
    stage.hire(1).await
}

/// Which coordinator has the shard of this award.
fn owner(stage: &Stage, award: &Awarded) -> Option<usize> {
    let owner = stage.owner_of(award.shard)?;
    stage.coordinators.iter().position(|coordinator| coordinator.id() == owner)
}
