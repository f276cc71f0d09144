//! An effect on its way to Kafka, whose acknowledgement confirms it.

use super::{Confirmed, Done, PAUSE};
use crate::kafka::Kafka;
use synod_infra::kafka::{Outgoing, SendError};
use synod_protocol::topics;
use tokio::sync::mpsc;

/// A record, and which effect it is.
pub(crate) struct Sending {
    pub(super) offset: u64,
    pub(super) kind: &'static str,
    pub(super) out: Outgoing,
    pub(super) confirmed: Confirmed,
    pub(super) done: mpsc::UnboundedSender<Done>,
}

impl Sending {
    /// Hands it to the producer, for as long as that takes.
    pub(crate) async fn begin(self, kafka: &Kafka) {
        let Sending { offset, kind, mut out, confirmed, done } = self;
        let mut pause = PAUSE.0;
        loop {
            let (confirms, fails) = (confirmed.clone(), done.clone());
            let again = out.clone();
            let producer = if out.topic == topics::EVENTS { kafka.events() } else { kafka.effects() };
            let sent = producer.map(|producer| {
                producer.send(out, move |delivery| match delivery {
                    Ok(_) => confirms.add(offset, kind),
                    Err(error) => {
                        // Only a dead producer gives up (no time limit is set): the epoch's cure does the rest.
                        tracing::error!(%error, kind, "an effect was not acknowledged");
                        let _ = fails.send(Done::Overtaken);
                    }
                })
            });
            match sent {
                Ok(Ok(())) => return,
                Ok(Err(SendError::QueueFull(_))) => {}
                Ok(Err(error @ SendError::TooLarge { .. }))
                    if again.payload.is_some() && kind == "dead_letter" =>
                {
                    tracing::warn!(%error, "a dead letter goes without its value");
                    out = Outgoing { payload: None, ..again };
                    continue;
                }
                Ok(Err(error)) => {
                    tracing::error!(%error, kind, "an effect cannot be sent and is dropped");
                    confirmed.refused(offset, kind);
                    return;
                }
                Err(error) => tracing::error!(%error, "no Kafka producer"),
            }
            out = again;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }
}
