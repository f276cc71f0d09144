//! What a webhook is sent: changes of shared state, or events, each with the position after it.

use crate::Shared;
use crate::event_feed::{self, FollowError as EventsError};
use synod_infra::primitives::feed::{FollowError as KeysError, Following};
use synod_infra::primitives::subscriptions::Kept;
use synod_protocol::primitives::changes::{Interest, Sought, Spot, StateEvent};
use synod_protocol::primitives::state::range;
use synod_protocol::{Error, Json, Workspace};
use tokio::time::Instant;

/// A webhook's way through what it is about.
pub(super) enum Source {
    Keys(Box<Following>),
    Events(Box<event_feed::Following>),
}

/// One thing to be sent.
pub(super) struct Item {
    /// To go on after it.
    pub(super) position: Spot,
    /// The body.
    pub(super) event: Json,
    /// The same however often this is told, and no other's.
    pub(super) name: String,
}

/// Why there is nothing.
pub(super) enum Hindrance {
    /// Some was lost; it goes on here.
    Lost(Spot),
    /// It cannot be asked now.
    Away(Error),
}

impl Source {
    /// What was asked for, from this position on.
    ///
    /// # Errors
    /// `internal`: the position is of another kind.
    pub(super) fn of(
        shared: &Shared,
        workspace: &Workspace,
        kept: &Kept,
        from: &Spot,
    ) -> Result<Source, Error> {
        match (&kept.sought, from) {
            (Sought::Keys { pattern }, Spot::Keys(position)) => {
                let interest = Interest { workspace: workspace.clone(), pattern: pattern.clone() };
                Ok(Source::Keys(Box::new(shared.feed.follow(interest, **position))))
            }
            (Sought::Events { events }, Spot::Events(position)) => {
                let following = shared.event_feed.follow(workspace.clone(), events.clone(), position.clone());
                Ok(Source::Events(Box::new(following)))
            }
            (Sought::Keys { .. }, Spot::Events(_)) | (Sought::Events { .. }, Spot::Keys(_)) => {
                let said =
                    format!("the position of subscription {} is of another kind", kept.subscription_id);
                Err(Error::new(synod_protocol::Code::Internal, said))
            }
        }
    }

    /// All up to here was told.
    pub(super) fn position(&mut self) -> Spot {
        match self {
            Source::Keys(following) => Spot::Keys(Box::new(following.position())),
            Source::Events(following) => Spot::Events(following.position().clone()),
        }
    }

    /// What is next; `None` when nothing came until `deadline`.
    pub(super) async fn next(&mut self, deadline: Instant) -> Result<Option<Item>, Hindrance> {
        match self {
            Source::Keys(following) => match following.next(deadline).await {
                Ok(told) => Ok(told.map(|told| Item {
                    position: Spot::Keys(Box::new(told.position)),
                    // What is told has a JSON form: it came as one.
                    event: Json::of(&StateEvent::of(&told.change)).unwrap_or_default(),
                    name: format!(
                        "{}\0{}",
                        range(&told.change.workspace, &told.change.key),
                        told.change.place
                    ),
                })),
                Err(KeysError::Lost { oldest: Some(oldest) }) => Err(Hindrance::Lost(Spot::Keys(oldest))),
                Err(error) => Err(Hindrance::Away(error.into())),
            },
            Source::Events(following) => match following.next(deadline).await {
                Ok(told) => Ok(told.map(|told| Item {
                    position: Spot::Events(told.position),
                    event: told.event.shown.clone(),
                    name: told.event.id.clone(),
                })),
                // A receiver may be as slow as it likes: what is not at hand is read again.
                Err(EventsError::Lagged) => Ok(None),
                Err(EventsError::Lost(oldest)) => Err(Hindrance::Lost(Spot::Events(oldest))),
                Err(EventsError::Away(error)) => Err(Hindrance::Away(error)),
            },
        }
    }
}
