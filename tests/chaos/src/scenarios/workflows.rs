//! Runs of workflows go on all the time, and at their turns whoever owns them is killed or stopped, whoever holds a step is
//! killed, or Redis is.

use super::Scale;
use super::strikes::{kill_agent, kill_owner, stop_owner};
use crate::Trouble;
use crate::process::now_ms;
use crate::stage::Stage;
use crate::verify::Turn;
use std::time::Duration;

/// A turn comes within this.
const TURNED: Duration = Duration::from_secs(30);
/// Shards go on without Redis, and with it again within this.
const GO_ON: Duration = Duration::from_secs(30);

/// Each kind of strike in turn; every sixth falls at no turn at all.
pub(super) async fn struck(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    stage.agents_died();
    while let Some(round) = stage.round(scale.of(6, 48)) {
        stage.run_for(scale.of(Duration::from_secs(1), Duration::from_secs(3))).await?;
        let (turn, when) = match round % 6 {
            0 | 5 => (Turn::Asked, "while people are asked"),
            1 | 4 => (Turn::Given, "while a step is under way"),
            _ => (Turn::Completed, "right after a step"),
        };
        let turned = stage.until_turned(turn, TURNED).await?;
        let (shard, what) = (turned.shard, &turned.what);
        match round % 6 {
            0 => kill_owner(stage, shard, &format!("has asked {what}"), when).await?,
            1 => {
                let holder = turned.holder.as_deref().unwrap_or_default();
                kill_agent(stage, holder, &format!("was given {what}"), when).await?;
            }
            2 => stop_owner(stage, shard, &format!("has completed {what}"), when).await?,
            3 => kill_owner(stage, shard, &format!("has completed {what}"), when).await?,
            4 => kill_redis(stage, scale, "while steps are under way").await?,
            _ => {
                // Nobody asked for this moment.
                stage.run_for(Duration::from_millis(100 + 37 * round as u64 % 400)).await?;
                kill_owner(stage, shard, "has runs under way", "at any moment").await?;
            }
        }
    }
    stage.run_for(scale.between()).await
}

async fn kill_redis(stage: &mut Stage, scale: Scale, when: &str) -> Result<(), Trouble> {
    // Up to a second of what it was told is not in its file.
    stage.wiped();
    stage.ground.act(&["kill", "redis"]).await?;
    stage.fault(&format!("SIGKILL Redis {when}"));
    stage.run_for(scale.of(Duration::from_secs(1), Duration::from_secs(3))).await?;
    stage.ground.act(&["start", "redis"]).await?;
    stage.go_on("Redis is back after SIGKILL", now_ms());
    stage.until_going_on(GO_ON).await;
    Ok(())
}
