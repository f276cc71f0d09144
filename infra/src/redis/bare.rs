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

/// Empties this Redis, as an accident would. For checks of a mesh on which nobody works.
///
/// # Errors
/// Those of any call.
pub async fn wipe(redis: &Redis) -> Result<(), RedisError> {
    redis.query(&redis::cmd("FLUSHALL")).await
}

/// Asks it for nothing: what one operation costs.
///
/// # Errors
/// Those of any call.
pub async fn ping(redis: &Redis) -> Result<(), RedisError> {
    redis.query::<String>(&redis::cmd("PING")).await.map(drop)
}
