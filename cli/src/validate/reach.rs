//! The three endpoints are there.

use super::{Site, Verdict, held};
use crate::validate::Broken;
use std::time::Duration;
use synod_protocol::topics;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

pub(super) async fn http(site: &Site) -> Verdict {
    site.api.get("/readyz", &[], Duration::ZERO).await?;
    held(format!("{} is ready", site.api.url()))
}

pub(super) async fn kafka(site: &Site) -> Verdict {
    let partitions = site.readers.partitions(topics::COMMANDS, ANSWER_WITHIN).await?;
    match partitions {
        Some(partitions) => held(format!("{} has {partitions} shards", site.ground.dialling.kafka.brokers)),
        None => Err(Broken::promise(format!("there is no topic {}", topics::COMMANDS))),
    }
}

pub(super) async fn redis(site: &Site) -> Verdict {
    site.redis.ready().await?;
    held(format!("{} answers", site.redis.endpoint()))
}
