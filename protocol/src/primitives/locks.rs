//! Locks and semaphores: leases with fencing tokens.
//!
//! ```text
//! acquire --> granted: a token greater than every earlier one, and a lease --renew--> a longer lease
//!        \--> waits in line --> granted, or the wait is over                \--release, break, or it runs out--> next in line
//! ```

use crate::error::Error;
use crate::id::Name;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use utoipa::ToSchema;

/// How long a lease may be, in ms: 10 ms to a day.
pub const TTL_MS: RangeInclusive<u64> = 10..=86_400_000;
/// How long one request may wait, in ms.
pub const WAIT_LIMIT_MS: u64 = 60_000;
/// How many may wait for one name at a time.
pub const WAITERS: u32 = 1_000;
/// How many permits a semaphore may have.
pub const PERMITS: RangeInclusive<u32> = 1..=1_000;
/// The largest token.
pub const TOKEN_LIMIT: u64 = (1 << 53) - 1;

/// Asks for a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcquireLock {
    /// Who is to hold it: 1 to 512 bytes without control characters.
    pub owner: Name,
    /// How long, from the grant, 10 to 86,400,000.
    pub ttl_ms: u64,
    /// How long to wait for it, up to 60,000; 0 by default: it is now or not at all.
    #[serde(default)]
    pub wait_ms: u64,
}

/// Asks for one permit of a semaphore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcquirePermit {
    /// Who is to hold it; one owner may hold several, each under its own token.
    pub owner: Name,
    /// How many there are in all, 1 to 1,000. Whoever asks first says it; while any is out it must be the same.
    pub permits: u32,
    /// How long, from the grant, 10 to 86,400,000.
    pub ttl_ms: u64,
    /// How long to wait for it, up to 60,000; 0 by default.
    #[serde(default)]
    pub wait_ms: u64,
}

/// Asks for a longer lease, counted from now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// Who holds it.
    pub owner: Name,
    /// Under which token.
    pub token: u64,
    /// How long from now, 10 to 86,400,000; it may be shorter than what is left.
    pub ttl_ms: u64,
}

/// Takes it from who holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Break {
    /// Only this token; all by default.
    #[serde(default)]
    pub token: Option<u64>,
}

/// What is granted: a lock, or one permit of a semaphore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lease {
    /// The lock's or semaphore's name.
    pub name: Name,
    /// Who holds it.
    pub owner: Name,
    /// Greater than every earlier one of that name, 1 to 2^53-1: what is guarded refuses a smaller one.
    pub token: u64,
    /// When it ends, unless it is renewed.
    pub expires_at: Timestamp,
}

/// A lock that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeldLock {
    /// Its name.
    pub name: Name,
    /// Who holds it.
    pub owner: Name,
    /// Under which token.
    pub token: u64,
    /// When its lease ends, unless it is renewed.
    pub expires_at: Timestamp,
    /// For how long it has been held.
    pub age_ms: u64,
    /// How many wait for it.
    pub waiters: u64,
}

/// Who holds a permit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PermitHolder {
    /// Who.
    pub owner: Name,
    /// Under which token.
    pub token: u64,
    /// When the lease ends, unless it is renewed.
    pub expires_at: Timestamp,
    /// For how long it has been held.
    pub age_ms: u64,
}

/// A semaphore of which permits are out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeldSemaphore {
    /// Its name.
    pub name: Name,
    /// How many permits there are.
    pub permits: u32,
    /// How many are not out.
    pub available: u32,
    /// How many wait for one.
    pub waiters: u64,
    /// Who has one, the first granted first.
    pub holders: Vec<PermitHolder>,
}

/// Permits that were taken from who held them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BrokenSemaphore {
    /// The semaphore's name.
    pub name: Name,
    /// Who held them.
    pub broken: Vec<PermitHolder>,
}

