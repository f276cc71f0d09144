//! Shared state: a stale write is refused, what loses is kept, a batch is done whole or not at all.

use super::broken::refused_as;
use super::{Broken, Site, Verdict, held};
use crate::mesh::segment;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use synod_protocol::{Code, Error};

/// One key of this run's own.
struct Key<'a> {
    site: &'a Site,
    name: String,
}

impl<'a> Key<'a> {
    fn of(site: &'a Site, what: &str) -> Key<'a> {
        Key { site, name: format!("{{{}}}/{what}", site.fresh("state")) }
    }

    fn path(&self) -> String {
        format!("/v1/state/{}", segment(&self.name))
    }

    async fn put(&self, headers: &[(&str, String)], body: Value) -> Result<Value, Error> {
        Ok(self.site.api.ask(Method::PUT, &self.path(), headers, Some(body.to_string())).await?.1)
    }

    async fn get(&self) -> Result<Value, Error> {
        self.site.api.get(&self.path(), &[], Duration::ZERO).await
    }

    async fn gone(&self) -> Result<(), Error> {
        self.site.api.delete(&self.path()).await.map(drop)
    }
}

/// Of two who knew the same version one writes, and the other is told which version is there.
pub(super) async fn stale(site: &Site) -> Verdict {
    let key = Key::of(site, "stale");
    let first = key.put(&[], json!({"value": 1})).await?;
    let known = [("if-match", format!("\"{}\"", first["version"]))];
    let second = key.put(&known, json!({"value": 2})).await?;
    let refused = refused_as(key.put(&known, json!({"value": 3})).await, Code::Conflict)?;
    let (there, now) = (key.get().await?, second["version"].as_u64());
    key.gone().await?;
    if refused.current_version != now || there["value"] != 2 || now <= first["version"].as_u64() {
        return Err(Broken::promise(format!(
            "version {now:?} is there, {refused} was answered, {there} is read"
        )));
    }
    held(format!("refused: {refused}"))
}

/// A write that knew an old version wins, and what it overwrote is in the history, of a removed key too.
pub(super) async fn lost(site: &Site) -> Verdict {
    let key = Key::of(site, "lost");
    key.put(&[], json!({"value": "overwritten"})).await?;
    let stale = [("if-match", "\"1\"".to_owned())];
    key.put(&stale, json!({"value": "wins", "strategy": "last_write_wins"})).await?;
    key.gone().await?;
    let history = site.api.get(&format!("{}/history", key.path()), &[], Duration::ZERO).await?;
    let told = |item: &Value| (item["op"].clone(), item["outcome"].clone(), item["value"].clone());
    let lines: Vec<_> = history["items"].as_array().into_iter().flatten().map(told).collect();
    let line = |op: &str, outcome: &str, value: Value| (op.into(), outcome.into(), value);
    let want = [
        line("delete", "written", Value::Null),
        line("put", "written", "wins".into()),
        line("put", "lost", "overwritten".into()),
        line("put", "written", "overwritten".into()),
    ];
    match lines == want {
        true => held("4 lines of history, one of them what lost"),
        false => Err(Broken::promise(format!("the history is {}", history["items"]))),
    }
}

/// Of two operations one has a condition that fails: neither is done.
pub(super) async fn batch(site: &Site) -> Verdict {
    let key = Key::of(site, "batch");
    let other = format!("{}-other", key.name);
    let ask = async |if_version: u64| {
        let operations = json!([{"op": "put", "key": key.name, "value": 1},
            {"op": "put", "key": other, "value": 1, "if_version": if_version}]);
        let body = json!({ "operations": operations });
        site.api.post("/v1/state:batch", &[], &body, Duration::ZERO).await
    };
    let refused = refused_as(ask(7).await, Code::Conflict)?;
    refused_as(key.get().await, Code::NotFound)?;
    ask(0).await?;
    key.gone().await?;
    Key { site, name: other }.gone().await?;
    match refused.field.as_deref() {
        Some("/operations/1") => held(format!("refused whole: {refused}")),
        _ => Err(Broken::promise(format!("{refused} names no operation"))),
    }
}
