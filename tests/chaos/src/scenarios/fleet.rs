//! Agents die in crowds, and clients repeat themselves.

use super::Scale;
use crate::Trouble;
use crate::plan::Off;
use crate::process::now_ms;
use crate::stage::Stage;
use futures::future::try_join_all;
use nix::sys::signal::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use synod_infra::redis::presence::{Heartbeats, PresenceHold};
use synod_infra::redis::{Redis, RedisConfig};

/// All agents but a few are killed in one moment; as many come anew.
pub(super) async fn killed(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    while stage.round(scale.of(1, 4)).is_some() {
        let count = stage.agents.len() as u32;
        stage.run_for(scale.between()).await?;
        if stage.off == Some(Off::Loss) {
            ghosts(stage).await?;
        }
        let mut agents = std::mem::take(&mut stage.agents);
        let at = now_ms();
        stage.agents_died();
        try_join_all(agents.iter_mut().map(|agent| agent.kill())).await?;
        stage.fault(&format!("SIGKILL of all {count} agents"));
        stage.go_on("SIGKILL of all agents", at);
        stage.run_for(Duration::from_secs(4)).await?;
        stage.hire(count).await?;
        stage.until_ended(100, Duration::from_secs(40)).await?;
    }
    stage.run_for(scale.between()).await
}

/// The guard that is off: every agent that there is now goes on beating and being present, dead or not.
async fn ghosts(stage: &mut Stage) -> Result<(), Trouble> {
    let redis = Redis::new(RedisConfig::new(&stage.ground.redis)).map_err(Trouble::wrong)?;
    let heartbeats = Heartbeats::new(redis.clone());
    let mut beats = heartbeats.beats().await.map_err(Trouble::wrong)?;
    let present: Vec<PresenceHold> = beats
        .iter()
        .map(|b| PresenceHold::start(redis.clone(), &b.workspace, &b.agent_id, &b.incarnation))
        .collect();
    stage.fault(&format!("{} agents become ghosts", present.len()));
    stage.beside.spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(400));
        loop {
            tick.tick().await;
            for beat in &mut beats {
                beat.beat += 1_000;
                if let Err(error) = heartbeats.beat(beat, None).await {
                    eprintln!("a ghost: {error}");
                }
            }
            // They are present for as long as this runs.
            let _ = &present;
        }
    });
    Ok(())
}

/// Threads that do nothing but count, until they are dropped.
struct Busy {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Busy {
    fn start(threads: usize) -> Busy {
        let stop = Arc::new(AtomicBool::new(false));
        let busy = || {
            let stop = stop.clone();
            std::thread::spawn(move || while !stop.load(Ordering::Relaxed) {})
        };
        let threads = (0..threads).map(|_| busy()).collect();
        Busy { stop, threads }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It cannot have panicked: it only counts.
            let _ = thread.join();
        }
    }
}

/// Nobody gets the processor when he wants it, and nobody is to be taken for dead by that.
pub(super) async fn cpu_full(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    stage.agents_live();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let busy = Busy::start(2 * cores);
    stage.fault(&format!("{} threads keep {cores} cores busy", 2 * cores));
    if stage.off == Some(Off::Life) {
        stage.agents[0].signal(Signal::SIGSTOP)?;
        stage.run_for(Duration::from_secs(8)).await?;
        stage.agents[0].signal(Signal::SIGCONT)?;
    }
    stage.run_for(scale.of(Duration::from_secs(20), Duration::from_secs(600))).await?;
    drop(busy);
    Ok(())
}

/// The client is the fault.
pub(super) async fn thrice(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    stage.fault("each command comes three times");
    while stage.round(scale.of(1, 6)).is_some() {
        stage.run_for(scale.of(Duration::from_secs(8), Duration::from_secs(10))).await?;
    }
    Ok(())
}
