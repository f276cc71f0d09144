//! Queues and memories, over HTTP and through the SDK at once: they see the same.

use super::broken::refused_as;
use super::site::SOON;
use super::{Broken, Site, Verdict, held};
use agent_sdk::{LeaseRequest, NewMessage, Place};
use serde_json::{Value, json};
use std::time::Duration;
use synod_protocol::{Code, Id, Json};

/// What waits here is woken: longer than any check, shorter than who looks again by himself.
const HOLD: Duration = Duration::from_secs(30);

async fn post(site: &Site, path: &str, body: &Value) -> Result<Value, synod_protocol::Error> {
    site.api.post(path, &[], body, SOON).await.map(|(_, answer)| answer)
}

/// A message goes in over HTTP while a consumer waits in the SDK; given back twice, it is dead, and is redriven.
pub(super) async fn delivered(site: &Site) -> Verdict {
    let name = site.fresh("queue");
    let queue = site.mesh.queues().queue(&name)?;
    let asked = LeaseRequest { wait_ms: Some(15_000), ..LeaseRequest::new("validate", HOLD) };
    let body = json!({ "payload": { "n": 1 }, "message_id": "m", "max_deliveries": 2 });
    let path = format!("/v1/queues/{name}");
    let (leased, put) = tokio::join!(queue.lease(&asked), post(site, &path, &body));
    let (put, mut leased) = (put?, leased?);
    let first = leased.pop().ok_or_else(|| Broken::promise("the message did not come"))?;
    let again = post(site, &path, &body).await?;
    if (&put["duplicate"], &again["duplicate"]) != (&json!(false), &json!(true)) {
        return Err(Broken::promise(format!("the same id twice was answered {put} and {again}")));
    }
    queue.nack(&first, Duration::ZERO, "once more").await?;
    let second = queue.lease(&asked).await?.pop().ok_or_else(|| Broken::promise("it did not come again"))?;
    if queue.nack(&second, Duration::ZERO, "enough").await? != Place::Dead || second.delivery != 2 {
        return Err(Broken::promise(format!("after two deliveries it is not dead: {second:?}")));
    }
    let dead = site.api.get(&format!("{path}/dead"), &[], Duration::ZERO).await?;
    if dead["items"][0]["reason"] != "enough" {
        return Err(Broken::promise(format!("the dead letters are {dead}")));
    }
    post(site, &format!("{path}/dead/m/redrive"), &json!({})).await?;
    let third = queue.lease(&asked).await?.pop().ok_or_else(|| Broken::promise("the dead stays dead"))?;
    queue.ack(&third).await?;
    held("put in, delivered, dead after 2 deliveries, redriven, done")
}

/// Whose lease has ended cannot acknowledge; whoever has the message now can.
pub(super) async fn fenced(site: &Site) -> Verdict {
    let queue = site.mesh.queues().queue(&site.fresh("queue"))?;
    queue.enqueue_message(NewMessage::new(Json::null())).await?;
    let short = LeaseRequest::new("slow", Duration::from_millis(20));
    let slow = queue.lease(&short).await?.pop().ok_or_else(|| Broken::promise("nothing came"))?;
    let asked = LeaseRequest { wait_ms: Some(15_000), ..LeaseRequest::new("quick", HOLD) };
    let quick = queue.lease(&asked).await?.pop().ok_or_else(|| Broken::promise("it did not come again"))?;
    let refused = refused_as(queue.ack(&slow).await, Code::Fenced)?;
    queue.ack(&quick).await?;
    held(refused.to_string())
}

/// What one agent remembers another is handed, with where it came from.
pub(super) async fn remembered(site: &Site) -> Verdict {
    let (from, to): (Id, Id) = (site.fresh("from").parse()?, site.fresh("to").parse()?);
    let (giver, taker) = (site.mesh.memory(&from), site.mesh.memory(&to));
    let outcome = async {
        giver.put("fact", &json!({ "is": true })).await?;
        refused_as(giver.thread(&to, ["fact", "nothing"]).await, Code::NotFound)?;
        giver.thread(&to, ["fact"]).await?;
        let path = format!("/v1/memory/{to}/fact");
        let copy = site.api.get(&path, &[], Duration::ZERO).await?;
        match copy["provenance"]["from"] == from.as_str() && copy["value"]["is"] == true {
            true => held(format!("{} bytes", giver.statistics().await?.bytes)),
            false => Err(Broken::promise(format!("the copy is {copy}"))),
        }
    };
    let outcome = outcome.await;
    giver.clear().await?;
    taker.clear().await?;
    outcome
}
