//! `synod approval …`: ask people to decide, see what waits for whom, decide.

use super::ending::{APPROVAL, WAIT_MS};
use super::place::Place;
use super::text;
use crate::mesh::{Api, run as on_runtime};
use crate::output::{Column, Output, Stop};
use crate::settings::Flags;
use clap::Subcommand;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;
use synod_protocol::approval::{DecideApproval, Decision, Need, RequestApproval, ResubmitApproval};
use synod_protocol::{EntityId, Id, Json};

/// Arguments of `synod approval`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Ask people to decide
    Request(Box<Request>),
    /// List approvals, pending ones and those that ended lately
    List(List),
    /// Show one: what is asked, who may decide, who has
    Get(Get),
    /// Say yes
    Approve(Decide),
    /// Say no
    Reject(Decide),
    /// Want it otherwise
    RequestChanges(Decide),
    /// Want it no more
    Cancel(Decide),
    /// Ask once more, otherwise, where changes were requested
    Resubmit(Resubmit),
    /// Wait until it is over; exit status 1 where it was not approved
    Wait(Wait),
}

#[derive(Debug, clap::Args)]
struct Request {
    /// What is asked, in one line
    #[arg(long, value_name = "TEXT")]
    title: String,
    /// Who may decide: a name, or all in a role as role:<name>; once for each
    #[arg(long = "approver", value_name = "WHO", required = true)]
    approvers: Vec<String>,
    /// Who of them has to approve, whoever else does; once for each
    #[arg(long = "required", value_name = "WHO")]
    required: Vec<String>,
    /// How many of them have to approve: any, all, or a number [default: any]
    #[arg(long, value_name = "HOW MANY", value_parser = need)]
    need: Option<Need>,
    /// Exactly what is shown and decided on, one JSON value, or @FILE with it; @- is stdin [default: null]
    #[arg(long, value_name = "JSON")]
    show: Option<String>,
    /// Its id; asking for the same one again makes no second
    #[arg(long)]
    id: Option<EntityId>,
    /// Milliseconds until it is timed out [default: 24 hours]
    #[arg(long, value_name = "MS")]
    expires_after_ms: Option<u64>,
    /// Milliseconds after which it is approved by itself where nobody has decided [default: never]
    #[arg(long, value_name = "MS")]
    auto_approve_after_ms: Option<u64>,
    /// JSON Schema of the data that comes with an approval, or @FILE with it
    #[arg(long, value_name = "JSON")]
    response_schema: Option<String>,
    /// Revisions that there may be in all, 1 to 20 [default: 3]
    #[arg(long, value_name = "N")]
    max_revisions: Option<u32>,
    /// A label to find it by; once for each
    #[arg(long = "label", value_name = "NAME:VALUE", value_parser = text::label)]
    labels: Vec<(String, String)>,
    /// Wait until it is over, so many milliseconds at most
    #[arg(long, value_name = "MS", num_args = 0..=1, require_equals = true, default_missing_value = WAIT_MS)]
    wait: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only those that stand so: pending, approved, rejected, changes_requested, cancelled, timed_out
    #[arg(long)]
    status: Option<String>,
    /// Only those that wait for this person
    #[arg(long, value_name = "WHO")]
    approver: Option<String>,
    /// Only those that wait for somebody in this role; with --approver, for him in it; once for each
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Only those of this execution
    #[arg(long)]
    execution: Option<Id>,
    /// Only those with this label
    #[arg(long, value_name = "NAME:VALUE")]
    label: Option<String>,
    /// At most so many, 1 to 10,000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The approval's id
    #[arg(value_name = "APPROVAL")]
    id: EntityId,
}

