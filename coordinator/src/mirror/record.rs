//! Changes as Kafka has them: in the mirror, and as events.

use synod_infra::kafka::{Delivery, Outgoing, RawRecord};
use synod_infra::primitives::mirror::{Ahead, Kept, Owed};
use synod_protocol::primitives::changes::{Place, STATE_CHANGED, STATE_DELETED, STATE_EXPIRED, StateEvent};
use synod_protocol::primitives::state::{Change, Changed};
use synod_protocol::{Envelope, Name, Timestamp, Workspace, topics};
use tokio::sync::oneshot;

/// The type of a relay's marker; its key, `:range/<r>`, is no workspace's.
pub(super) const MARKER: &str = "synod.state.marker";

/// The record of a change in the mirror; what lost has none. A tombstone keeps its version, so it is a record too.
pub(super) fn mirrored(owed: &Owed, range: u32, partition: u32, source: &str) -> Option<Outgoing> {
    let change = owed.change.as_ref()?;
    if matches!(change.what, Changed::Lost(_)) {
        return None;
    }
    let event = StateEvent::of(change);
    let envelope = envelope(change, &event, id(range, owed.place), source);
    Some(entry(&change.workspace, &change.key, partition, &envelope, owed.text.as_bytes()))
}

/// What Redis has and the mirror has not.
pub(super) fn repaired(ahead: &Ahead, partition: u32, source: &str) -> Outgoing {
    let (ty, text) = match &ahead.kept {
        Kept::Written(text) => (STATE_CHANGED, text),
        Kept::Gone(text) => (STATE_DELETED, text),
    };
    let envelope = Envelope {
        workspace: ahead.workspace.clone(),
        subject: Some(ahead.key.to_string()),
        ..Envelope::new(uuid::Uuid::now_v7().to_string(), source, ty)
    };
    entry(&ahead.workspace, &ahead.key, partition, &envelope, text.as_bytes())
}

/// The event of a change, what lost included; placed by its key as every event is.
pub(super) fn event(owed: &Owed, range: u32, partitions: u32, source: &str) -> Option<Outgoing> {
    let change = owed.change.as_ref()?;
    let event = StateEvent::of(change);
    let envelope = envelope(change, &event, id(range, owed.place), source);
    let key = key_of(&change.workspace, &change.key);
    let partition = topics::partition(key.as_bytes(), partitions);
    let payload = serde_json::to_vec(&event).map_err(
        |error| tracing::error!(%error, place = %owed.place, "a change of shared state makes no event"),
    );
    let out = Outgoing::to(topics::EVENTS).envelope(&envelope).key(key).partition(partition as i32);
    Some(out.payload(payload.ok()?))
}

/// A record that says how far a fold must go.
pub(super) fn marker(range: u32, partition: u32, source: &str) -> Outgoing {
    let envelope = Envelope::new(uuid::Uuid::now_v7().to_string(), source, MARKER);
    let out = Outgoing::to(topics::STATE).envelope(&envelope).key(format!(":range/{range}"));
    out.partition(partition as i32).payload(format!("{{\"range\":{range}}}"))
}

/// Reads a record of the mirror; `None` for markers and for what is none of ours.
pub(super) fn read(record: &RawRecord) -> Option<(Workspace, Name, Kept)> {
    let key = std::str::from_utf8(record.key.as_deref()?).ok()?;
    let (workspace, key) = key.split_once('/')?;
    let text = String::from_utf8(record.payload.clone()?).ok()?;
    let ty =
        record.headers.iter().find(|(name, _)| name == "ce_type").and_then(|(_, value)| value.as_deref());
    let kept = match std::str::from_utf8(ty?).ok()? {
        STATE_CHANGED => Kept::Written(text),
        STATE_DELETED | STATE_EXPIRED => Kept::Gone(text),
        _ => return None,
    };
    Some((workspace.parse().ok()?, key.parse().ok()?, kept))
}

/// The same for the same change, however often it is told: a UUIDv7 whose time is the place's, and whose random part is a
/// digest of range and place.
pub(super) fn id(range: u32, place: Place) -> String {
    let digest = blake3::hash(format!("{range}/{place}").as_bytes());
    let mut random = [0; 10];
    random.copy_from_slice(&digest.as_bytes()[..10]);
    uuid::Builder::from_unix_timestamp_millis(place.ms, &random).into_uuid().to_string()
}

fn envelope(change: &Change, event: &StateEvent, id: String, source: &str) -> Envelope {
    Envelope {
        time: Some(Timestamp::from_millis(event.updated_at.as_millis())),
        workspace: change.workspace.clone(),
        subject: Some(change.key.to_string()),
        ..Envelope::new(id, source, &event.ty)
    }
}

fn key_of(workspace: &Workspace, key: &Name) -> String {
    format!("{workspace}/{key}")
}

fn entry(workspace: &Workspace, key: &Name, partition: u32, envelope: &Envelope, value: &[u8]) -> Outgoing {
    let out = Outgoing::to(topics::STATE).envelope(envelope).key(key_of(workspace, key));
    out.partition(partition as i32).payload(value)
}

/// A record on its way, and what will be said of it.
pub(super) type Sent = oneshot::Receiver<Delivery>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_follows_from_range_and_place() {
        let place = Place { ms: 1_700_000_000_123, n: 4 };
        let made = uuid::Uuid::parse_str(&id(3, place)).unwrap();
        assert_eq!(made.get_version_num(), 7);
        assert_eq!(id(3, place), made.to_string());
        assert_ne!(id(4, place), made.to_string());
        assert_ne!(id(3, Place { n: 5, ..place }), made.to_string());
    }
}
