//! What agents hold in common, over HTTP: thin routes over `synod_infra::primitives`.

mod changes_stream;
mod counters;
mod lease;
mod locks;
mod memories;
mod queues;
mod semaphores;
mod state;
mod state_policies;
mod subscriptions;

use crate::http::api::Api;
use synod_protocol::Error;

/// All routes of the primitives.
pub(crate) fn routes() -> Api {
    Api::new()
        .merge(state::routes())
        .merge(state_policies::routes())
        .merge(subscriptions::routes())
        .merge(locks::routes())
        .merge(semaphores::routes())
        .merge(counters::routes())
        .merge(queues::routes())
        .merge(memories::routes())
}

/// Reads the place in a list that a page ended at, as its `next_cursor` said.
pub(crate) fn place(cursor: &str) -> Result<u64, Error> {
    let odd = |_| Error::invalid("cursor is not a next_cursor of this list").with_field("/cursor");
    cursor.parse::<u64>().map_err(odd)
}
