//! `synod state policy …`: what becomes of conflicting writes, by prefix.

use super::put::{rule, strategy};
use crate::mesh::{Api, segment};
use crate::output::{Column, Output, Stop};
use clap::Subcommand;
use reqwest::Method;
use std::io::Write;
use std::time::Duration;
use synod_protocol::Name;
use synod_protocol::primitives::state::{Policy, Rule, Rules, Strategy};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List them
    List,
    /// Show that of a prefix
    Get(Which),
    /// Set that of a prefix; of several that a key has the longest decides
    Set(Set),
    /// Take that of a prefix away
    Remove(Which),
}

#[derive(Debug, clap::Args)]
struct Which {
    /// What the keys begin with
    #[arg(value_name = "PREFIX")]
    prefix: Name,
}

#[derive(Debug, clap::Args)]
struct Set {
    /// What the keys begin with
    #[arg(value_name = "PREFIX")]
    prefix: Name,
    /// reject, last_write_wins, first_write_wins or merge
    #[arg(value_name = "STRATEGY", value_parser = strategy)]
    strategy: Strategy,
    /// A field's rule in a merge, max, min, sum, union or append: /counts/done=sum
    #[arg(long = "rule", value_name = "POINTER=RULE", value_parser = rule)]
    rules: Vec<(String, Rule)>,
}

const COLUMNS: [Column; 3] =
    [Column::new("PREFIX", "/prefix"), Column::new("STRATEGY", "/strategy"), Column::new("RULES", "/rules")];

pub(super) async fn run(api: &Api, args: Args, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let path = |prefix: &Name| format!("/v1/state-policies/{}", segment(prefix.as_str()));
    match args.verb {
        Verb::List => {
            let all = api.get("/v1/state-policies", &[], Duration::ZERO).await?;
            output.list(crate::commands::items(&all), &COLUMNS)
        }
        Verb::Get(Which { prefix }) => output.entity(&api.get(&path(&prefix), &[], Duration::ZERO).await?),
        Verb::Set(Set { prefix, strategy, rules }) => {
            let policy = Policy { strategy, rules: Rules(rules.into_iter().collect()) };
            let body = serde_json::to_string(&policy).map_err(|error| Stop::Failed(error.to_string()))?;
            output.entity(&api.ask(Method::PUT, &path(&prefix), &[], Some(body)).await?.1)
        }
        Verb::Remove(Which { prefix }) => {
            api.ask(Method::DELETE, &path(&prefix), &[], None).await?;
            output.text(&format!("the policy of {prefix} is taken away\n"))
        }
    }
}
