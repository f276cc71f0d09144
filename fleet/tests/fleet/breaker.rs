//! The breaker: against what resilience4j did, against a plain model, and what must hold of any.

mod kept;
mod odd;
mod plain;
mod properties;
mod recorded;
mod reference;

use std::sync::Arc;
use synod_fleet::breaker::{Breaker, Settings};

const MS: u64 = 1_000_000;

fn breaker(settings: Settings, now_ns: u64) -> Breaker {
    Breaker::new(Arc::new(settings.try_into().expect("settings that can be")), now_ns)
}