impl AcquireLock {
    /// Whether everything is within its range.
    ///
    /// # Errors
    /// `invalid_argument`, with the place.
    pub fn check(&self) -> Result<(), Error> {
        check_ttl(self.ttl_ms)?;
        check_wait(self.wait_ms)
    }
}

impl AcquirePermit {
    /// Whether everything is within its range.
    ///
    /// # Errors
    /// `invalid_argument`, with the place.
    pub fn check(&self) -> Result<(), Error> {
        if !PERMITS.contains(&self.permits) {
            let (least, most) = (PERMITS.start(), PERMITS.end());
            return Err(Error::invalid(format!("permits is {}, it must be {least} to {most}", self.permits))
                .with_field("/permits"));
        }
        check_ttl(self.ttl_ms)?;
        check_wait(self.wait_ms)
    }
}

impl Renew {
    /// Whether everything is within its range.
    ///
    /// # Errors
    /// `invalid_argument`, with the place.
    pub fn check(&self) -> Result<(), Error> {
        check_token(self.token)?;
        check_ttl(self.ttl_ms)
    }
}

/// Whether a lease may be so long.
///
/// # Errors
/// `invalid_argument`, with the place.
pub fn check_ttl(ttl_ms: u64) -> Result<(), Error> {
    if TTL_MS.contains(&ttl_ms) {
        return Ok(());
    }
    let (least, most) = (TTL_MS.start(), TTL_MS.end());
    Err(Error::invalid(format!("ttl_ms is {ttl_ms}, it must be {least} to {most}")).with_field("/ttl_ms"))
}

/// Whether a token may be this one.
///
/// # Errors
/// `invalid_argument`, with the place.
pub fn check_token(token: u64) -> Result<(), Error> {
    if (1..=TOKEN_LIMIT).contains(&token) {
        return Ok(());
    }
    Err(Error::invalid(format!("token is {token}, it must be 1 to {TOKEN_LIMIT}")).with_field("/token"))
}

fn check_wait(wait_ms: u64) -> Result<(), Error> {
    if wait_ms <= WAIT_LIMIT_MS {
        return Ok(());
    }
    Err(Error::invalid(format!("wait_ms is {wait_ms}, it must be 0 to {WAIT_LIMIT_MS}"))
        .with_field("/wait_ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_told_with_its_place() {
        let check = |body: &str, field: Option<&str>| {
            let read = serde_json::from_str::<AcquirePermit>(body).unwrap();
            assert_eq!(read.check().err().and_then(|e| e.field).as_deref(), field, "{body}");
        };
        check(r#"{"owner":"a","permits":1,"ttl_ms":10}"#, None);
        check(r#"{"owner":"a","permits":1000,"ttl_ms":86400000,"wait_ms":60000}"#, None);
        check(r#"{"owner":"a","permits":0,"ttl_ms":10}"#, Some("/permits"));
        check(r#"{"owner":"a","permits":1001,"ttl_ms":10}"#, Some("/permits"));
        check(r#"{"owner":"a","permits":1,"ttl_ms":9}"#, Some("/ttl_ms"));
        check(r#"{"owner":"a","permits":1,"ttl_ms":86400001}"#, Some("/ttl_ms"));
        check(r#"{"owner":"a","permits":1,"ttl_ms":10,"wait_ms":60001}"#, Some("/wait_ms"));
        for bad in [
            r#"{"owner":"","ttl_ms":10}"#,
            r#"{"owner":"a","ttl_ms":-1}"#,
            r#"{"owner":"a\n","ttl_ms":10}"#,
            r#"{"owner":"a","ttl_ms":10,"wait":1}"#,
            r#"{"owner":"a"}"#,
        ] {
            assert!(serde_json::from_str::<AcquireLock>(bad).is_err(), "{bad}");
        }
        assert_eq!(check_token(0).unwrap_err().field.as_deref(), Some("/token"));
        assert!(check_token(TOKEN_LIMIT).is_ok() && check_token(TOKEN_LIMIT + 1).is_err());
    }
}
