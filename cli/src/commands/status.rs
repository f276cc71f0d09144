//! `synod status`: shards, owners, lag, dependencies, of the whole mesh, asked of one coordinator.

use super::place::Place;
use crate::mesh::{Api, run as on_runtime};
use crate::output::{Column, Format, Output, Stop};
use crate::settings::Flags;
use serde_json::{Map, Value, json};
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

const COORDINATORS: [Column; 2] =
    [Column::new("COORDINATOR", "/coordinator"), Column::new("ADDRESS", "/address")];

// As many as fit on a line of 80 with an address; the rest is in the JSON.
const SHARDS: [Column; 8] = [
    Column::new("SHARD", "/shard").right(),
    Column::new("OWNER", "/owner"),
    Column::new("PHASE", "/phase"),
    Column::new("EPOCH", "/epoch").right(),
    Column::new("POSITION", "/position").right(),
    Column::new("LAG", "/lag").right(),
    Column::new("AGE MS", "/oldest_waiting_ms").right(),
    Column::new("WAITING", "/waiting").right(),
];

const DUTIES: [Column; 6] = [
    Column::new("COORDINATOR", "/coordinator"),
    Column::new("DUTY", "/duty"),
    Column::new("RUNS", "/runs").right(),
    Column::new("FAILED", "/failures").right(),
    Column::new("MS AGO", "/last_run_ms_ago").right(),
    Column::new("RESULT", "/result"),
];

/// The whole as it is; for people what there are many of, one below the other.
fn shown(mut status: Value, output: &mut Output<impl Write>) -> Result<(), Stop> {
    if output.format() != Format::Table {
        return output.entity(&status);
    }
    let mut taken =
        |name: &str| status.as_object_mut().and_then(|members| members.remove(name)).unwrap_or_default();
    let addresses = match taken("coordinators") {
        Value::Object(addresses) => addresses,
        _ => Map::new(),
    };
    let (mut shards, mut duties) = (rows(taken("shards")), rows(taken("duties")));
    for shard in &mut shards {
        by_address(&mut shard["owner"], &addresses);
        if shard["phase"] == "serving" && shard["advancing"] == false {
            shard["phase"] = json!("stuck");
        }
    }
    duties.iter_mut().for_each(|duty| by_address(&mut duty["coordinator"], &addresses));
    let coordinators: Vec<Value> = addresses
        .iter()
        .map(|(coordinator, address)| json!({"coordinator": coordinator, "address": address}))
        .collect();
    output.entity(&status)?;
    for (items, columns) in [(coordinators, &COORDINATORS[..]), (shards, &SHARDS[..]), (duties, &DUTIES[..])]
    {
        output.text("\n")?;
        output.list(&items, columns)?;
    }
    Ok(())
}

fn rows(list: Value) -> Vec<Value> {
    match list {
        Value::Array(rows) => rows.into_iter().filter(Value::is_object).collect(),
        _ => Vec::new(),
    }
}

/// Names a coordinator by where it listens, which is shorter than its id and stands beside it above.
fn by_address(coordinator: &mut Value, addresses: &Map<String, Value>) {
    if let Some(address) = coordinator.as_str().and_then(|id| addresses.get(id)) {
        *coordinator = address.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::Screen;

    #[test]
    fn a_shard_is_one_line_of_eighty_and_says_when_it_stands_still() {
        let id = "coord_01a2044d-ba7b-7757-88b5-38a55b5492c8";
        let shard = |shard: u32, advancing: bool, owner: &str| {
            json!({"shard": shard, "phase": "serving", "owner": owner, "epoch": 12_345, "position": 12_345_678,
                "lag": 17, "oldest_waiting_ms": 12_000, "waiting": 3, "advancing": advancing})
        };
        let status = json!({
            "coordinators": {id: "127.0.0.1:65535"}, "ready": true,
            "shards": [shard(0, true, id), shard(1, false, id), shard(2, true, "gone")],
            "duties": [{"coordinator": id, "duty": "heartbeats", "runs": 3, "failures": 0,
                "last_run_ms_ago": 113, "result": "0 agents have beaten"}],
        });
        let mut written = Vec::new();
        let screen = Screen { colour: false, width: 80 };
        shown(status, &mut Output::new(&mut written, Format::Table, screen)).unwrap();
        let written = String::from_utf8(written).unwrap();
        let begins =
            |line: &str, words: &[&str]| line.split_whitespace().take(words.len()).eq(words.to_vec());
        for words in [
            &["0", "127.0.0.1:65535", "serving", "12345", "12345678", "17", "12000", "3"][..],
            &["1", "127.0.0.1:65535", "stuck"],
            &["2", "gone", "serving"],
            &[id, "127.0.0.1:65535"],
            &["127.0.0.1:65535", "heartbeats", "3", "0", "113", "0", "agents"],
        ] {
            assert_eq!(
                written.lines().filter(|line| begins(line, words)).count(),
                1,
                "{words:?} in\n{written}"
            );
        }
        assert!(written.lines().all(|line| line.chars().count() <= 80), "{written}");
    }
}
