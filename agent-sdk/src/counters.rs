//! Counters, budgets and rate limits that all processes share.

use crate::mesh::Mesh;
use std::time::Duration;
use synod_infra::primitives::budgets::Budgets as BudgetsOf;
use synod_infra::primitives::counters::Counters as CountersOf;
use synod_infra::primitives::limits::RateLimits;
use synod_protocol::primitives::counters::{
    Add, Budget, Reservation, Reserve, SetBudget, Spend, Take, Taken,
};
use synod_protocol::{Error, Id, Name};

/// The counters of a mesh; a cheap clone.
///
/// ```no_run
/// # async fn example(mesh: agent_sdk::Mesh) -> Result<(), agent_sdk::protocol::Error> {
/// use agent_sdk::Addition;
/// let seen = mesh.counters().add("pages/seen", 1).await?;
/// // Never below 0, and once, however often it is repeated.
/// let stock = mesh.counters().add("stock", Addition::of(-1).floor(0).operation("order-7".parse()?)).await?;
/// println!("{seen} seen, {stock} left");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Counters {
    mesh: Mesh,
}

/// What to add, and within which bounds.
#[derive(Clone, Debug)]
pub struct Addition(Add);

impl Addition {
    /// So much; negative takes away.
    pub fn of(add: i64) -> Addition {
        Addition(Add { add, floor: None, ceiling: None, operation_id: None })
    }

    /// Not if it would leave less.
    #[must_use]
    pub fn floor(mut self, floor: i64) -> Addition {
        self.0.floor = Some(floor);
        self
    }

    /// Not if it would leave more.
    #[must_use]
    pub fn ceiling(mut self, ceiling: i64) -> Addition {
        self.0.ceiling = Some(ceiling);
        self
    }

    /// Once within 24 h under this id: a repeat gets the first answer.
    #[must_use]
    pub fn operation(mut self, id: Name) -> Addition {
        self.0.operation_id = Some(id);
        self
    }
}

impl From<i64> for Addition {
    fn from(add: i64) -> Addition {
        Addition::of(add)
    }
}

impl Counters {
    /// Adds; the value after it.
    ///
    /// # Errors
    /// `conflict`, with `value`: it would be outside. `invalid_argument`: beyond an i64. `unavailable`, with `applied`.
    pub async fn add(&self, name: &str, addition: impl Into<Addition>) -> Result<i64, Error> {
        let (redis, workspace) = self.mesh.primitives()?;
        let Addition(add) = addition.into();
        Ok(CountersOf::new(redis).add(&workspace, &name.parse()?, &add, None).await?.value)
    }

    /// Its value; 0 if nobody has added to it.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn get(&self, name: &str) -> Result<i64, Error> {
        let (redis, workspace) = self.mesh.primitives()?;
        Ok(CountersOf::new(redis).get(&workspace, &name.parse()?).await?.value)
    }

    /// Forgets it, and its operation ids: it is 0 again.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn remove(&self, name: &str) -> Result<(), Error> {
        let (redis, workspace) = self.mesh.primitives()?;
        CountersOf::new(redis).remove(&workspace, &name.parse()?).await
    }
}

/// The budgets of a mesh; a cheap clone.
///
/// ```no_run
/// # async fn example(mesh: agent_sdk::Mesh) -> Result<(), agent_sdk::protocol::Error> {
/// use std::time::Duration;
/// let budgets = mesh.budgets();
/// budgets.set("tokens", 1_000_000).await?;
/// let mine = budgets.reserve("tokens", 8_000, Duration::from_secs(60)).await?;
/// budgets.spend("tokens", &mine.reservation, 5_120).await?;
/// budgets.give_back("tokens", &mine.reservation).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Budgets {
    mesh: Mesh,
}

impl Budgets {
    /// Sets a limit, which makes the budget if there is none.
    ///
    /// # Errors
    /// `invalid_argument`, `unavailable`.
    pub async fn set(&self, name: &str, limit: u64) -> Result<Budget, Error> {
        let (redis, workspace) = self.mesh.primitives()?;
        BudgetsOf::new(redis).set(&workspace, &name.parse()?, &SetBudget { limit }, None).await
    }

