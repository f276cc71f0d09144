//! Budgets: what many spend from together, never more than its limit.
//!
//! ```text
//! limit = spent + reserved + remaining      reserve: remaining --> reserved      spend: reserved --> spent
//!                                           return, or it runs out: reserved --> remaining
//! ```
//!
//! Who dies after reserving has spent nothing: what he set aside returns by itself.

use super::leases::{number, unexpected, words};
use super::{keys, operations};
use crate::redis::{Call, Once, Redis, RedisError, Repeatable};
use std::sync::LazyLock;
use synod_protocol::primitives::counters::{
    Budget, OPERATIONS, RESERVATIONS, Reservation, Reserve, SetBudget, Spend,
};
use synod_protocol::{Code, Error, Id, Name, Workspace};

/// When to try again where too many reservations are open.
const RETRY_AFTER_MS: u64 = 1_000;

/// One script over what all know of budgets.
macro_rules! script {
    ($name:literal) => {
        LazyLock::new(|| {
            let text = concat!(
                include_str!("scripts/operations.lua"),
                include_str!("scripts/budget.lua"),
                include_str!(concat!("scripts/", $name, ".lua"))
            );
            Repeatable::new($name, text)
        })
    };
}
static SET: LazyLock<Repeatable> = script!("set_budget");
static RESERVE: LazyLock<Repeatable> = script!("reserve_budget");
static SPEND: LazyLock<Repeatable> = script!("spend_budget");

/// The budgets of this Redis; a cheap clone.
#[derive(Clone, Debug)]
pub struct Budgets {
    redis: Redis,
    operations: u32,
}

impl Budgets {
    /// All of this Redis.
    pub fn new(redis: Redis) -> Budgets {
        Budgets { redis, operations: OPERATIONS }
    }

    /// The same, each remembering so many operation ids of the last 24 h at most.
    #[must_use]
    pub fn remembering(mut self, operations: u32) -> Budgets {
        self.operations = operations;
        self
    }

    /// Sets its limit, which makes it if there is none. A limit below what is spent and reserved leaves those as they are.
    ///
    /// # Errors
    /// `invalid_argument`; those of any call.
    pub async fn set(
        &self,
        workspace: &Workspace,
        name: &Name,
        set: &SetBudget,
        once: Option<&Once>,
    ) -> Result<Budget, Error> {
        set.check()?;
        self.asked(workspace, name, set.limit.to_string(), once).await
    }

    /// How it stands.
    ///
    /// # Errors
    /// `not_found`; those of any call.
    pub async fn get(&self, workspace: &Workspace, name: &Name) -> Result<Budget, Error> {
        self.asked(workspace, name, String::new(), None).await
    }

    /// Sets a part aside, until it is spent, returned, or its time is over.
    ///
    /// # Errors
    /// `conflict`, with what remains as `value`: not as much is left. `not_found`: no such budget. `overloaded`: 10,000
    /// reservations are open, or too many operation ids. `invalid_argument`; those of any call.
    pub async fn reserve(
        &self,
        workspace: &Workspace,
        name: &Name,
        reserve: &Reserve,
        once: Option<&Once>,
    ) -> Result<Reservation, Error> {
        reserve.check()?;
        let mut args = operations::args(reserve.operation_id.as_ref(), self.operations);
        args.push(Id::made("res_", uuid::Uuid::new_v4()).to_string());
        args.extend([reserve.amount, reserve.ttl_ms].map(|number| number.to_string()));
        let call = Call { keys: keys_of(workspace, name), args };
        let said = words(RESERVE.run(&self.redis, call, once).await?)?;
        self.reservation(name, &said, |left| {
            format!("{left} remains of budget {name}, less than {}", reserve.amount)
        })
    }

