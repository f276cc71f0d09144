//! What agents hold in common, over HTTP: thin routes over `synod_infra::primitives`.

mod changes_stream;
mod state;
mod state_policies;
mod subscriptions;

use crate::Shared;
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;

/// All routes of the primitives.
pub(crate) fn routes() -> OpenApiRouter<Arc<Shared>> {
    let state = OpenApiRouter::new().merge(state::routes()).merge(state_policies::routes());
    state.merge(subscriptions::routes())
}
