//! Redis as an application would use it, for measurements: what a script of ours costs is told beside it.

use super::client::Redis;
use super::error::RedisError;

/// Sets a key to these bytes: one command, one answer.
///
/// # Errors
/// Those of any call.
pub async fn set(redis: &Redis, key: &str, bytes: &[u8]) -> Result<(), RedisError> {
    redis.query(redis::cmd("SET").arg(key).arg(bytes)).await
}
