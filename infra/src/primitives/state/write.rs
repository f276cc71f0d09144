//! Writes: what is wanted, made into one call of `write_state.lua`, and what became of it.

use super::changes::CHANGES_LIMIT;
use super::policies::Policies;
use super::{State, entry, keys, shut, unexpected, words};
use crate::redis::{Call, Once, Repeatable};
use std::sync::LazyLock;
use std::time::Duration;
use synod_protocol::primitives::state::{
    Batch, Condition, Entry, LockHeld, Metadata, Operation, OperationKind, Policy, Put, Strategy, Tombstone,
    VERSION_LIMIT, checked_value, merge, range,
};
use synod_protocol::{Applied, Code, Error, Json, Name, Timestamp, Workspace};
use tokio::time::Instant;

static WRITE: LazyLock<Repeatable> =
    LazyLock::new(|| Repeatable::new("write_state", include_str!("../scripts/write_state.lua")));

/// How long a merge is made again because others have written meanwhile.
const MERGE_WITHIN: Duration = Duration::from_secs(2);
/// Words of the answer for each operation.
const WORDS: usize = 6;

/// Who writes, and as which request.
#[derive(Clone, Debug)]
pub struct Writer {
    /// In which workspace.
    pub workspace: Workspace,
    /// It becomes `updated_by`.
    pub by: String,
    /// The request, if it may come again.
    pub once: Option<Once>,
}

impl Writer {
    /// A writer whose request comes once.
    pub fn new(workspace: Workspace, by: impl Into<String>) -> Writer {
        Writer { workspace, by: by.into(), once: None }
    }
}

/// A place in the stream of changes of a range: once the mirror has it, it has everything before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The range.
    pub range: u32,
    /// The stream's id.
    pub place: String,
}

/// What became of a put or a restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The entry that stands now.
    pub entry: Entry,
    /// Whether the key was not there before.
    pub made: bool,
    /// Whether the write counts. If not, `first_write_wins` has kept it as lost.
    pub applied: bool,
    /// Its last change.
    pub place: Place,
}

/// What became of a delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// What is left.
    pub tombstone: Tombstone,
    /// Its change.
    pub place: Place,
}

/// What became of one operation of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// The key was not there, and has this now.
    Made(Entry),
    /// The key has this now.
    Changed(Entry),
    /// The write was kept as lost; this stands.
    Stands(Entry),
    /// The key was removed.
    Gone(Tombstone),
    /// It was read.
    Found(Entry),
    /// There is no such key: nothing to read or to remove.
    Absent,
}

/// An operation on a key.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) key: Name,
    pub(super) what: What,
    pub(super) condition: Condition,
    pub(super) lock: Option<LockHeld>,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Put(Put),
    Delete(Option<Strategy>),
    Get,
    Restore(u64),
    Expire,
}

impl State {
    /// Writes a value. It must be [`Put::checked`].
    ///
    /// # Errors
    /// `conflict` with the version in force, `fenced` (the lock), `unprocessable` (a rule of a merge; the last version is
    /// reached), `payload_too_large` (what a merge made), `overloaded`, `unavailable`.
    pub async fn put(
        &self,
        writer: &Writer,
        key: &Name,
        put: Put,
        condition: Condition,
    ) -> Result<Written, Error> {
        let lock = put.lock.clone();
        self.written(writer, Wanted { key: key.clone(), what: What::Put(put), condition, lock }).await
    }

    /// Writes again what the key had at a version: value and metadata, without an end.
    ///
    /// # Errors
    /// `not_found`: the history no longer has it; those of [`State::put`].
    pub async fn restore(&self, writer: &Writer, key: &Name, version: u64) -> Result<Written, Error> {
        let what = What::Restore(version);
        let wanted = Wanted { key: key.clone(), what, condition: Condition::None, lock: None };
        self.written(writer, wanted).await
    }

    /// Removes a key; `None` where there is none.
    ///
    /// # Errors
    /// Those of [`State::put`].
    pub async fn delete(
        &self,
        writer: &Writer,
        key: &Name,
        condition: Condition,
    ) -> Result<Option<Removed>, Error> {
        let wanted = Wanted { key: key.clone(), what: What::Delete(None), condition, lock: None };
        let (done, place) = self.run(writer, &[wanted]).await.map_err(unplaced)?;
        match (done.into_iter().next(), place) {
            (Some(Done::Gone(tombstone)), Some(place)) => Ok(Some(Removed { tombstone, place })),
            (Some(Done::Absent), _) => Ok(None),
            _ => Err(unexpected("write_state", &["no tombstone"])),
        }
    }

