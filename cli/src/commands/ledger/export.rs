//! `synod ledger export`: a shard's records as lines of JSON, for `synod replay` and for other people's tools.

use super::Shards;
use crate::ledger::{Extent, Line, Source};
use crate::output::{Column, Output, Stop};
use crate::settings::Settings;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Arguments of `synod ledger export`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    shards: Shards,
    /// Where to; - is stdout. The file has its name only when it is whole
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

const COLUMNS: [Column; 4] = [
    Column::new("SHARD", "/shard").right(),
    Column::new("FROM", "/from").right(),
    Column::new("TO", "/to").right(),
    Column::new("RECORDS", "/records").right(),
];

pub(super) async fn run(
    settings: &Settings,
    args: Args,
    output: &mut Output<impl Write>,
) -> Result<(), Stop> {
    let source = super::source(settings, None)?;
    let extents = source.extents(args.shards.into()).await?;
    if args.to == Path::new("-") {
        let exported =
            exported(&source, &extents, &mut BufWriter::new(io::stdout())).await.map_err(|e| match e {
                Unable::Written(error) => Stop::Stdout(error),
                Unable::Read(stop) => stop,
            })?;
        for (extent, records) in exported {
            super::super::note(&said(extent, records));
        }
        return Ok(());
    }
    let failed = |why: io::Error| Stop::Failed(format!("{}: {why}", args.to.display()));
    let folder = args.to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let mut writer = BufWriter::new(file.as_file_mut());
    let exported = exported(&source, &extents, &mut writer).await;
    drop(writer);
    let exported = exported.map_err(|e| match e {
        Unable::Written(error) => failed(error),
        Unable::Read(stop) => stop,
    })?;
    kept(file, &args.to).map_err(failed)?;
    let rows: Vec<Value> = exported.iter().map(|(extent, records)| row(*extent, *records)).collect();
    output.list(&rows, &COLUMNS)
}

/// Makes it the file of that name, on the disk.
fn kept(file: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    let file: File = file.persist(path).map_err(|error| error.error)?;
    drop(file);
    Ok(())
}

/// Why there is no export.
enum Unable {
    Written(io::Error),
    Read(Stop),
}

/// Writes every record of these, one shard after the other; how many there were of each.
async fn exported(
    source: &Source,
    extents: &[Extent],
    writer: &mut impl Write,
) -> Result<Vec<(Extent, u64)>, Unable> {
    let mut all = Vec::with_capacity(extents.len());
    for extent in extents {
        let (mut records, mut trouble) = (0, None);
        let each = |entry| {
            let line =
                serde_json::to_writer(&mut *writer, &Line::of(extent.shard, &entry)).map_err(io::Error::from);
            match line.and_then(|()| writer.write_all(b"\n")) {
                Ok(()) => {
                    records += 1;
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    trouble = Some(error);
                    ControlFlow::Break(())
                }
            }
        };
        source.read(*extent, each).await.map_err(|error| Unable::Read(error.into()))?;
        if let Some(error) = trouble {
            return Err(Unable::Written(error));
        }
        all.push((*extent, records));
    }
    writer.flush().map_err(Unable::Written)?;
    Ok(all)
}

fn row(extent: Extent, records: u64) -> Value {
    let Extent { shard, from, to } = extent;
    // The last offset that is in it; none of an empty shard.
    let last = (!extent.is_empty()).then(|| to - 1);
    json!({ "shard": shard, "from": last.map(|_| from), "to": last, "records": records })
}

fn said(extent: Extent, records: u64) -> String {
    let Extent { shard, from, to } = extent;
    match extent.is_empty() {
        true => format!("shard {shard}: no records"),
        false => format!("shard {shard}: offsets {from} to {}, {records} records", to - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_said_with_both_ends() {
        let extent = Extent { shard: 3, from: 5, to: 8 };
        assert_eq!(row(extent, 3), json!({"shard": 3, "from": 5, "to": 7, "records": 3}));
        assert_eq!(said(extent, 3), "shard 3: offsets 5 to 7, 3 records");
        let empty = Extent { to: 5, ..extent };
        assert_eq!(row(empty, 0)["to"], Value::Null);
        assert_eq!(said(empty, 0), "shard 3: no records");
    }
}