    /// How it stands.
    ///
    /// # Errors
    /// `not_found`, `unavailable`.
    pub async fn get(&self, name: &str) -> Result<Budget, Error> {
        let (redis, workspace) = self.mesh.primitives()?;
        BudgetsOf::new(redis).get(&workspace, &name.parse()?).await
    }

    /// Sets a part aside: until it is spent, returned, or its time is over.
    ///
    /// # Errors
    /// `conflict`, with what remains as `value`. `not_found`, `overloaded`, `invalid_argument`, `unavailable`.
    pub async fn reserve(&self, name: &str, amount: u64, ttl: Duration) -> Result<Reservation, Error> {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        self.reserve_with(name, &Reserve { amount, ttl_ms, operation_id: None }).await
    }

    /// The same with all that can be said, such as an operation id.
    ///
    /// # Errors
    /// As [`Budgets::reserve`].
    pub async fn reserve_with(&self, name: &str, reserve: &Reserve) -> Result<Reservation, Error> {
        let (redis, workspace) = self.mesh.primitives()?;
        BudgetsOf::new(redis).reserve(&workspace, &name.parse()?, reserve, None).await
    }

    /// Spends from a reservation.
    ///
    /// # Errors
    /// `conflict`, with what is left of it as `value`. `fenced`: it has run out, was returned, or never was. `unavailable`,
    /// with `applied`: repeat it through [`Budgets::spend_with`] and an operation id.
    pub async fn spend(&self, name: &str, reservation: &Id, amount: u64) -> Result<Reservation, Error> {
        let spend = Spend { reservation: reservation.clone(), amount, operation_id: None };
        self.spend_with(name, &spend).await
    }

    /// The same with all that can be said, such as an operation id.
    ///
    /// # Errors
    /// As [`Budgets::spend`].
    pub async fn spend_with(&self, name: &str, spend: &Spend) -> Result<Reservation, Error> {
        let (redis, workspace) = self.mesh.primitives()?;
        BudgetsOf::new(redis).spend(&workspace, &name.parse()?, spend, None).await
    }

    /// Gives back what is left of a reservation.
    ///
    /// # Errors
    /// `fenced`: it has run out, was returned, or never was. `unavailable`.
    pub async fn give_back(&self, name: &str, reservation: &Id) -> Result<Reservation, Error> {
        let (redis, workspace) = self.mesh.primitives()?;
        BudgetsOf::new(redis).give_back(&workspace, &name.parse()?, reservation, None).await
    }
}

/// The rate limits of a mesh: token buckets that all processes share. A cheap clone.
///
/// ```no_run
/// # async fn example(mesh: agent_sdk::Mesh) -> Result<(), agent_sdk::protocol::Error> {
/// // Ten a second, fifty at once.
/// let answer = mesh.limits().take("api", 1, 10.0, 50).await?;
/// if !answer.allowed {
///     println!("again in {} ms", answer.retry_after_ms);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Limits {
    mesh: Mesh,
}

impl Limits {
    /// Takes tokens, all or none. Too few is no error.
    ///
    /// # Errors
    /// `invalid_argument`, `unavailable`.
    pub async fn take(&self, name: &str, take: u64, rate_per_s: f64, burst: u64) -> Result<Taken, Error> {
        let (redis, workspace) = self.mesh.primitives()?;
        let take = Take { take, rate_per_s, burst };
        RateLimits::new(redis).take(&workspace, &name.parse()?, &take, None).await
    }
}

impl Mesh {
    /// Counters: whole numbers that many add to.
    pub fn counters(&self) -> Counters {
        Counters { mesh: self.clone() }
    }

    /// Budgets: what many spend from together.
    pub fn budgets(&self) -> Budgets {
        Budgets { mesh: self.clone() }
    }

    /// Rate limits.
    pub fn limits(&self) -> Limits {
        Limits { mesh: self.clone() }
    }
}
