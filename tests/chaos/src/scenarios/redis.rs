//! Redis is the working memory: it may forget anything at any moment.

use super::Scale;
use crate::Trouble;
use crate::plan::Off;
use crate::process::now_ms;
use crate::stage::Stage;
use std::path::Path;
use std::time::Duration;

/// Shards go on without Redis; what is measured is the time to the next step after it is back.
const GO_ON: Duration = Duration::from_secs(20);

/// What agents have taken and not settled: an inbox and the bodies that came out of it.
pub(super) type Held = Vec<(String, Vec<String>)>;

/// What agents hold just now. Each of these scenarios hands it out once more after its fault, as a delivery does that
/// was repeated because its answer was lost: an agent has to know what it has had.
pub(super) async fn held(stage: &Stage) -> Result<Held, Trouble> {
    let keys = stage.ground.redis(&["KEYS", "synod:*:taken:*"]).await?;
    let mut held = Held::new();
    for key in keys.lines() {
        let bodies = stage.ground.redis(&["LRANGE", key, "0", "-1"]).await?;
        let bodies: Vec<String> = bodies.lines().map(str::to_owned).collect();
        if let Some((agent, _)) = key.split_once(":taken:")
            && !bodies.is_empty()
        {
            held.push((format!("{agent}:inbox"), bodies));
        }
    }
    Ok(held)
}

/// Hands it out again.
pub(super) async fn again(stage: &mut Stage, held: Held) -> Result<(), Trouble> {
    let count: usize = held.iter().map(|(_, bodies)| bodies.len()).sum();
    stage.fault(&format!("{count} deliveries come again"));
    for (inbox, bodies) in held {
        let words: Vec<&str> =
            ["RPUSH", &inbox].into_iter().chain(bodies.iter().map(String::as_str)).collect();
        stage.ground.redis(&words).await?;
    }
    Ok(())
}

pub(super) async fn wiped(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    while stage.round(scale.of(5, 25)).is_some() {
        stage.run_for(scale.between() / 2).await?;
        let held = held(stage).await?;
        stage.wiped();
        let at = now_ms();
        stage.ground.redis(&["FLUSHALL"]).await?;
        stage.fault("FLUSHALL");
        stage.go_on("Redis: FLUSHALL", at);
        again(stage, held).await?;
        stage.until_ended(50, GO_ON).await?;
    }
    stage.run_for(scale.between()).await
}

pub(super) async fn killed(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    while stage.round(scale.of(2, 6)).is_some() {
        stage.run_for(scale.between()).await?;
        let held = held(stage).await?;
        // Up to a second of what it was told is not in its file.
        stage.wiped();
        stage.ground.act(&["kill", "redis"]).await?;
        stage.fault("SIGKILL Redis");
        stage.run_for(scale.of(Duration::from_secs(1), Duration::from_secs(4))).await?;
        back(stage, "Redis is back after SIGKILL", held).await?;
    }
    stage.run_for(scale.between()).await
}

pub(super) async fn old(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    while let Some(round) = stage.round(scale.of(1, 6)) {
        stage.run_for(scale.between()).await?;
        stage.ground.act(&["stop", "redis"]).await?;
        let kept = stage.ground.redis_data().with_extension(format!("kept{round}"));
        copy(&stage.ground.redis_data(), &kept)?;
        stage.ground.act(&["start", "redis"]).await?;
        stage.run_for(scale.between()).await?;
        let held = held(stage).await?;
        stage.wiped();
        stage.ground.act(&["kill", "redis"]).await?;
        stage.fault("SIGKILL Redis; its file becomes one of some time ago");
        std::fs::remove_dir_all(stage.ground.redis_data())?;
        copy(&kept, &stage.ground.redis_data())?;
        back(stage, "Redis is back with an old file", held).await?;
    }
    stage.run_for(scale.between()).await
}

pub(super) async fn empty(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    while stage.round(scale.of(2, 6)).is_some() {
        stage.run_for(scale.between()).await?;
        let held = held(stage).await?;
        stage.wiped();
        stage.ground.act(&["kill", "redis"]).await?;
        stage.fault("SIGKILL Redis; its file is gone");
        std::fs::remove_dir_all(stage.ground.redis_data())?;
        back(stage, "Redis is back with nothing", held).await?;
    }
    stage.run_for(scale.between()).await
}

pub(super) async fn full(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    // The guard that is off: what refuses everything refuses what agents beat with, and the coordinator's own
    // writes pass. Long enough for agents to be lost, registered anew and lost again: three losses end a task.
    let canary_off = stage.off == Some(Off::Canary);
    let (full, enough, what): (&[&str], &[&str], _) = match canary_off {
        true => (
            &["ACL", "SETUSER", "default", "-hset", "-eval", "-evalsha"],
            &["ACL", "SETUSER", "default", "+hset", "+eval", "+evalsha"],
            "Redis refuses heartbeats and scripts, and takes other writes",
        ),
        false => (
            &["CONFIG", "SET", "maxmemory", "1mb"],
            &["CONFIG", "SET", "maxmemory", "1gb"],
            "Redis refuses every write: maxmemory 1 MB",
        ),
    };
    while stage.round(scale.of(2, 6)).is_some() {
        stage.run_for(scale.between()).await?;
        let held = held(stage).await?;
        stage.ground.redis(full).await?;
        stage.fault(what);
        let lasts = scale.of(Duration::from_secs(4), Duration::from_secs(8));
        stage.run_for(if canary_off { 5 * lasts } else { lasts }).await?;
        let at = now_ms();
        stage.ground.redis(enough).await?;
        stage.go_on("Redis takes writes again", at);
        again(stage, held).await?;
        stage.until_ended(50, GO_ON).await?;
    }
    stage.run_for(scale.between()).await
}

async fn back(stage: &mut Stage, what: &str, held: Held) -> Result<(), Trouble> {
    stage.ground.act(&["start", "redis"]).await?;
    stage.go_on(what, now_ms());
    again(stage, held).await?;
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