    /// Does all operations or none; what became of each, and the last change. It must be [`Batch::checked`].
    ///
    /// # Errors
    /// Those of [`State::put`], with the operation as `field`.
    pub async fn batch(&self, writer: &Writer, batch: Batch) -> Result<(Vec<Done>, Option<Place>), Error> {
        let wanted: Vec<Wanted> = batch.operations.into_iter().map(Wanted::of).collect();
        self.run(writer, &wanted).await
    }

    async fn written(&self, writer: &Writer, wanted: Wanted) -> Result<Written, Error> {
        let (done, place) = self.run(writer, &[wanted]).await.map_err(unplaced)?;
        let done = done.into_iter().next().zip(place);
        match done {
            Some((Done::Made(entry), place)) => Ok(Written { entry, made: true, applied: true, place }),
            Some((Done::Changed(entry), place)) => Ok(Written { entry, made: false, applied: true, place }),
            Some((Done::Stands(entry), place)) => Ok(Written { entry, made: false, applied: false, place }),
            _ => Err(unexpected("write_state", &["no entry"])),
        }
    }

    /// One call of the script, and again where a merge was overtaken or the policies have changed.
    pub(super) async fn run(
        &self,
        writer: &Writer,
        wanted: &[Wanted],
    ) -> Result<(Vec<Done>, Option<Place>), Error> {
        let Some(first) = wanted.first() else { return Ok((Vec::new(), None)) };
        let range = range(&writer.workspace, &first.key);
        let began = Instant::now();
        let mut fresh = false;
        for attempt in 1.. {
            let policies = match wanted.iter().any(Wanted::asks_policy) {
                true => Some(self.policies_of(range, &writer.workspace, fresh).await?),
                false => None,
            };
            let (prepared, failed) = self.prepare(writer, wanted, policies.as_deref()).await?;
            let call = self.call(range, writer, &prepared, policies.as_deref());
            let answer = words(WRITE.run(&self.redis, call, writer.once.as_ref()).await?)?;
            let said: Vec<&str> = answer.iter().map(String::as_str).collect();
            match said.as_slice() {
                ["done", place, rest @ ..] => {
                    let place = (!place.is_empty()).then(|| Place { range, place: (*place).to_owned() });
                    let done = prepared.iter().zip(rest.chunks_exact(WORDS)).map(|(p, w)| p.done(writer, w));
                    return Ok((done.collect::<Result<_, _>>()?, place));
                }
                ["again", "shut"] => return Err(shut()),
                ["again", "full"] => return Err(full()),
                // It was not to be done, and was not done before under the same `Idempotency-Key` either.
                ["again", "moved", _] if failed.is_some() => return Err(failed.unwrap_or_else(shut)),
                ["again", "moved", at] if began.elapsed() > MERGE_WITHIN => return Err(overtaken(at)),
                ["again", why, ..] => {
                    fresh = *why == "policies";
                    pause(attempt).await;
                }
                ["conflict", at, current] => return Err(conflict(wanted, at, current)),
                ["fenced", at] => return Err(fenced(wanted, at)),
                ["overflow", at] => return Err(overflow(at)),
                other => return Err(unexpected("write_state", other)),
            }
        }
        Err(overtaken("0"))
    }

