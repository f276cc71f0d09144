//! Shard loop, leases, effects, quick door, HTTP API.
