//! Synod's own requests: what an asker of another does in a process of its own is done in this one.

use super::super::figures::Samples;
use super::super::site::LIMIT;
use super::super::{BenchError, closed};
use super::asker::{Figures, Order};
use agent_sdk::{Client, task};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Follows an order, as [`Order`] says.
///
/// # Errors
/// A request is refused or late, or its reply is another.
pub(super) async fn ask(client: &Client, capability: &str, order: &Order) -> Result<Figures, BenchError> {
    let what = Arc::new((client.clone(), capability.to_owned(), "x".repeat(order.bytes)));
    let one = move || {
        let what = what.clone();
        async move {
            let (client, capability, text) = &*what;
            let reply = client.call::<Value>(task(capability).input(text), LIMIT).await?.output;
            match reply == *text {
                true => Ok(()),
                false => Err(BenchError::Missing(format!("synod: the reply is {reply}, {text} was sent"))),
            }
        }
    };
    let [warm_up, window] = [order.warm_up_ms, order.window_ms].map(Duration::from_millis);
    let counted = closed::measure(order.in_flight, warm_up, window, one, || Ok(())).await?;
    let done = counted.took_us.len() as u64;
    let mut samples = Samples::default();
    samples.round(counted.took_us);
    let row = samples.row("requests", "", "us");
    let took_s = counted.lasted.as_secs_f64();
    Ok(Figures { done, asked: counted.ended, took_s, p50_us: row.median, p99_us: row.p99 })
}