    /// What the script is to do; with what cannot be done, which is asked for so that nothing is done.
    async fn prepare<'a>(
        &self,
        writer: &Writer,
        wanted: &'a [Wanted],
        policies: Option<&Policies>,
    ) -> Result<(Vec<Prepared<'a>>, Option<Error>), Error> {
        let (mut all, mut failed) = (Vec::with_capacity(wanted.len()), None);
        for (n, wanted) in wanted.iter().enumerate() {
            let policy = policies.and_then(|p| p.of(&wanted.key)).cloned().unwrap_or_default();
            let mut prepared = Prepared::of(wanted, &policy);
            let result = match (&wanted.what, prepared.strategy) {
                (What::Put(put), Strategy::Merge) => self.merged(writer, &mut prepared, put, policy).await,
                (What::Put(Put { rules: Some(rules), .. }), _) if !rules.is_empty() => {
                    Err(Error::invalid("rules are for a merge; set strategy to merge").with_field("/rules"))
                }
                (What::Restore(version), _) => self.restored(writer, &mut prepared, *version).await,
                _ => Ok(()),
            };
            match result {
                // Redis: nothing is known of what was done before.
                Err(error) if error.code.is_retryable() => return Err(error),
                Err(error) => {
                    prepared.made_of = "-".to_owned();
                    failed.get_or_insert_with(|| placed(error, n));
                }
                Ok(()) => {}
            }
            all.push(prepared);
        }
        Ok((all, failed))
    }

    async fn merged(
        &self,
        writer: &Writer,
        prepared: &mut Prepared<'_>,
        put: &Put,
        policy: Policy,
    ) -> Result<(), Error> {
        let current = self.get(&writer.workspace, &prepared.wanted.key).await?;
        prepared.kind = "merge";
        prepared.made_of = current.as_ref().map_or(0, |entry| entry.version).to_string();
        let before = current.map(|entry| entry.value).unwrap_or_default();
        let made = merge(&before, &put.value, put.rules.as_ref().unwrap_or(&policy.rules))?;
        prepared.value = checked_value(&made)?;
        Ok(())
    }

    async fn restored(
        &self,
        writer: &Writer,
        prepared: &mut Prepared<'_>,
        version: u64,
    ) -> Result<(), Error> {
        let key = &prepared.wanted.key;
        let before = self.at(&writer.workspace, key, version).await?;
        let before = before.ok_or_else(|| {
            let said = format!("the history of {key:?} has no value of version {version} (any more)");
            Error::new(Code::NotFound, said).with_field("/version")
        })?;
        prepared.value = before.value;
        prepared.metadata = before.metadata;
        Ok(())
    }

    fn call(
        &self,
        range: u32,
        writer: &Writer,
        prepared: &[Prepared<'_>],
        policies: Option<&Policies>,
    ) -> Call {
        let workspace = &writer.workspace;
        let mut keys = vec![
            keys::state_open(range),
            keys::state_changes(range),
            keys::state_expiring(range),
            keys::state_index(range, workspace),
            keys::state_counts(range, workspace),
            keys::state_policies_version(range, workspace),
        ];
        for one in prepared {
            keys.push(keys::state_entry(range, workspace, &one.wanted.key));
            keys.push(keys::state_past(range, workspace, &one.wanted.key));
        }
        let mut args = vec![
            workspace.to_string(),
            text_of(&writer.by),
            policies.map_or("-".to_owned(), |p| p.version.clone()),
            self.retention.entries.to_string(),
            self.retention.age.as_millis().to_string(),
            CHANGES_LIMIT.to_string(),
        ];
        for one in prepared {
            let (mut place, mut token) = (0, String::new());
            if let Some(lock) = &one.wanted.lock {
                keys.push(keys::lock(workspace, &lock.name));
                (place, token) = (keys.len(), lock.token.to_string());
            }
            args.extend(one.words());
            args.extend([place.to_string(), token]);
        }
        Call { keys, args }
    }
}

/// An operation as the script is told.
struct Prepared<'a> {
    wanted: &'a Wanted,
    kind: &'static str,
    value: Json,
    metadata: Metadata,
    ttl_ms: Option<u64>,
    strategy: Strategy,
    made_of: String,
}

impl<'a> Prepared<'a> {
    fn of(wanted: &'a Wanted, policy: &Policy) -> Prepared<'a> {
        let (kind, strategy) = match &wanted.what {
            What::Put(put) => ("put", put.strategy.unwrap_or(policy.strategy)),
            What::Delete(strategy) => ("delete", strategy.unwrap_or(policy.strategy)),
            What::Get => ("get", Strategy::Reject),
            What::Restore(_) => ("restore", Strategy::Reject),
            What::Expire => ("expire", Strategy::Reject),
        };
        let put = match &wanted.what {
            What::Put(put) => Some(put),
            _ => None,
        };
        Prepared {
            wanted,
            kind,
            value: put.map(|put| put.value.clone()).unwrap_or_default(),
            metadata: put.and_then(|put| put.metadata.clone()).unwrap_or_default(),
            ttl_ms: put.and_then(|put| put.ttl_ms),
            strategy,
            made_of: String::new(),
        }
    }

    /// Its words but those of the lock.
    fn words(&self) -> [String; 9] {
        let key = self.wanted.key.as_str();
        let group = key.find('/').map_or("", |at| &key[..=at]);
        let condition = match self.wanted.condition {
            Condition::None => String::new(),
            Condition::Version(version) => version.to_string(),
            Condition::Present => "*".to_owned(),
            Condition::Absent => "!".to_owned(),
        };
        [
            self.kind.to_owned(),
            key.to_owned(),
            group.to_owned(),
            self.value.as_str().to_owned(),
            text_of(&self.metadata),
            self.ttl_ms.map(|ms| ms.to_string()).unwrap_or_default(),
            condition,
            self.strategy.as_str().to_owned(),
            self.made_of.clone(),
        ]
    }

    fn done(&self, writer: &Writer, words: &[&str]) -> Result<Done, Error> {
        let key = &self.wanted.key;
        let [what, version, created, updated, expires, text] = words else {
            return Err(unexpected("write_state", words));
        };
        let number = |text: &str| text.parse::<i64>().map_err(|_| unexpected("write_state", words));
        let version = || version.parse::<u64>().map_err(|_| unexpected("write_state", words));
        let written = || {
            if !text.is_empty() {
                return entry(key, text);
            }
            let expires = (!expires.is_empty()).then(|| number(expires)).transpose()?;
            Ok(Entry {
                key: key.clone(),
                value: self.value.clone(),
                version: version()?,
                metadata: self.metadata.clone(),
                created_at: Timestamp::from_millis(number(created)?),
                updated_at: Timestamp::from_millis(number(updated)?),
                updated_by: writer.by.clone(),
                expires_at: expires.map(Timestamp::from_millis),
            })
        };
        match *what {
            "made" => written().map(Done::Made),
            "changed" => written().map(Done::Changed),
            "stands" => entry(key, text).map(Done::Stands),
            "entry" => entry(key, text).map(Done::Found),
            "gone" => Ok(Done::Gone(Tombstone { key: key.clone(), version: version()? })),
            "absent" => Ok(Done::Absent),
            _ => Err(unexpected("write_state", words)),
        }
    }
}

impl Wanted {
    fn of(operation: Operation) -> Wanted {
        let condition = operation.condition();
        let what = match operation.op {
            OperationKind::Put => operation.put().map_or(What::Get, What::Put),
            OperationKind::Delete => What::Delete(operation.strategy),
            OperationKind::Get => What::Get,
        };
        Wanted { key: operation.key, what, condition, lock: operation.lock }
    }

