//! `synod status`: shards, owners, lag, dependencies, of the whole mesh, asked of one coordinator.

use super::place::Place;
use crate::mesh::{Api, run as on_runtime};
use crate::output::{Column, Format, Output, Stop};
use crate::settings::Flags;
use serde_json::Value;
use std::io::Write;
use std::time::Duration;

/// Arguments of `synod status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = args.place.quiet_settings(flags)?;
    on_runtime(async {
        let status = Api::of(&settings)?.get("/v1/status", &[], Duration::ZERO).await?;
        shown(status, output)
    })
}

const COLUMNS: [Column; 11] = [
    Column::new("SHARD", "/shard").right(),
    Column::new("OWNER", "/owner"),
    Column::new("PHASE", "/phase"),
    Column::new("EPOCH", "/epoch").right(),
    Column::new("POSITION", "/position").right(),
    Column::new("LAG", "/lag").right(),
    Column::new("OLDEST MS", "/oldest_waiting_ms").right(),
    Column::new("ADVANCES", "/advancing"),
    Column::new("WAITING", "/waiting").right(),
    Column::new("UNPROVEN", "/in_flight").right(),
    Column::new("OWED", "/owed").right(),
];

const DUTIES: [Column; 6] = [
    Column::new("COORDINATOR", "/coordinator"),
    Column::new("DUTY", "/duty"),
    Column::new("RUNS", "/runs").right(),
    Column::new("FAILED", "/failures").right(),
    Column::new("LAST RUN", "/last_run_at"),
    Column::new("RESULT", "/result"),
];

/// The whole as it is; for people the shards one below the other.
fn shown(mut status: Value, output: &mut Output<impl Write>) -> Result<(), Stop> {
    if output.format() != Format::Table {
        return output.entity(&status);
    }
    let mut taken =
        |name: &str| status.as_object_mut().and_then(|members| members.remove(name)).unwrap_or_default();
    let (shards, duties) = (rows(taken("shards"), "owner"), rows(taken("duties"), "coordinator"));
    output.entity(&status)?;
    output.text("\n")?;
    output.list(&shards, &COLUMNS)?;
    output.text("\n")?;
    output.list(&duties, &DUTIES)
}

/// So much of an id's end tells coordinators apart; the whole of it stands above the rows.
const TAIL: usize = 6;

/// The rows of a table, each on one line of a small terminal: of who it is about only the id's end.
fn rows(list: Value, who: &str) -> Vec<Value> {
    let Value::Array(mut rows) = list else { return Vec::new() };
    for row in &mut rows {
        if let Some(id) = row[who].as_str()
            && let Some((cut, _)) = id.char_indices().rev().nth(TAIL - 1).filter(|(cut, _)| *cut > 1)
        {
            row[who] = format!("\u{2026}{}", &id[cut..]).into();
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::Screen;
    use serde_json::json;

    #[test]
    fn each_shard_and_each_duty_is_one_line_of_a_small_terminal() {
        let id = "coord_01a203bc-d721-7102-b721-347a12a1677e";
        let shard = |n: u32| {
            json!({"shard": n, "owner": id, "phase": "serving", "epoch": 12, "position": 1_234, "lag": 0,
                "oldest_waiting_ms": null, "advancing": true, "waiting": 0, "in_flight": 0, "owed": 0})
        };
        let duty = json!({"coordinator": id, "duty": "presence", "runs": 12, "failures": 0,
            "last_run_at": "2026-11-22T14:50:39Z", "result": "0 away"});
        let status =
            json!({"coordinators": {id: "127.0.0.1:7700"}, "duties": [duty], "shards": [shard(0), shard(1)]});
        let mut bytes = Vec::new();
        let mut output = Output::new(&mut bytes, Format::Table, Screen { width: 80, colour: false });
        shown(status, &mut output).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let rows: Vec<&str> = text.lines().filter(|line| line.contains("\u{2026}a1677e")).collect();
        assert_eq!(rows.len(), 3, "{text}");
        let whole = |row: &&str| row.contains("serving") && row.contains("1234") && row.contains("true");
        assert!(rows[..2].iter().all(whole) && rows[2].contains("0 away"), "{text}");
        let begun = text.lines().position(|line| line.contains("serving")).unwrap();
        assert!(text.lines().nth(begun + 1).unwrap().contains("serving"), "{text}");
    }

    #[test]
    fn a_short_name_stays_as_it_is() {
        let rows = rows(json!([{"owner": "anna"}, {"owner": null}, {"owner": "c-first"}]), "owner");
        assert_eq!(rows, [json!({"owner": "anna"}), json!({"owner": null}), json!({"owner": "c-first"})]);
    }
}
