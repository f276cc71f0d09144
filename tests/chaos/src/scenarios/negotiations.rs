//! Negotiations go on all the time, and whoever has just given an award is killed or stopped, or whoever holds it is killed.

use super::Scale;
use super::strikes::{kill_agent, kill_owner, stop_owner};
use crate::Trouble;
use crate::stage::Stage;
use std::time::Duration;

/// An award comes within this.
const AWARDED: Duration = Duration::from_secs(30);
/// When it happens.
const WHEN: &str = "between an award and its commitment";

/// Kills and stops between an award and its commitment.
pub(super) async fn struck(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    stage.agents_died();
    while let Some(round) = stage.round(scale.of(4, 44)) {
        stage.run_for(scale.of(Duration::from_secs(1), Duration::from_secs(3))).await?;
        let award = stage.until_awarded(AWARDED).await?;
        let gave = format!("has given {} to {}", award.negotiation, award.holder);
        match round % 4 {
            0 | 2 => kill_owner(stage, award.shard, &gave, WHEN).await?,
            1 => {
                let was = format!("was given {}", award.negotiation);
                kill_agent(stage, award.holder.as_str(), &was, WHEN).await?;
            }
            _ => stop_owner(stage, award.shard, &gave, WHEN).await?,
        }
    }
    stage.run_for(scale.between()).await
}
