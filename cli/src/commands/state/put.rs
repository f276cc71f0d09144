//! `synod state put KEY VALUE`.

use super::path;
use crate::commands::text;
use crate::mesh::Api;
use crate::output::{Output, Stop};
use reqwest::Method;
use std::io::Write;
use std::path::PathBuf;
use synod_protocol::primitives::state::{
    Durability, LockHeld, Metadata, Put, Rule, Rules, Strategy, VALUE_BYTES,
};
use synod_protocol::{Json, Name};

/// Bytes that are read at most: a value with white space.
const READ_BYTES: u64 = 4 * VALUE_BYTES as u64;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The key
    #[arg(value_name = "KEY")]
    key: Name,
    /// The value, one JSON value; a text is written '"like this"'
    #[arg(value_name = "VALUE", required_unless_present = "file", conflicts_with = "file")]
    value: Option<String>,
    /// The file with the value, one JSON value; - is stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// It ends by itself after so many ms, 1 to 10^12
    #[arg(long, value_name = "MS")]
    ttl_ms: Option<u64>,
    /// Only if the key has this version; else what --strategy or the policy says
    #[arg(long, value_name = "VERSION", conflicts_with_all = ["if_absent", "if_present"])]
    if_version: Option<u64>,
    /// Only if the key is not there
    #[arg(long, conflicts_with = "if_present")]
    if_absent: bool,
    /// Only if the key is there
    #[arg(long)]
    if_present: bool,
    /// What becomes of it in a conflict: reject, last_write_wins, first_write_wins, merge
    #[arg(long, value_name = "STRATEGY", value_parser = strategy)]
    strategy: Option<Strategy>,
    /// A field's rule in a merge, max, min, sum, union or append: /counts/done=sum
    #[arg(long = "rule", value_name = "POINTER=RULE", value_parser = rule)]
    rules: Vec<(String, Rule)>,
    /// A media type
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// To find it by; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// A lock that must be held
    #[arg(long, value_name = "NAME", requires = "token")]
    lock: Option<Name>,
    /// The token that the lock's holder was given
    #[arg(long, value_name = "TOKEN", requires = "lock")]
    token: Option<u64>,
    /// Answer once the mirror in Kafka has it
    #[arg(long)]
    durable: bool,
}

pub(super) fn strategy(text: &str) -> Result<Strategy, String> {
    serde_json::from_value(text.into())
        .map_err(|_| "one of reject, last_write_wins, first_write_wins, merge".to_owned())
}

pub(super) fn rule(text: &str) -> Result<(String, Rule), String> {
    let (pointer, rule) = text.rsplit_once('=').ok_or("POINTER=RULE, such as /counts/done=sum")?;
    let rule =
        serde_json::from_value(rule.into()).map_err(|_| "the rule is max, min, sum, union or append")?;
    Ok((pointer.to_owned(), rule))
}

pub(super) async fn run(
    api: &Api,
    args: Args,
    by: Vec<(&'static str, String)>,
    output: &mut Output<impl Write>,
) -> Result<(), Stop> {
    let text = match (&args.value, &args.file) {
        (Some(value), _) => value.clone(),
        (None, Some(file)) => text::read("the value", file, READ_BYTES)?,
        (None, None) => return Err(Stop::Usage("name a VALUE or a --file".to_owned())),
    };
    let value = Json::parse(text.trim()).map_err(|error| {
        Stop::Usage(format!("the value is not one JSON value ({error}); a text is written '\"like this\"'"))
    })?;
    let version = args.if_version.map(|version| ("if-match", format!("\"{version}\"")));
    let present = args.if_present.then(|| ("if-match", "*".to_owned()));
    let absent = args.if_absent.then(|| ("if-none-match", "*".to_owned()));
    let headers: Vec<_> = by.into_iter().chain(version).chain(present).chain(absent).collect();
    let metadata = Metadata { content_type: args.content_type, tags: args.tags, ..Metadata::default() };
    let put = Put {
        ttl_ms: args.ttl_ms,
        metadata: (metadata != Metadata::default()).then_some(metadata),
        strategy: args.strategy,
        rules: (!args.rules.is_empty()).then(|| Rules(args.rules.into_iter().collect())),
        durability: if args.durable { Durability::Ledger } else { Durability::Memory },
        lock: args.lock.zip(args.token).map(|(name, token)| LockHeld { name, token }),
        ..Put::of(value)
    };
    // As text, so that a number is not read and written again on its way.
    let body = serde_json::to_string(&put).map_err(|error| Stop::Failed(error.to_string()))?;
    output.entity(&api.ask(Method::PUT, &path(&args.key), &headers, Some(body)).await?.1)
}