#[derive(Debug, clap::Args)]
struct Get {
    #[command(flatten)]
    which: Which,
    /// Wait until it is over, so many milliseconds at most
    #[arg(long, value_name = "MS", num_args = 0..=1, require_equals = true, default_missing_value = WAIT_MS)]
    wait: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct Decide {
    #[command(flatten)]
    which: Which,
    /// As whom
    #[arg(long = "as", value_name = "WHO")]
    approver: String,
    /// In which role, without role:; once for each
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// For people
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// What the decision stands for, such as `reviewed`
    #[arg(long, value_name = "TEXT")]
    meaning: Option<String>,
    /// Data, as the approval's schema wants it, one JSON value, or @FILE with it
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    /// The fingerprint of what was looked at: if it shows something else, the decision is refused
    #[arg(long, value_name = "FINGERPRINT")]
    shown: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Resubmit {
    #[command(flatten)]
    which: Which,
    /// What is asked, in one line [default: as before]
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Exactly what is shown and decided on, one JSON value, or @FILE with it; @- is stdin
    #[arg(long, value_name = "JSON")]
    show: String,
}

#[derive(Debug, clap::Args)]
struct Wait {
    #[command(flatten)]
    which: Which,
    /// At most so many milliseconds
    #[arg(value_name = "MS", default_value = WAIT_MS)]
    ms: u64,
}

const COLUMNS: [Column; 6] = [
    Column::new("APPROVAL", "/approval_id"),
    Column::new("STATUS", "/status"),
    Column::new("TITLE", "/title"),
    Column::new("APPROVERS", "/approvers"),
    Column::new("ASKED", "/created_at"),
    Column::new("EXPIRES", "/expires_at"),
];

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = args.place.quiet_settings(flags)?;
    on_runtime(async {
        let api = Api::of(&settings)?;
        match args.verb {
            Verb::Request(request) => requested(&api, *request, output).await,
            Verb::List(list) => {
                let List { status, approver, roles, execution, label, limit } = list;
                let given = [
                    ("status", status),
                    ("approver", approver),
                    ("execution", execution.map(|id| id.to_string())),
                    ("label", label),
                ];
                let mut query = vec![("limit", limit.min(100).to_string())];
                query.extend(given.into_iter().filter_map(|(name, value)| Some((name, value?))));
                query.extend(roles.into_iter().map(|role| ("role", role)));
                output.list(&super::pages(&api, APPROVAL.path, &query, limit as usize).await?, &COLUMNS)
            }
            Verb::Get(Get { which, wait }) => APPROVAL.show(&api, which.id.as_str(), wait, output).await,
            Verb::Wait(Wait { which, ms }) => APPROVAL.show(&api, which.id.as_str(), Some(ms), output).await,
            Verb::Approve(decide) => decided(&api, Decision::Approve, decide, output).await,
            Verb::Reject(decide) => decided(&api, Decision::Reject, decide, output).await,
            Verb::RequestChanges(decide) => decided(&api, Decision::RequestChanges, decide, output).await,
            Verb::Cancel(decide) => decided(&api, Decision::Cancel, decide, output).await,
            Verb::Resubmit(Resubmit { which: Which { id }, title, show }) => {
                let show = text::json("what is shown", &show)?;
                let body = ResubmitApproval { approval_id: id.clone(), title, show };
                post(&api, &id, "revisions", &body, output).await
            }
        }
    })
}

async fn requested(api: &Api, request: Request, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let read = |what: &str, given: Option<String>| given.map(|given| text::json(what, &given)).transpose();
    let id = request.id.unwrap_or_else(|| Id::made("appr_", uuid::Uuid::now_v7()).into());
    let labels: BTreeMap<String, String> = request.labels.into_iter().collect();
    let body = RequestApproval {
        approval_id: id.clone(),
        title: request.title,
        show: read("what is shown", request.show)?.unwrap_or_default(),
        approvers: request.approvers,
        required: Some(request.required).filter(|required| !required.is_empty()),
        need: request.need,
        expires_after_ms: request.expires_after_ms,
        auto_approve_after_ms: request.auto_approve_after_ms,
        response_schema: read("the schema", request.response_schema)?,
        max_revisions: request.max_revisions,
        labels: Some(labels).filter(|labels| !labels.is_empty()),
    };
    let (_, made) = api.post(APPROVAL.path, &[], &body, Duration::ZERO).await?;
    match request.wait {
        None => output.entity(&made),
        wait => APPROVAL.show(api, id.as_str(), wait, output).await,
    }
}

async fn decided(
    api: &Api,
    decision: Decision,
    decide: Decide,
    output: &mut Output<impl Write>,
) -> Result<(), Stop> {
    let Decide { which: Which { id }, approver, roles, comment, meaning, data, shown } = decide;
    let response_data: Option<Json> = data.map(|data| text::json("the data", &data)).transpose()?;
    let roles: BTreeSet<String> = roles.into_iter().collect();
    let roles = Some(roles).filter(|roles| !roles.is_empty());
    let approval_id = id.clone();
    let body =
        DecideApproval { approval_id, decision, approver, roles, comment, meaning, response_data, shown };
    post(api, &id, "decisions", &body, output).await
}

async fn post<T: Serialize>(
    api: &Api,
    id: &EntityId,
    what: &str,
    body: &T,
    output: &mut Output<impl Write>,
) -> Result<(), Stop> {
    let path = format!("{}/{what}", APPROVAL.at(id.as_str()));
    output.entity(&api.post(&path, &[], body, Duration::ZERO).await?.1)
}

fn need(text: &str) -> Result<Need, String> {
    match text {
        "any" => Ok(Need::Any),
        "all" => Ok(Need::All),
        number => number.parse().map(Need::Quorum).map_err(|_| "any, all, or a number".to_owned()),
    }
}
