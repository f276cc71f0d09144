//! Agents die in crowds, and clients repeat themselves.

use super::Scale;
use crate::Trouble;
use crate::process::now_ms;
use crate::stage::Stage;
use futures::future::try_join_all;
use std::time::Duration;

/// All agents but a few are killed in one moment; as many come anew.
pub(super) async fn killed(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    for _ in 0..scale.of(1, 4) {
        let count = stage.agents.len() as u32;
        stage.run_for(scale.between()).await?;
        let mut agents = std::mem::take(&mut stage.agents);
        let at = now_ms();
        try_join_all(agents.iter_mut().map(|agent| agent.kill())).await?;
        stage.fault(&format!("SIGKILL of all {count} agents"));
        stage.go_on("SIGKILL of all agents", at);
        stage.run_for(Duration::from_secs(4)).await?;
        stage.hire(count).await?;
        stage.until_ended(100, Duration::from_secs(40)).await?;
    }
    stage.run_for(scale.between()).await
}

/// The client is the fault.
pub(super) async fn thrice(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    stage.fault("each command comes three times");
    stage.run_for(scale.of(Duration::from_secs(8), Duration::from_secs(60))).await
}
