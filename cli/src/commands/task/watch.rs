//! `synod task watch`: what happens to one task, until it ends.

use super::submit::is_final;
use crate::commands::event_line;
use crate::mesh::Api;
use crate::output::{Output, Stop};
use std::io::Write;
use std::time::{Duration, Instant};
use synod_protocol::{Code, EntityId, Error};

/// Between two looks at what happened.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Arguments of `synod task watch`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task's id
    #[arg(value_name = "TASK")]
    id: EntityId,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
    limit: u64,
}

pub(super) async fn run(api: &Api, args: Args, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let Args { id, limit } = args;
    let deadline = Instant::now() + Duration::from_secs(limit);
    let mut after: Option<String> = None;
    // Not found is said at once, rather than waited for.
    api.get(&super::path(&id), &[], Duration::ZERO).await?;
    loop {
        // The task first: what has ended by now has all its events in what is read next.
        let query = [("wait_ms", LOOK_EVERY.as_millis().to_string())];
        let task = api.get(&super::path(&id), &query, LOOK_EVERY).await?;
        let ended = is_final(&task);
        let mut said_the_end = false;
        loop {
            let mut query = vec![("entity", id.to_string()), ("limit", "100".to_owned())];
            query.extend(after.iter().map(|position| ("after", position.clone())));
            let page = api.get("/v1/events", &query, Duration::ZERO).await?;
            let events = super::super::items(&page);
            for event in events {
                output.text(&event_line::line(event, output.format()))?;
                after = event_line::position(event).or(after);
                said_the_end |= event_line::ends_a_task(event);
            }
            if events.is_empty() {
                break;
            }
        }
        match ended {
            // The events follow the ledger at a short distance.
            true if said_the_end || Instant::now() >= deadline => return Ok(()),
            _ if Instant::now() >= deadline => {
                let message = format!("the task has not ended within {limit} s");
                return Err(Error::new(Code::DeadlineExceeded, message).into());
            }
            true => tokio::time::sleep(LOOK_EVERY).await,
            false => {}
        }
    }
}
