//! A subscription that stands: made anew whenever it breaks, checked while it is silent, moved with the master.
//!
//! ```text
//! SUBSCRIBE --> Stands --> Said, Said … --broke | no PONG | another master--> Broke --> SUBSCRIBE
//! ```

use super::config::RedisConfig;
use super::error::RedisError;
use super::link::Backoff;
use super::place::Place;
use futures::StreamExt;
use redis::Value;
use redis::aio::PubSub;
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// For so long after a break the subscription is asked for again at short intervals: whoever is away for longer than
/// a fifth of a second is taken for dead.
const AT_FIRST: Duration = Duration::from_millis(400);
/// The interval then.
const AGAIN_AT_FIRST: Duration = Duration::from_millis(15);
/// A silent subscription is checked this often, for a connection that died without a word.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// What a listener hears.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heard<'a> {
    /// The subscription stands; what was said before may have been missed.
    Stands,
    /// Somebody said this.
    Said {
        /// On which channel.
        channel: &'a str,
        /// What.
        text: &'a str,
    },
    /// The subscription is gone.
    Broke,
}

/// How to reach the server for a subscription.
#[derive(Clone)]
pub(crate) struct Listener {
    pub(crate) place: Place,
    pub(crate) config: RedisConfig,
}

impl Listener {
    /// Listens on these channels until dropped.
    pub(crate) async fn listen(self, channels: Vec<String>, mut tell: impl FnMut(Heard<'_>)) -> Infallible {
        let (mut backoff, mut broke) = (Backoff::default(), Instant::now());
        loop {
            match self.subscribe(&channels).await {
                Ok(subscription) => {
                    backoff.reset();
                    tell(Heard::Stands);
                    self.hear(subscription, &mut tell).await;
                    tell(Heard::Broke);
                    broke = Instant::now();
                    tracing::debug!(?channels, "a subscription broke");
                }
                Err(error) => {
                    self.config.heed(&error);
                    tracing::debug!(?channels, %error, "no subscription");
                }
            }
            let wait = if broke.elapsed() < AT_FIRST { AGAIN_AT_FIRST } else { backoff.next_wait() };
            tokio::time::sleep(wait).await;
        }
    }

    async fn subscribe(&self, channels: &[String]) -> Result<PubSub, RedisError> {
        let limit = self.config.command_timeout;
        let mut subscription = self.place.connect_pubsub(&self.config).await?;
        match timeout(limit, subscription.subscribe(channels)).await {
            Ok(subscribed) => Ok(subscribed.map(|()| subscription)?),
            Err(_) => Err(RedisError::Timeout { limit }),
        }
    }

    /// Returns when the subscription is gone, or no good any more.
    async fn hear(&self, subscription: PubSub, tell: &mut impl FnMut(Heard<'_>)) {
        let (mut sink, mut stream) = subscription.split();
        let mut check = tokio::time::interval(CHECK_EVERY);
        check.tick().await;
        let moved = self.place.moved();
        tokio::pin!(moved);
        loop {
            tokio::select! {
                message = stream.next() => {
                    let Some(message) = message else { return };
                    match message.get_payload::<String>() {
                        Ok(text) => tell(Heard::Said { channel: message.get_channel_name(), text: &text }),
                        Err(error) => tracing::warn!(%error, "what was said on a channel does not read"),
                    }
                }
                _ = check.tick() => match timeout(self.config.command_timeout, sink.ping::<Value>()).await {
                    Ok(Ok(_)) => {}
                    _ => return,
                },
                () = &mut moved => return,
            }
        }
    }
}
