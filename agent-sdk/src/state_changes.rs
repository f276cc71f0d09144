//! Changes of shared state as they happen, for an agent: over one connection to Redis for the whole process.

use crate::mesh::Mesh;
use futures::Stream;
use futures::stream::{self, BoxStream, StreamExt};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use synod_infra::primitives::feed::{Feed, FollowError, Following};
use synod_protocol::primitives::changes::{Interest, Pattern, Position, StateEvent};
use synod_protocol::{Error, Workspace};
use tokio::time::Instant;

/// How long one wait lasts; it is waited again.
const LOOK: Duration = Duration::from_secs(30);
/// The pause while Redis, or a range of it, cannot be asked.
const AGAIN: Duration = Duration::from_millis(200);

/// A change, and where to go on after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// Keep it, to resume after this change.
    pub position: Position,
    /// What happened.
    pub event: StateEvent,
}

/// The changes of the keys that a pattern means, each once and in order per key. It waits while Redis is away and goes on
/// where it was; it ends only after `position_lost`.
///
/// ```no_run
/// # async fn example(mesh: agent_sdk::Mesh) -> Result<(), agent_sdk::protocol::Error> {
/// let mut changes = mesh.state_changes("jobs/*", None)?;
/// while let Some(change) = changes.next_change().await? {
///     println!("{} {}", change.event.key, change.event.value.as_str());
/// }
/// # Ok(())
/// # }
/// ```
pub struct StateChanges(BoxStream<'static, Result<StateChange, Error>>);

impl Mesh {
    /// Follows the keys of this workspace that `pattern` means (`*` any run, `?` one character, `\` escapes), after a
    /// position that came with an earlier change; `None`: from when the stream is first polled.
    ///
    /// # Errors
    /// `invalid_argument`: the pattern; `unavailable`: Redis is not configured. In the stream: `position_lost`, with the oldest
    /// position, once what came after `after` is no longer kept, or Redis lost it.
    pub fn state_changes(&self, pattern: &str, after: Option<Position>) -> Result<StateChanges, Error> {
        let pattern: Pattern = pattern.parse()?;
        let feed = self.feed().ok_or_else(|| {
            Error::unavailable("Redis is not configured; changes of shared state are read from there")
        })?;
        Ok(StateChanges::new(feed, self.config().workspace.clone(), pattern, after))
    }
}

impl StateChanges {
    fn new(feed: Feed, workspace: Workspace, pattern: Pattern, after: Option<Position>) -> StateChanges {
        let interest = Interest { workspace, pattern };
        let begin = async move {
            let position = match after {
                Some(position) => position,
                None => newest(&feed).await,
            };
            stream::unfold(Some(feed.follow(interest, position)), async |following| {
                let mut following = following?;
                match next(&mut following).await {
                    Ok(change) => Some((Ok(change), Some(following))),
                    Err(error) => Some((Err(error), None)),
                }
            })
        };
        StateChanges(stream::once(begin).flatten().boxed())
    }

    /// The next change; `None` after an error.
    ///
    /// # Errors
    /// `position_lost`: read the keys again and follow from its `oldest`, or from now.
    pub async fn next_change(&mut self) -> Result<Option<StateChange>, Error> {
        self.0.next().await.transpose()
    }
}

impl Stream for StateChanges {
    type Item = Result<StateChange, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl std::fmt::Debug for StateChanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateChanges").finish_non_exhaustive()
    }
}

/// Where the changes are now, as soon as that can be said.
async fn newest(feed: &Feed) -> Position {
    loop {
        match feed.ends().await {
            Ok(Some(ends)) => return ends.newest,
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "changes of shared state wait for Redis"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn next(following: &mut Following) -> Result<StateChange, Error> {
    loop {
        match following.next(Instant::now() + LOOK).await {
            Ok(Some(told)) => {
                let frame = told.frame();
                return Ok(StateChange { position: frame.position, event: frame.event });
            }
            Ok(None) => {}
            Err(FollowError::Redis(error)) => {
                tracing::debug!(%error, "changes of shared state wait for Redis");
            }
            Err(error) => return Err(error.into()),
        }
    }
}
