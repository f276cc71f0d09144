//! Coordinators die, stand still, and are replaced.

use super::Scale;
use crate::Trouble;
use crate::plan::Off;
use crate::process::now_ms;
use crate::stage::{READY, Stage};
use futures::future::try_join_all;
use std::time::Duration;
use tokio::time::Instant;

/// Longer than a lease (3 s) and than what is waited for when one ends.
const PAST_THE_LEASE: Duration = Duration::from_secs(6);
/// A take-over that takes longer is told as not having come.
const TAKE_OVER: Duration = Duration::from_secs(30);

/// The only one, killed and started again at once.
pub(super) async fn killed(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    while stage.round(scale.of(3, 10)).is_some() {
        stage.run_for(scale.between()).await?;
        let victim = stage.coordinators[0].id();
        let at = stage.coordinators[0].kill().await?;
        stage.fault(&format!("SIGKILL {victim}"));
        if stage.off.is_some() {
            // Long enough for a client that hopes to be wrong.
            stage.run_for(Duration::from_secs(1)).await?;
        }
        stage.coordinators[0].start()?;
        stage.take_over("SIGKILL of the only coordinator, started again at once", at, victim);
        stage.until_going_on(TAKE_OVER).await;
    }
    stage.run_for(scale.between()).await
}

/// One after the other, the others stay.
pub(super) async fn one_of_three(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    while let Some(round) = stage.round(scale.of(3, 12)) {
        stage.run_for(scale.between()).await?;
        let n = round % stage.coordinators.len();
        let victim = stage.coordinators[n].id();
        let at = stage.coordinators[n].kill().await?;
        stage.fault(&format!("SIGKILL {victim}"));
        stage.take_over("SIGKILL of one of three coordinators", at, victim);
        stage.until_going_on(TAKE_OVER).await;
        stage.coordinators[n].start()?;
        stage.coordinators[n].ready(READY).await?;
    }
    stage.run_for(scale.between()).await
}

/// SIGSTOP, take-over by the other, SIGCONT.
pub(super) async fn stopped(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    while let Some(round) = stage.round(scale.of(2, 6)) {
        stage.run_for(scale.between()).await?;
        let n = round % stage.coordinators.len();
        let victim = stage.coordinators[n].id();
        let at = stop(stage, n).await?;
        stage.take_over("SIGSTOP of one of two coordinators", at, victim);
        run_for(stage, PAST_THE_LEASE).await?;
        stage.until_going_on(TAKE_OVER).await;
        go_on(stage, n).await?;
    }
    stage.run_for(scale.between()).await
}

/// SIGSTOP, take-over by the other, FLUSHALL, SIGCONT: what the deposed one still sends meets inboxes that have heard
/// nothing.
pub(super) async fn stopped_and_wiped(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    while let Some(round) = stage.round(scale.of(2, 6)) {
        stage.run_for(scale.between()).await?;
        let n = round % stage.coordinators.len();
        let victim = stage.coordinators[n].id();
        let at = stop(stage, n).await?;
        stage.take_over("SIGSTOP of one of two coordinators", at, victim);
        run_for(stage, PAST_THE_LEASE).await?;
        stage.until_going_on(TAKE_OVER).await;
        stage.wiped();
        stage.ground.redis(&["FLUSHALL"]).await?;
        stage.fault("FLUSHALL");
        go_on(stage, n).await?;
        stage.go_on("FLUSHALL, then SIGCONT", now_ms());
        stage.until_going_on(TAKE_OVER).await;
        stage.until_ended(50, TAKE_OVER).await?;
    }
    stage.run_for(scale.between()).await
}

/// SIGSTOP at a moment when it has much to say to agents that it cannot say just then, and will when it goes on.
async fn stop(stage: &mut Stage, n: usize) -> Result<i64, Trouble> {
    let pause = Duration::from_millis(400);
    stage.ground.redis(&["CLIENT", "PAUSE", &pause.as_millis().to_string()]).await?;
    stage.run_for(pause * 3 / 4).await?;
    let at = stage.coordinators[n].stop()?;
    stage.fault(&format!("SIGSTOP {}", stage.coordinators[n].id()));
    Ok(at)
}

/// SIGCONT, and the second after it.
async fn go_on(stage: &mut Stage, n: usize) -> Result<(), Trouble> {
    stage.coordinators[n].go_on()?;
    stage.fault("SIGCONT");
    run_for(stage, Duration::from_secs(1)).await
}

/// Lets the load run. Where that guard is off, inboxes know neither epochs nor attempts meanwhile, for long.
async fn run_for(stage: &mut Stage, time: Duration) -> Result<(), Trouble> {
    if stage.off != Some(Off::Inboxes) {
        return stage.run_for(time).await;
    }
    let script = "for _, k in ipairs(redis.call('KEYS', 'synod:*:guard')) do redis.call('DEL', k) end \
                  for _, k in ipairs(redis.call('KEYS', 'synod:*:seen')) do redis.call('DEL', k) end return 1";
    let until = Instant::now() + time;
    while Instant::now() < until {
        stage.ground.redis(&["EVAL", script, "0"]).await?;
        stage.run_for(Duration::from_millis(50)).await?;
    }
    Ok(())
}

/// SIGTERM, start, the next.
pub(super) async fn rolling(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    while let Some(round) = stage.round(scale.of(3, 12)) {
        stage.run_for(scale.between()).await?;
        let n = round % stage.coordinators.len();
        let leaver = stage.coordinators[n].id();
        let at = stage.coordinators[n].end().await?;
        stage.fault(&format!("SIGTERM {leaver}"));
        stage.take_over("SIGTERM of one of three coordinators", at, leaver);
        stage.coordinators[n].start()?;
        stage.coordinators[n].ready(READY).await?;
        stage.until_going_on(TAKE_OVER).await;
    }
    stage.run_for(scale.between()).await
}

/// One lives an hour ahead; it is killed, comes back an hour behind, and shards go from one clock to the other.
pub(super) async fn clock_off(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    while let Some(round) = stage.round(scale.of(2, 4)) {
        let hours = if round % 2 == 0 { 1 } else { -1 };
        let victim = stage.coordinators[0].id();
        let at = stage.coordinators[0].kill().await?;
        stage.take_over("SIGKILL of a coordinator; the other's clock is right", at, victim);
        stage.coordinators[0].clock_off(hours);
        stage.until_going_on(TAKE_OVER).await;
        stage.coordinators[0].start()?;
        stage.fault(&format!("a coordinator joins whose clock is {hours:+} h off"));
        stage.coordinators[0].ready(READY).await?;
        stage.run_for(scale.between()).await?;
        let other = stage.coordinators[1].id();
        let at = stage.coordinators[1].kill().await?;
        stage.fault(&format!("SIGKILL {other}"));
        stage.take_over("SIGKILL of a coordinator; the other's clock is an hour off", at, other);
        stage.until_going_on(TAKE_OVER).await;
        stage.run_for(scale.between()).await?;
        stage.coordinators[1].start()?;
        try_join_all(stage.coordinators.iter_mut().map(|c| c.ready(READY))).await?;
        stage.run_for(scale.between()).await?;
    }
    Ok(())
}
