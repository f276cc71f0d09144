//! What agents hold in common, over HTTP: thin routes over `synod_infra::primitives`.

mod changes_stream;
mod counters;
mod lease;
mod locks;
mod semaphores;
mod state;
mod state_policies;
mod subscriptions;

use crate::Shared;
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;

/// All routes of the primitives.
pub(crate) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .merge(state::routes())
        .merge(state_policies::routes())
        .merge(subscriptions::routes())
        .merge(locks::routes())
        .merge(semaphores::routes())
        .merge(counters::routes())
}
