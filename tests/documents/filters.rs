//! The filters for Kafka UI in docs/guides/consoles.md, asked of the records of a real mesh: none fails on any record of its
//! topic, and each finds some and not all. Kafka UI hands an expression `record` as it is made here.

use serde_json::{Map, Value, json};
use synod_infra::kafka::{Outgoing, RawRecord};
use synod_protocol::{Envelope, topics};
use synod_tests::{Agent, Client, Manner, Mesh, root};

/// The task in the filters.
const TASK: &str = "invoice-7";
/// What their agent can do.
const CAPABILITY: &str = "ocr";

/// The filters, by topic, in order.
fn filters() -> Vec<(String, String)> {
    let page = std::fs::read_to_string(root().join("docs/guides/consoles.md")).expect("it can be read");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells =
        rows.map(|row| row.split(" | ").map(|cell| cell.trim_matches(['`', ' ', '|'])).collect::<Vec<_>>());
    let filters = cells.filter(|cells| cells.len() == 3 && cells[2].contains("record."));
    filters.map(|cells| (cells[0].to_owned(), cells[2].to_owned())).collect()
}

fn text(bytes: Option<&[u8]>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// `record` as kafbat's Kafka UI 1.5 makes it (`MessageFilters.recordToArgs`): what is no JSON object stays text, what is not there is left out.
fn record(of: &RawRecord) -> Value {
    let headers = of.headers.iter().map(|(name, value)| (name.clone(), json!(text(value.as_deref()))));
    let mut record = Map::from_iter([
        ("partition".to_owned(), json!(of.partition)),
        ("offset".to_owned(), json!(of.offset)),
        ("headers".to_owned(), headers.collect::<Map<_, _>>().into()),
    ]);
    record.extend(of.timestamp_ms.map(|at| ("timestampMs".to_owned(), json!(at))));
    for (name, bytes) in [("key", &of.key), ("value", &of.payload)] {
        let Some(text) = text(bytes.as_deref()) else { continue };
        let read = serde_json::from_str::<Map<String, Value>>(&text);
        record.insert(name.to_owned(), read.map_or_else(|_| json!(text), Value::Object));
        record.insert(format!("{name}AsText"), json!(text));
    }
    record.into()
}

fn is_shown(filter: &cel::Program, record: &Value) -> Result<bool, String> {
    let mut context = cel::Context::default();
    let record = cel::to_value(record).map_err(|error| error.to_string())?;
    context.add_variable_from_value("record", record);
    match filter.execute(&context) {
        Ok(cel::Value::Bool(shown)) => Ok(shown),
        other => Err(format!("{other:?}")),
    }
}

/// A mesh that has had some of everything that the filters look for, and of what they pass over; and its agent's id.
async fn worked() -> (Mesh, Client, String) {
    let mesh = Mesh::own(&[]).await;
    let client = Client::of(&mesh);
    let helper = Agent::with(&mesh, Manner::Echo, CAPABILITY, 4).await;
    let sour = Agent::join(&mesh, Manner::Fail).await;
    let submit = |id: &str, capability: &str| {
        let body =
            json!({"task_id": id, "capability": capability, "input": {}, "retry": {"max_attempts": 1}});
        Client::record(id, &Envelope::new(id, "/tests", "synod.task.submit"), &body)
    };
    for (id, capability) in [(TASK, CAPABILITY), ("invoice-8", CAPABILITY), ("spoilt", &*sour.capability)] {
        client.append(submit(id, capability)).await;
        client.ended(id).await;
    }
    let elsewhere = client.request("POST", "/v1/tasks").header("Synod-Workspace", "elsewhere");
    client.send(elsewhere.json(&json!({"capability": CAPABILITY, "input": {}}))).await.is(201);
    for (ty, value) in [("synod.task.submit", "{"), ("synod.no.such", "{}")] {
        let bad = Outgoing::to(topics::COMMANDS).key("k").envelope(&Envelope::new(ty, "/tests", ty));
        let source = client.append(bad.payload(value)).await;
        client.dead_letter(source).await;
    }
    for (entity, until) in [(TASK, "task.completed"), ("spoilt", "task.dead_lettered")] {
        client.history(entity, until).await;
    }
    (mesh, client, helper.id.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_finds_what_it_is_for_and_fails_on_nothing() {
    let filters = filters();
    assert!(filters.len() >= 12, "{filters:?}");
    let (_mesh, client, agent) = worked().await;
    for (topic, filter) in filters {
        let records = client.all(&topic).await;
        let program = cel::Program::compile(&filter.replace("'ocr-1'", &format!("'{agent}'")));
        let program = program.unwrap_or_else(|error| panic!("{filter}: {error}"));
        let shown = records.iter().filter(|of| {
            let record = record(of);
            let shown = is_shown(&program, &record);
            // Of a value that is no JSON nothing can be asked: Kafka UI counts it as an error and goes on.
            let is_json = record["value"].is_object();
            shown
                .unwrap_or_else(|error| if is_json { panic!("{filter} of {record}: {error}") } else { false })
        });
        let (shown, all) = (shown.count(), records.len());
        assert!(shown > 0 && shown < all, "{topic}: {filter} shows {shown} of {all}");
    }
}
