//! Shared state: versioned values under keys.

pub mod changes;
