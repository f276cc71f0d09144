//! One coordinator's network: Kafka or Redis out of its reach, in one direction or both, for moments or for longer
//! than a produce request waits (30 s).

use super::links::{Links, To};
use super::{Scale, redis};
use crate::Trouble;
use crate::process::now_ms;
use crate::proxy::Way;
use crate::stage::Stage;
use std::time::Duration;

const GO_ON: Duration = Duration::from_secs(60);

/// What is done to a link.
#[derive(Clone, Copy, Debug)]
struct Cut {
    what: &'static str,
    up: Way,
    down: Way,
    /// Connections are reset, and none is taken, while it lasts.
    closed: bool,
    lasts: Duration,
}

const fn cut(what: &'static str, up: Way, down: Way, lasts_ms: u64) -> Cut {
    Cut { what, up, down, closed: false, lasts: Duration::from_millis(lasts_ms) }
}

/// Short ones, and long ones: for Kafka those that a produce request does not outlast.
fn cuts(scale: Scale, to: To) -> Vec<Cut> {
    use Way::{Delay, Drop, Pass, Stall};
    let slow = Delay(Duration::from_millis(80));
    let mut cuts = vec![
        cut("what goes out is held", Stall, Pass, 1_500),
        cut("what comes in is held", Pass, Stall, 1_500),
        cut("what comes in is lost", Pass, Drop, 1_500),
        cut("what goes out is lost", Drop, Pass, 1_500),
        Cut { closed: true, ..cut("connections are reset and refused", Pass, Pass, 2_000) },
    ];
    let (long_ms, closed_ms) = if to == To::Kafka { (40_000, 20_000) } else { (10_000, 10_000) };
    if scale == Scale::Long {
        cuts.extend([
            cut("each piece is 80 ms late, both ways", slow, slow, 10_000),
            cut("what goes out is held, long", Stall, Pass, long_ms),
            cut("what comes in is held, long", Pass, Stall, long_ms),
            cut("both are held, long", Stall, Stall, long_ms),
            cut("what comes in is lost, long", Pass, Drop, long_ms),
            Cut { closed: true, ..cut("connections are reset and refused, long", Pass, Pass, closed_ms) },
        ]);
    }
    cuts
}

pub(super) async fn from_kafka(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    from(stage, scale, To::Kafka).await
}

pub(super) async fn from_redis(stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
    from(stage, scale, To::Redis).await
}

async fn from(stage: &mut Stage, scale: Scale, to: To) -> Result<(), Trouble> {
    let cuts = cuts(scale, to);
    while let Some(round) = stage.round(cuts.len()) {
        let cut = cuts[round % cuts.len()];
        stage.run_for(scale.between() / 2).await?;
        let way = links(stage)?;
        if way.passed(to) == 0 {
            return Err(Trouble::wrong("nothing goes through the link that is to be cut"));
        }
        let held = if to == To::Redis { redis::held(stage).await? } else { redis::Held::new() };
        let way = links(stage)?;
        way.refuse(to, cut.closed);
        way.set(to, cut.up, cut.down);
        if cut.closed {
            way.reset(to);
        }
        stage.fault(&format!("{to:?}: {} for {:?}", cut.what, cut.lasts));
        stage.run_for(cut.lasts).await?;
        if cut.closed && to == To::Kafka {
            stage.lose_memory().await?;
        }
        let way = links(stage)?;
        way.refuse(to, false);
        way.set(to, Way::Pass, Way::Pass);
        if [cut.up, cut.down].contains(&Way::Drop) {
            way.reset(to);
        }
        stage.go_on(&format!("{to:?} is within reach again"), now_ms());
        if to == To::Redis {
            redis::again(stage, held).await?;
        }
        stage.until_going_on(GO_ON).await;
    }
    stage.run_for(scale.between()).await
}

fn links(stage: &Stage) -> Result<&Links, Trouble> {
    stage.links.as_ref().ok_or_else(|| Trouble::wrong("the stage has no links"))
}
