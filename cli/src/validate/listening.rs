//! Who listens is told of what happens, and resumes where it was.

use super::site::SOON;
use super::{Broken, Site, Verdict, held};
use agent_sdk::ServerEvents;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// An approval is told to who listens, and what came after it to who resumes behind it; each once.
pub(super) async fn told_of_approval(site: &Site) -> Verdict {
    let (id, approver) = (site.fresh("listening"), site.fresh("somebody"));
    let path = format!("/v1/events/stream?type=synod.approval.*&entity={id}");
    let mut stream = listen(site, &path).await?;
    let asked = json!({"approval_id": id, "title": "validate", "approvers": [approver]});
    let began = Instant::now();
    site.api.post("/v1/approvals", &[], &asked, Duration::ZERO).await?;
    let position = event(&mut stream, "synod.approval.required", &id).await?;
    let told = began.elapsed();
    drop(stream);
    let decision = json!({"decision": "approve", "approver": approver});
    site.api.post(&format!("/v1/approvals/{id}/decisions"), &[], &decision, Duration::ZERO).await?;
    let mut resumed = site.api.events(&path, Some(&position)).await?;
    event(&mut resumed, "synod.approval.granted", &id).await?;
    held(format!("told within {:.1} ms, and of its end after a resume", told.as_secs_f64() * 1000.0))
}

/// Listens from now on.
pub(super) async fn listen(site: &Site, path: &str) -> Result<ServerEvents, Broken> {
    let mut stream = site.api.events(path, None).await?;
    match next(&mut stream).await? {
        Heard::Position => Ok(stream),
        Heard::Event(..) => Err(Broken::promise("the stream does not begin with its position")),
    }
}

/// What a stream said.
enum Heard {
    /// Where it is, and nothing else.
    Position,
    /// An event, and the position after it.
    Event(String, Value),
}

async fn next(stream: &mut ServerEvents) -> Result<Heard, Broken> {
    let said = tokio::time::timeout(SOON, stream.next()).await;
    let said = said.map_err(|_| Broken::promise("nothing was told in time"))?;
    let said = said.ok_or_else(|| Broken::promise("the stream ended"))?;
    let position = said.id.ok_or_else(|| Broken::promise("something was told without a position"))?;
    Ok(match said.data {
        Some(data) => Heard::Event(position, serde_json::from_str(&data)?),
        None => Heard::Position,
    })
}

/// The next event, which must be this one; the position after it.
pub(super) async fn event(stream: &mut ServerEvents, ty: &str, entity: &str) -> Result<String, Broken> {
    loop {
        match next(stream).await? {
            Heard::Position => {}
            Heard::Event(position, event) if event["type"] == ty && event["entity"] == entity => {
                return Ok(position);
            }
            Heard::Event(_, event) => {
                return Err(Broken::promise(format!("{event} was told where {ty} of {entity} is promised")));
            }
        }
    }
}
