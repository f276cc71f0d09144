//! Redis is the working memory: it may forget anything at any moment.

use super::Scale;
use crate::Trouble;
use crate::process::now_ms;
use crate::stage::Stage;
use std::path::Path;
use std::time::Duration;

/// Shards go on without Redis; what is measured is the time to the next step after it is back.
const GO_ON: Duration = Duration::from_secs(20);

pub(super) async fn wiped(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    for _ in 0..scale.of(5, 25) {
        stage.run_for(scale.between() / 2).await?;
        stage.wiped();
        let at = now_ms();
        stage.ground.redis(&["FLUSHALL"]).await?;
        stage.fault("FLUSHALL");
        stage.go_on("Redis: FLUSHALL", at);
        stage.until_ended(50, GO_ON).await?;
    }
    stage.run_for(scale.between()).await
}

pub(super) async fn killed(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    for _ in 0..scale.of(2, 8) {
        stage.run_for(scale.between()).await?;
        // Up to a second of what it was told is not in its file.
        stage.wiped();
        stage.ground.act(&["kill", "redis"]).await?;
        stage.fault("SIGKILL Redis");
        stage.run_for(scale.of(Duration::from_secs(1), Duration::from_secs(4))).await?;
        back(stage, "Redis is back after SIGKILL").await?;
    }
    stage.run_for(scale.between()).await
}

pub(super) async fn old(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    for round in 0..scale.of(1, 6) {
        stage.run_for(scale.between()).await?;
        stage.ground.act(&["stop", "redis"]).await?;
        let kept = stage.ground.redis_data().with_extension(format!("kept{round}"));
        copy(&stage.ground.redis_data(), &kept)?;
        stage.ground.act(&["start", "redis"]).await?;
        stage.run_for(scale.between()).await?;
        stage.wiped();
        stage.ground.act(&["kill", "redis"]).await?;
        stage.fault("SIGKILL Redis; its file becomes one of some time ago");
        std::fs::remove_dir_all(stage.ground.redis_data())?;
        copy(&kept, &stage.ground.redis_data())?;
        back(stage, "Redis is back with an old file").await?;
    }
    stage.run_for(scale.between()).await
}

pub(super) async fn empty(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    for _ in 0..scale.of(2, 8) {
        stage.run_for(scale.between()).await?;
        stage.wiped();
        stage.ground.act(&["kill", "redis"]).await?;
        stage.fault("SIGKILL Redis; its file is gone");
        std::fs::remove_dir_all(stage.ground.redis_data())?;
        back(stage, "Redis is back with nothing").await?;
    }
    stage.run_for(scale.between()).await
}

pub(super) async fn full(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    for _ in 0..scale.of(2, 8) {
        stage.run_for(scale.between()).await?;
        stage.ground.redis(&["CONFIG", "SET", "maxmemory", "1mb"]).await?;
        stage.fault("Redis refuses every write: maxmemory 1 MB");
        stage.run_for(scale.of(Duration::from_secs(3), Duration::from_secs(8))).await?;
        let at = now_ms();
        stage.ground.redis(&["CONFIG", "SET", "maxmemory", "1gb"]).await?;
        stage.go_on("Redis takes writes again", at);
        stage.until_ended(50, GO_ON).await?;
    }
    stage.run_for(scale.between()).await
}

async fn back(stage: &mut Stage, what: &str) -> Result<(), Trouble> {
    stage.ground.act(&["start", "redis"]).await?;
    stage.go_on(what, now_ms());
    stage.until_ended(50, GO_ON).await
}

fn copy(from: &Path, to: &Path) -> Result<(), Trouble> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &to)?,
            false => std::fs::copy(entry.path(), to).map(drop)?,
        }
    }
    Ok(())
}
