//! `synod events tail`: every partition of `synod.events.v1` from its end on.

use super::Filter;
use crate::commands::event_line;
use crate::mesh::{Dialling, Ending};
use crate::output::{Output, Stop};
use futures::stream::{FuturesUnordered, StreamExt as _};
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;
use synod_infra::kafka::{PartitionReader, RawRecord, ReadError, Readers, Start};
use synod_protocol::{Error, topics};

/// How long Kafka may take to say what partitions there are.
const FOUND_WITHIN: Duration = Duration::from_secs(10);
/// A reader without news looks up so often.
const LOOK_UP: Duration = Duration::from_secs(60);

/// Arguments of `synod events tail`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    filter: Filter,
    /// Begin with so many of the newest events of each partition
    #[arg(long, value_name = "N", default_value_t = 0)]
    last: u32,
    /// End after so many events
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after so many seconds [default: at Ctrl-C]
    #[arg(long, value_name = "SECONDS")]
    limit: Option<u64>,
}

pub(super) async fn run(mesh: &Dialling, args: Args, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let mut ending = Ending::listen().map_err(|error| Stop::Failed(error.to_string()))?;
    let readers = Readers::new(&mesh.kafka).map_err(|error| Stop::Usage(error.to_string()))?;
    let mut partitions: FuturesUnordered<_> =
        open(&readers, args.last).await?.into_iter().map(next).collect();
    let limit = args.limit.map_or(Duration::MAX, Duration::from_secs);
    let mut over = std::pin::pin!(tokio::time::sleep(limit.min(Duration::from_secs(10 * 365 * 86_400))));
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let came = tokio::select! {
            biased;
            _ = ending.asked() => return Ok(()),
            () = &mut over => return Ok(()),
            came = partitions.next() => came,
        };
        let Some((mut reader, came)) = came else { return Ok(()) };
        match came {
            Ok(Some(record)) => {
                if let Some(event) = event(&record).filter(|event| wanted(event, &args.filter)) {
                    output.text(&event_line::line(&event, output.format()))?;
                    left -= 1;
                }
            }
            Ok(None) => {}
            Err(ReadError::PositionLost { oldest, .. }) => {
                let (partition, wanted) = (reader.partition(), reader.position().unwrap_or(0));
                super::super::note(&format!(
                    "events {wanted} to {oldest} of partition {partition} are gone: they were dropped before they \
                     could be read"
                ));
                reader.seek(Start::Offset(oldest)).map_err(unavailable)?;
            }
            Err(error) => return Err(unavailable(error)),
        }
        partitions.push(next(reader));
    }
    Ok(())
}

type Came = (PartitionReader, Result<Option<RawRecord>, ReadError>);

async fn next(mut reader: PartitionReader) -> Came {
    let came = reader.next(LOOK_UP).await;
    (reader, came)
}

async fn open(readers: &Readers, last: u32) -> Result<Vec<PartitionReader>, Stop> {
    let count = readers.partitions(topics::EVENTS, FOUND_WITHIN).await.map_err(unavailable)?;
    let Some(count) = count else {
        return Err(
            Error::unavailable(format!("Kafka has no topic {}: is this a mesh?", topics::EVENTS)).into()
        );
    };
    let start = if last == 0 { Start::End } else { Start::Tail(i64::from(last)) };
    let opened = (0..count.cast_signed()).map(|partition| readers.open(topics::EVENTS, partition, start));
    opened.collect::<Result<_, _>>().map_err(unavailable)
}

#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn unavailable(error: ReadError) -> Stop {
    Error::unavailable(format!("Kafka: {error}")).into()
}

/// The event in the form in which HTTP's history gives it; a record that is none is left out.
fn event(record: &RawRecord) -> Option<Value> {
    let envelope = record.envelope().ok()?;
    let data: Value = serde_json::from_slice(record.payload.as_deref().unwrap_or(b"null")).ok()?;
    let text = |value: &Option<String>| value.clone().map_or(Value::Null, Value::from);
    let mut event =
        json!({ "id": envelope.id, "type": envelope.ty, "entity": text(&envelope.subject), "data": data });
    let optional = [
        ("time", text(&envelope.time.map(|time| time.to_string()))),
        ("position", text(&envelope.position.map(|position| position.to_string()))),
        ("correlation_id", text(&envelope.correlation_id)),
        ("causation_id", text(&envelope.causation_id)),
    ];
    for (name, value) in optional.into_iter().filter(|(_, value)| !value.is_null()) {
        event[name] = value;
    }
    Some(event)
}

fn wanted(event: &Value, filter: &Filter) -> bool {
    let is = |name: &str, wanted: Option<&str>| wanted.is_none_or(|wanted| event[name] == wanted);
    is("entity", filter.entity.as_ref().map(|id| id.as_str())) && is("type", filter.ty.as_deref())
}
