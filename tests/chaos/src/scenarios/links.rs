//! The ways of one coordinator to Kafka and Redis, in the harness' hand.

use crate::Trouble;
use crate::ground::Ground;
use crate::proxy::{Link, Way};

/// Where a broker's second listener and its proxy are, above its port (`scripts/services`).
const SECOND: u16 = 10;
const ADVERTISED: u16 = 13;

/// One link per broker, and one to Redis.
#[derive(Debug)]
pub(crate) struct Links {
    brokers: Vec<Link>,
    to_redis: Link,
    /// The brokers, as seen through them.
    pub(crate) kafka: String,
    /// Redis, as seen through it.
    pub(crate) redis: String,
}

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Kafka,
    Redis,
}

impl Links {
    pub(crate) async fn open(ground: &Ground) -> Result<Links, Trouble> {
        let mut brokers = Vec::new();
        let mut addresses = Vec::new();
        for n in 0..ground.brokers as u16 {
            let port = ground.kafka_port() + n;
            let (link, at) = Link::open(port + ADVERTISED, port + SECOND).await?;
            brokers.push(link);
            addresses.push(format!("127.0.0.1:{at}"));
        }
        let (to_redis, at) = Link::open(0, ground.redis_port()).await?;
        let redis = format!("redis://127.0.0.1:{at}/");
        Ok(Links { brokers, to_redis, kafka: addresses.join(","), redis })
    }

    fn of(&self, to: To) -> &[Link] {
        match to {
            To::Kafka => &self.brokers,
            To::Redis => std::slice::from_ref(&self.to_redis),
        }
    }

    pub(crate) fn set(&self, to: To, up: Way, down: Way) {
        self.of(to).iter().for_each(|link| link.set(up, down));
    }

    pub(crate) fn refuse(&self, to: To, refuses: bool) {
        self.of(to).iter().for_each(|link| link.refuse(refuses));
    }

    pub(crate) fn reset(&self, to: To) {
        self.of(to).iter().for_each(Link::reset);
    }

    /// Bytes passed so far.
    pub(crate) fn passed(&self, to: To) -> u64 {
        self.of(to).iter().map(Link::passed).sum()
    }
}
