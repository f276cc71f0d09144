//! `synod state diff KEY FROM [TO]`: what is different from one version of a value to another.

use crate::mesh::Api;
use crate::output::{Column, Output, Stop};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use synod_protocol::Name;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The key
    #[arg(value_name = "KEY")]
    key: Name,
    /// A version in its history
    #[arg(value_name = "FROM")]
    from: u64,
    /// Another [default: what is there now]
    #[arg(value_name = "TO")]
    to: Option<u64>,
}

const COLUMNS: [Column; 4] = [
    Column::new("CHANGE", "/change"),
    Column::new("WHERE", "/pointer"),
    Column::new("FROM", "/from"),
    Column::new("TO", "/to"),
];

pub(super) async fn run(api: &Api, args: Args, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let from = super::entry(api, &args.key, Some(args.from)).await?;
    let to = super::entry(api, &args.key, args.to).await?;
    let mut rows = Vec::new();
    compare("", &from["value"], &to["value"], &mut rows);
    output.list(&rows, &COLUMNS)
}

/// One row for each place, as a JSON pointer, at which the two are different; arrays are compared place by place.
fn compare(pointer: &str, from: &Value, to: &Value, rows: &mut Vec<Value>) {
    let inside = |name: &str| format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
    match (from, to) {
        (from, to) if from == to => {}
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                one(&inside(name), a.get(name), b.get(name), rows);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for n in 0..a.len().max(b.len()) {
                one(&inside(&n.to_string()), a.get(n), b.get(n), rows);
            }
        }
        (from, to) => rows.push(json!({"change": "changed", "pointer": pointer, "from": from, "to": to})),
    }
}

fn one(pointer: &str, from: Option<&Value>, to: Option<&Value>, rows: &mut Vec<Value>) {
    match (from, to) {
        (Some(from), Some(to)) => compare(pointer, from, to, rows),
        (Some(from), None) => rows.push(json!({"change": "removed", "pointer": pointer, "from": from})),
        (None, Some(to)) => rows.push(json!({"change": "added", "pointer": pointer, "to": to})),
        (None, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_that_is_different_is_told_once() {
        let mut rows = Vec::new();
        let from = json!({"a": 1, "b": {"c/d": [1, 2], "same": true}, "gone": null});
        let to = json!({"a": 2, "b": {"c/d": [1, 3, 4], "same": true}, "new": {}});
        compare("", &from, &to, &mut rows);
        let told: Vec<String> = rows
            .iter()
            .map(|row| {
                format!("{} {} {} {}", row["change"], row["pointer"], row["from"], row["to"]).replace('"', "")
            })
            .collect();
        let want = [
            "changed /a 1 2",
            "changed /b/c~1d/1 2 3",
            "added /b/c~1d/2 null 4",
            "removed /gone null null",
            "added /new null {}",
        ];
        assert_eq!(told, want);
        compare("", &json!(1), &json!(1), &mut rows);
        assert_eq!(rows.len(), want.len());
    }
}
