//! `synod ledger show`: what an entity went through, as the ledger has it.

use crate::commands::event_line;
use crate::ledger::{Extent, Life, Moment, Source, Which};
use crate::output::{Format, Output, Stop};
use crate::settings::Settings;
use crate::terminal::{Screen, harmless};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use synod_protocol::{EntityId, Error, topics};

/// Arguments of `synod ledger show`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A task's or an agent's id
    #[arg(value_name = "ID")]
    id: EntityId,
    /// Read a file that `synod ledger export` wrote, not Kafka
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

pub(super) async fn run(
    settings: &Settings,
    args: Args,
    output: &mut Output<impl Write>,
) -> Result<(), Stop> {
    let source = super::source(settings, args.from.as_deref())?;
    let workspace = settings.workspace.value.clone();
    for extent in where_it_may_be(&source, &args.id).await? {
        let mut life = Life::of(workspace.clone(), args.id.clone());
        let mut trouble = None;
        let each = |entry| match life.record(&entry) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                trouble = Some(error);
                ControlFlow::Break(())
            }
        };
        source.read(extent, each).await?;
        if let Some(error) = trouble {
            return Err(Stop::Failed(format!("shard {}: {error}", extent.shard)));
        }
        if !life.moments().is_empty() {
            let value = value(&args.id, workspace.as_str(), extent, &life);
            return match output.format() {
                Format::Table => output.text(&text(&value, &life, output.screen())),
                Format::Json | Format::Yaml => output.structured(&value),
            };
        }
    }
    let missing = format!("no record of workspace {workspace} in the ledger is about {:?}", args.id.as_str());
    Err(Error::new(synod_protocol::Code::NotFound, missing).into())
}

/// The shard that its id names; in a file, whose mesh is not known, any.
async fn where_it_may_be(source: &Source, id: &EntityId) -> Result<Vec<Extent>, Stop> {
    let which = match source.shards().await? {
        Some(count) => Which::One(topics::partition(id.root().as_bytes(), count.max(1))),
        None => Which::All,
    };
    Ok(source.extents(which).await?)
}

fn value(id: &EntityId, workspace: &str, extent: Extent, life: &Life) -> Value {
    json!({
        "entity": id,
        "workspace": workspace,
        "shard": extent.shard,
        "read": { "from": extent.from, "to": extent.to.saturating_sub(1) },
        "standing": life.standing(),
        "moments": life.moments(),
        "claims_left_out": life.claims_left_out(),
    })
}

/// For people: a heading, then each moment with what happened in it.
fn text(value: &Value, life: &Life, screen: Screen) -> String {
    let standing = life.standing().map_or_else(
        || "nothing that counts".to_owned(),
        |s| {
            format!(
                "{} since offset {}{}",
                s.status,
                s.since_offset,
                if s.is_final { ", for good" } else { "" }
            )
        },
    );
    let workspace = harmless(value["workspace"].as_str().unwrap_or("-"));
    let id = harmless(value["entity"].as_str().unwrap_or("-"));
    let mut out = format!("{id}  workspace {workspace}, shard {}: {standing}\n", value["shard"]);
    if value["read"]["from"] != 0 {
        let _ = writeln!(
            out,
            "the ledger begins at offset {}: what was before is trimmed away",
            value["read"]["from"]
        );
    }
    for moment in life.moments() {
        out.push('\n');
        out.push_str(&told(moment, screen));
    }
    if life.claims_left_out() > 0 {
        let _ = writeln!(out, "\n{} more claims fell into this time", life.claims_left_out());
    }
    out
}

fn told(moment: &Moment, screen: Screen) -> String {
    let mut out = heading(moment);
    if let Some(why) = &moment.void {
        let void = if screen.colour { "\u{1b}[1;31mVOID\u{1b}[0m" } else { "VOID" };
        let _ = writeln!(out, "    {void}, as if it were not there: {why}");
    }
    if let Some(error) = &moment.rejected {
        let _ = writeln!(out, "    refused: {}", harmless(&error.to_string()));
    }
    for event in &moment.events {
        let (name, what) = (event_line::short_type(event), event_line::what(event));
        let name = name.split_once('.').map_or(name.as_str(), |(_, name)| name).to_owned();
        let _ = writeln!(out, "    {}", format!("{:<15} {}", harmless(&name), harmless(&what)).trim_end());
    }
    if moment.kind == "step" && moment.events.is_empty() && moment.rejected.is_none() {
        out.push_str("    nothing: it was had before\n");
    }
    out
}

