//! Shared state on a real Redis.

mod batches;
pub(super) mod concurrent;
mod conflicts;
mod expiry;
mod listing;
mod past;
mod writes;

use super::{Bench, SECOND, ask, until};
use synod_infra::primitives::state::{Removed, State, Writer, Written, changes};
use synod_protocol::primitives::state::{
    Change, Changed, Condition, Entry, Op, Outcome, Past, Put, RANGES, Strategy, range,
};
use synod_protocol::{Error, Json, Name, Workspace};

/// The shared state of a bench, and what tests ask of it.
struct Room {
    bench: Bench,
    state: State,
    writer: Writer,
}

impl Room {
    async fn open() -> Room {
        let bench = Bench::start().await;
        let state = State::new(bench.redis.clone());
        state.open_all().await.unwrap();
        Room { writer: Writer::new(bench.workspace.clone(), "agent-1"), bench, state }
    }

    fn workspace(&self) -> &Workspace {
        &self.bench.workspace
    }

    async fn put(&self, key: &str, value: &str) -> Entry {
        self.try_put(key, put(value), Condition::None).await.unwrap().entry
    }

    async fn try_put(&self, key: &str, put: Put, condition: Condition) -> Result<Written, Error> {
        self.state.put(&self.writer, &name(key), put, condition).await
    }

    async fn get(&self, key: &str) -> Option<Entry> {
        self.state.get(self.workspace(), &name(key)).await.unwrap()
    }

    async fn delete(&self, key: &str) -> Option<Removed> {
        self.state.delete(&self.writer, &name(key), Condition::None).await.unwrap()
    }

    /// All of a key's history, newest first.
    async fn history(&self, key: &str) -> Vec<Past> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.state.history(self.workspace(), &name(key), 7, cursor.as_deref()).await.unwrap();
            let Some(page) = page else { return all };
            all.extend(page.lines);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return all;
            }
        }
    }

    /// The changes of the range that a key is in.
    async fn changes(&self, key: &str) -> Vec<Change> {
        let stream = format!("synod:{{state/{}}}:changes", range(self.workspace(), &name(key)));
        let elements: Vec<redis::Value> =
            ask(&mut self.bench.raw().await, &["XRANGE", &stream, "-", "+"]).await;
        elements.into_iter().map(|element| changes::read(element).unwrap()).collect()
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn json(text: &str) -> Json {
    Json::parse(text).unwrap()
}

fn put(value: &str) -> Put {
    Put::of(json(value)).checked().unwrap()
}

fn by(strategy: Strategy, value: &str) -> Put {
    Put { strategy: Some(strategy), ..put(value) }
}

/// What a history says, line by line: op, value, whether it counts.
fn told(history: &[Past]) -> Vec<String> {
    let tell = |past: &Past| {
        let lost = if past.outcome == Outcome::Lost { " lost" } else { "" };
        format!("{} {}{lost}", format!("{:?}", past.op).to_lowercase(), past.value.as_str())
    };
    history.iter().map(tell).collect()
}
