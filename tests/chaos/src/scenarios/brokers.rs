//! Brokers die, one or all, and run out of disk.

use super::Scale;
use crate::Trouble;
use crate::plan::Off;
use crate::process::now_ms;
use crate::stage::Stage;
use std::time::Duration;

/// An election takes a broker's session, and a producer some tries more.
const GO_ON: Duration = Duration::from_secs(60);

/// Each of three in turn, which leads some shards and follows in the others.
pub(super) async fn killed(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    // Without copies the first broker's end is the end of its shards.
    let rounds = if stage.off.is_some() { 1 } else { scale.of(3, 4) };
    while let Some(round) = stage.round(rounds) {
        stage.run_for(scale.between()).await?;
        let broker = round as u32 % 3 + 1;
        let n = broker.to_string();
        stage.ground.act(&["kill", "kafka", &n]).await?;
        stage.fault(&format!("SIGKILL broker {n} of 3"));
        stage.go_on("SIGKILL of one of three brokers", now_ms());
        if stage.off == Some(Off::Copies) {
            // The only copy of what this broker led.
            let data = stage.ground.broker(broker).join("data");
            for entry in std::fs::read_dir(data)? {
                let entry = entry?;
                if entry.file_name().to_string_lossy().starts_with("synod.ledger.v1-") {
                    std::fs::remove_dir_all(entry.path())?;
                }
            }
        } else {
            stage.until_going_on(GO_ON).await;
        }
        stage.run_for(scale.between()).await?;
        stage.ground.act(&["start", "kafka", &n]).await?;
        stage.fault(&format!("broker {n} is back"));
        stage.go_on("a broker is back", now_ms());
        stage.until_going_on(if stage.off.is_some() { GO_ON / 6 } else { GO_ON }).await;
    }
    stage.run_for(scale.between()).await
}

/// All of them at once.
pub(super) async fn gone(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    while stage.round(scale.of(1, 3)).is_some() {
        stage.run_for(scale.between()).await?;
        stage.ground.act(&["kill", "kafka"]).await?;
        let away = scale.of(Duration::from_secs(8), Duration::from_secs(30));
        stage.fault(&format!("SIGKILL of all brokers for {away:?}"));
        stage.run_for(away / 2).await?;
        stage.lose_memory().await?;
        stage.run_for(away / 2).await?;
        stage.ground.act(&["start", "kafka"]).await?;
        stage.go_on("all brokers are back", now_ms());
        stage.until_going_on(GO_ON).await;
    }
    stage.run_for(scale.between()).await
}

/// A file takes what is left of the disk under the log, until the broker gives up; then the disk has room again.
pub(super) async fn disk_full(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    while stage.round(scale.of(1, 3)).is_some() {
        stage.run_for(scale.between()).await?;
        let ballast = stage.ground.broker(1).join("data/ballast");
        // As much as there is room for; that it ends with an error is the point.
        let filled = std::fs::File::create(&ballast)
            .and_then(|mut file| std::io::copy(&mut std::io::repeat(0), &mut file));
        if filled.is_ok() {
            return Err(Trouble::wrong("a disk without an end"));
        }
        stage.fault("the disk under the broker's log is full");
        stage.run_for(scale.of(Duration::from_secs(5), Duration::from_secs(15))).await?;
        stage.lose_memory().await?;
        std::fs::remove_file(ballast)?;
        // It may have ended by itself, or run on without its log: either way it is started anew.
        stage.ground.act(&["kill", "kafka"]).await?;
        stage.ground.act(&["start", "kafka"]).await?;
        stage.go_on("the disk has room again and the broker is back", now_ms());
        stage.until_going_on(GO_ON).await;
    }
    stage.run_for(scale.between()).await
}
