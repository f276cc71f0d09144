//! Runs of workflows: what one takes, how many a second there are, a thousand steps side by side, and ten thousand that wait.
//!
//! ```text
//!   waiting: N runs that ask for an approval ---> memory and processor time of the coordinator, before and with them
//!   three:   driver --run--> mesh --step--> agent, three times, --output--> driver; 1, 64, 512 in flight
//!            driver --run--> Restate --call--> service, three times, ...      the same, in turns, where there is one
//!   wide:    one run of a thousand steps beside the same thousand tasks, submitted one by one and all at once
//! ```
//!
//! Those that wait come first: what a process has once had and given back would hide what they take.

mod cost;
mod peer;
mod three;
mod waiting;
mod wide;

use super::figures::Outcome;
use super::site::Site;
use super::{BenchError, Effort};

/// `restate`: the ingress of a Restate that serves what scripts/lib/peers/restate.mjs has.
pub(super) async fn measure(
    site: &Site,
    restate: Option<&str>,
    effort: Effort,
) -> Result<Outcome, BenchError> {
    let mut whole = waiting::measure(site, effort).await?;
    for outcome in [three::measure(site, restate, effort).await?, wide::measure(site, effort).await?] {
        whole.rows.extend(outcome.rows);
        whole.verdicts.extend(outcome.verdicts);
    }
    Ok(whole)
}