    /// Whether what becomes of it may depend on a policy.
    fn asks_policy(&self) -> bool {
        match &self.what {
            What::Put(put) => match put.strategy {
                None => true,
                Some(strategy) => strategy == Strategy::Merge && put.rules.is_none(),
            },
            What::Delete(strategy) => strategy.is_none() && self.condition != Condition::None,
            What::Get | What::Restore(_) | What::Expire => false,
        }
    }
}

fn text_of<T: serde::Serialize + ?Sized>(value: &T) -> String {
    // Texts and maps of texts always have a JSON form.
    serde_json::to_string(value).unwrap_or_default()
}

/// A little longer with each attempt, and by chance, so that those who merge at once do not meet again.
async fn pause(attempt: u32) {
    let most_us = u64::from(attempt.min(32)) * 200;
    let chance = uuid::Uuid::new_v4().as_u64_pair().1 % most_us.max(1);
    tokio::time::sleep(Duration::from_micros(chance)).await;
}

fn placed(error: Error, operation: usize) -> Error {
    let field = format!("/operations/{operation}{}", error.field.as_deref().unwrap_or_default());
    error.with_field(field)
}

/// The error of the only operation, as of a request of its own.
fn unplaced(mut error: Error) -> Error {
    let rest = error.field.as_deref().and_then(|field| field.strip_prefix("/operations/0"));
    if let Some(rest) = rest.map(str::to_owned) {
        error.field = (!rest.is_empty()).then_some(rest);
    }
    error
}

fn at(operation: &str) -> String {
    format!("/operations/{operation}")
}

fn conflict(wanted: &[Wanted], operation: &str, current: &str) -> Error {
    let current = current.parse().unwrap_or_default();
    let one = operation.parse().ok().and_then(|n: usize| wanted.get(n));
    let key = one.map(|w| w.key.to_string()).unwrap_or_default();
    let said = match (current, one.map(|w| w.condition)) {
        (0, _) => format!("there is no {key:?}, which the write's condition demands"),
        (_, Some(Condition::Absent)) => format!("{key:?} is there, at version {current}"),
        (_, Some(Condition::Version(version))) => {
            format!("{key:?} is at version {current}, not {version}; read it and decide again")
        }
        _ => format!("{key:?} is at version {current}"),
    };
    Error::conflict(said, current).with_field(at(operation))
}

fn fenced(wanted: &[Wanted], operation: &str) -> Error {
    let lock = operation.parse().ok().and_then(|n: usize| wanted.get(n)).and_then(|w| w.lock.as_ref());
    let (name, token) = lock.map_or(("", 0), |lock| (lock.name.as_str(), lock.token));
    Error::fenced(format!("the lock {name:?} is not held now with the token {token}"))
        .with_field(at(operation))
}

fn overflow(operation: &str) -> Error {
    let said =
        format!("the key has come to the last version, {VERSION_LIMIT}, and cannot be written any more");
    Error::new(Code::Unprocessable, said).with_field(at(operation))
}

fn overtaken(operation: &str) -> Error {
    let said = "others have written the key each time that the merge was made; try again";
    let error = Error::overloaded(said, 50).with_field(at(operation));
    Error { applied: Some(Applied::No), ..error }
}

fn full() -> Error {
    let said = format!(
        "the mirror is {CHANGES_LIMIT} changes behind in this range of keys, and takes no more until it has caught up"
    );
    Error { applied: Some(Applied::No), ..Error::overloaded(said, 1_000) }
}