    /// Spends from a reservation: up to what is left of it, in as many parts as may be.
    ///
    /// # Errors
    /// `conflict`, with what is left as `value`: it is more. `fenced`: the reservation has run out, was returned, or never
    /// was. `overloaded`: too many operation ids. `invalid_argument`; those of any call.
    pub async fn spend(
        &self,
        workspace: &Workspace,
        name: &Name,
        spend: &Spend,
        once: Option<&Once>,
    ) -> Result<Reservation, Error> {
        spend.check()?;
        let Spend { reservation, amount, operation_id } = spend;
        let mut args = operations::args(operation_id.as_ref(), self.operations);
        args.extend([reservation.to_string(), amount.to_string()]);
        let call = Call { keys: keys_of(workspace, name), args };
        let said = words(SPEND.run(&self.redis, call, once).await?)?;
        self.reservation(name, &said, |left| {
            format!("{left} is left of reservation {reservation}, less than {amount}")
        })
    }

    /// Gives back what is left of a reservation.
    ///
    /// # Errors
    /// `fenced`: it has run out, was returned, or never was. Those of any call.
    pub async fn give_back(
        &self,
        workspace: &Workspace,
        name: &Name,
        reservation: &Id,
        once: Option<&Once>,
    ) -> Result<Reservation, Error> {
        let mut args = operations::args(None, self.operations);
        args.extend([reservation.to_string(), String::new()]);
        let call = Call { keys: keys_of(workspace, name), args };
        let said = words(SPEND.run(&self.redis, call, once).await?)?;
        self.reservation(name, &said, |_| String::new())
    }

    /// Forgets it with its reservations, and what was answered to its operation ids.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn remove(&self, workspace: &Workspace, name: &Name) -> Result<(), Error> {
        Ok(self.redis.query(redis::cmd("UNLINK").arg(keys_of(workspace, name))).await?)
    }

    async fn asked(
        &self,
        workspace: &Workspace,
        name: &Name,
        limit: String,
        once: Option<&Once>,
    ) -> Result<Budget, Error> {
        let mut args = operations::args(None, self.operations);
        args.push(limit);
        let call = Call { keys: keys_of(workspace, name), args };
        let said = words(SET.run(&self.redis, call, once).await?)?;
        match said.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["budget", limit, spent, reserved, remaining, reservations] => Ok(Budget {
                name: name.clone(),
                limit: number(limit)?,
                spent: number(spent)?,
                reserved: number(reserved)?,
                remaining: signed(remaining)?,
                reservations: number(reservations)?,
            }),
            ["none"] => Err(Error::not_found("budget", name.as_str())),
            _ => Err(unexpected(&said)),
        }
    }

    fn reservation(
        &self,
        name: &Name,
        said: &[String],
        short: impl FnOnce(&str) -> String,
    ) -> Result<Reservation, Error> {
        match said.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["reserved", id, left, remaining] => Ok(Reservation {
                reservation: id.parse()?,
                left: number(left)?,
                remaining: signed(remaining)?,
            }),
            ["short", left] => {
                Err(Error { value: Some(signed(left)?), ..Error::new(Code::Conflict, short(left)) })
            }
            ["fenced"] => {
                let said = format!(
                    "budget {name} has no such reservation: it has run out, was returned, or never was"
                );
                Err(Error::fenced(said).with_field("/reservation"))
            }
            ["none"] => Err(Error::not_found("budget", name.as_str())),
            ["again", "crowded"] => {
                let said = format!("budget {name} has {RESERVATIONS} open reservations, which is the limit");
                Err(Error::overloaded(said, RETRY_AFTER_MS))
            }
            ["again", "full"] => Err(operations::full("budget", name, self.operations)),
            _ => Err(unexpected(said)),
        }
    }
}

fn keys_of(workspace: &Workspace, name: &Name) -> Vec<String> {
    let budget = keys::budget(workspace, name);
    let [hash, order] = operations::keys(&budget);
    let (open, over) = (format!("{budget}:reservations"), format!("{budget}:ends"));
    vec![budget, hash, order, open, over]
}

fn signed(text: &str) -> Result<i64, RedisError> {
    text.parse().map_err(|_| RedisError::Unexpected(format!("{text:?} is no number")))
}
