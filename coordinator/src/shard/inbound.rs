//! From a record of the commands topic to an input: read, or found poisonous, or found misplaced.

use crate::door;
use std::borrow::Cow;
use synod_infra::kafka::{Outgoing, RawRecord};
use synod_ledger::{Input, Meta};
use synod_protocol::limits::HEADER_BYTES;
use synod_protocol::{Command, Envelope, Error, Limits, Timestamp, Workspace, topics};

/// What a record of the commands topic is.
pub(super) enum Read {
    /// For this shard.
    Here(Input),
    /// For another one.
    There(u32),
    /// For nobody; it is kept until its copy is in the dead-letter topic.
    Poison(Input),
}

/// Reads a record of partition `shard` of `partitions`, at this time of the shard's.
pub(super) fn read(record: &RawRecord, now: Timestamp, shard: u32, partitions: u32, limits: &Limits) -> Read {
    let offset = record.offset.unsigned_abs();
    let envelope = match record.envelope() {
        Ok(_) if record.unreadable_headers > 0 => {
            let error = Error::invalid("a header's name is not UTF-8");
            return Read::Poison(poison(offset, error, asker(record, offset)));
        }
        Ok(envelope) => envelope,
        Err(error) => return Read::Poison(poison(offset, error, asker(record, offset))),
    };
    let meta = meta(&envelope, offset, record.timestamp_ms, now);
    let Some(payload) = &record.payload else {
        return Read::Poison(poison(offset, Error::invalid("the record has no value"), Some(meta)));
    };
    match Command::decode(&envelope.ty, envelope.content_type, payload, limits) {
        Ok(command) => match topics::partition(command.root().as_bytes(), partitions) {
            here if here == shard => Read::Here(Input::Command { command: Box::new(command), meta }),
            there => Read::There(there),
        },
        Err(error) => Read::Poison(poison(offset, error, Some(meta))),
    }
}

/// Who asked, where the headers cannot all be read but say that much: a refusal is answered too.
fn asker(record: &RawRecord, offset: u64) -> Option<Meta> {
    let text = |wanted: &str| {
        let value = record.headers.iter().find(|(name, _)| name == wanted)?.1.as_deref()?;
        std::str::from_utf8(value).ok().filter(|text| !text.is_empty() && text.len() <= HEADER_BYTES)
    };
    Some(Meta {
        ce_id: text("ce_id").filter(|id| id.len() <= 256)?.to_owned(),
        workspace: text("synod-workspace").map_or(Ok(Workspace::default_name()), str::parse).ok()?,
        age_ms: 0,
        waited_ms: 0,
        offset: Some(offset),
        reply_to: Some(text("synod-reply-to")?.parse().ok()?),
        correlation_id: text("synod-correlation-id").map(str::to_owned),
        traceparent: None,
    })
}

fn poison(offset: u64, error: Error, meta: Option<Meta>) -> Input {
    Input::Poison { offset, error: Box::new(error), meta }
}

fn meta(envelope: &Envelope, offset: u64, broker_ms: Option<i64>, now: Timestamp) -> Meta {
    // A command's age is its own time against the broker's time of it, so that a backlog does not age.
    let age_ms = match (envelope.time, broker_ms) {
        (Some(time), Some(broker)) => u64::try_from(broker.saturating_sub(time.as_millis())).unwrap_or(0),
        _ => 0,
    };
    Meta {
        ce_id: envelope.id.clone(),
        workspace: envelope.workspace.clone(),
        age_ms,
        waited_ms: broker_ms.map_or(0, |at| now.millis_since(Timestamp::from_millis(at))),
        offset: Some(offset),
        reply_to: envelope.reply_to.clone(),
        correlation_id: envelope.correlation_id.clone(),
        traceparent: Some(door::trace_of(envelope)),
    }
}

/// The same record, unchanged, for the partition that it belongs to.
pub(super) fn passed_on(record: RawRecord, partition: u32) -> Outgoing {
    Outgoing {
        topic: record.topic,
        partition: Some(partition as i32),
        key: record.key,
        headers: record.headers.into_iter().map(|(name, value)| (Cow::Owned(name), value)).collect(),
        payload: record.payload,
    }
}