/// Where, when, through which door, and on whose word.
fn heading(moment: &Moment) -> String {
    let at = moment.now.or(moment.appended_at).map_or_else(|| "-".to_owned(), |at| at.to_string());
    let place = format!("{:>8}  {at}  epoch {}, n {}", moment.offset, moment.epoch, moment.n);
    if let Some(shows) = &moment.shows {
        return format!("{place}, image: {}\n", harmless(shows));
    }
    let Some(input) = &moment.input else {
        let owner = harmless(moment.owner.as_deref().unwrap_or("-"));
        let from = moment.taken_from.as_deref().map_or_else(
            || "claims the shard anew".to_owned(),
            |before| format!("takes the shard over from {}", harmless(before)),
        );
        return format!("{:>8}  {at}  claim: {owner} {from}\n", moment.offset);
    };
    let mut out = format!("{place}, {}", input.door.as_str());
    if let Some(offset) = input.offset {
        let _ = write!(out, " at {offset}");
    }
    if let Some(ty) = &input.ty {
        let _ = write!(out, ", {}", harmless(ty.strip_prefix("synod.").unwrap_or(ty)));
    }
    if let Some(ce_id) = &input.ce_id {
        let _ = write!(out, ", ce_id {}", harmless(ce_id));
    }
    if let Some(place) = input.repeats {
        let _ = write!(out, ", again as at {place}");
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Entry;
    use synod_protocol::Workspace;

    fn entry(offset: u64, text: &str) -> Entry {
        Entry { offset, timestamp_ms: Some(0), key: None, value: Some(text.as_bytes().to_vec()) }
    }

    #[test]
    fn a_life_reads_from_top_to_bottom() {
        let id: EntityId = "t".parse().unwrap();
        let mut life = Life::of(Workspace::default_name(), id.clone());
        let step = |n: u64, events: &str, more: &str| {
            format!(
                r#"{{"v":1,"kind":"step","epoch":0,"n":{n},"now":"2026-11-21T08:00:00.000Z","workspace":"default","root":"t","input":{{"door":"kafka","ce_id":"c-{n}","offset":7,"type":"synod.task.cancel","entity":"t"}},"events":[{events}]{more},"floor":0,"done":0}}"#
            )
        };
        let cancelled = r#"{"entity":"t","type":"synod.task.cancelled","data":{"task_id":"t","status":"cancelled","reason":"lunch\u001b[2J"}}"#;
        let refused = r#","rejected":{"code":"invalid_transition","message":"the task has ended"}"#;
        for (offset, text) in [
            r#"{"v":1,"kind":"claim","owner":"one","at":"2026-11-21T08:00:00.000Z"}"#.to_owned(),
            step(1, cancelled, ""),
            r#"{"v":1,"kind":"claim","owner":"two","at":"2026-11-21T08:00:00.000Z"}"#.to_owned(),
            step(2, "", ""),
            step(1, "", refused).replace("\"epoch\":0", "\"epoch\":2"),
        ]
        .iter()
        .enumerate()
        {
            life.record(&entry(offset as u64, text)).unwrap();
        }
        let extent = Extent { shard: 3, from: 0, to: 5 };
        let shown = text(&value(&id, "default", extent, &life), &life, Screen::PLAIN);
        let wanted = "\
t  workspace default, shard 3: cancelled since offset 1, for good

       1  2026-11-21T08:00:00.000Z  epoch 0, n 1, kafka at 7, task.cancel, ce_id c-1
    cancelled       why lunch\\u{1b}[2J

       2  1970-01-01T00:00:00.000Z  claim: two takes the shard over from one

       3  2026-11-21T08:00:00.000Z  epoch 0, n 2, kafka at 7, task.cancel, ce_id c-2
    VOID, as if it were not there: epoch 0 was over since the claim at 2
    nothing: it was had before

       4  2026-11-21T08:00:00.000Z  epoch 2, n 1, kafka at 7, task.cancel, ce_id c-1
    refused: the task has ended
";
        assert_eq!(shown.replace("invalid_transition: ", ""), wanted);
    }
}
