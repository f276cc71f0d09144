//! `synod demo`: the mesh at work. The demo itself is in [`crate::demo`]; this is its command line.

use super::place::{Place, names_a_mesh};
use crate::demo::agents::Post;
use crate::demo::{Tree, TreeError, conduct, fleet, scenes, screen, serve, together};
use crate::mesh::{Ending, Ground, GroundError, run as on_runtime};
use crate::output::{Format, Output, Stop};
use crate::settings::{Flags, Settings, Source};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use synod_protocol::Id;

/// Arguments of `synod demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// The tree to analyse: all regular files beneath it [default: what git has here]
    #[arg(long, value_name = "DIR")]
    input: Option<PathBuf>,
    /// What to show
    #[arg(long, value_enum, default_value_t)]
    scene: Scene,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    limit: u64,
}

/// What to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Scene {
    /// One task per file of a tree; one of three agents is killed half way
    #[default]
    Files,
    /// One agent of three falls ill, and gets well again: balancing and circuit breakers
    Fleet,
    /// Shared state, a lock, a budget and a queue, each with somebody in the way
    Together,
    /// Agents decide: gauges of one river contradict each other, and the camps are reported
    Signals,
    /// Agents decide: how risky a change is, with one assessor who lies
    Risk,
    /// Agents decide: a cluster and a line are divided between teams that want more than there is
    Scarcity,
    /// Agents decide: a runbook at night, and somebody who does not wake up
    Emergency,
    /// Agents decide: a team bids for a stream of work, and one of them is killed over it
    Team,
}

impl Scene {
    /// Those in which agents decide together.
    fn of_decisions(self) -> Option<scenes::Scene> {
        match self {
            Scene::Files | Scene::Fleet | Scene::Together => None,
            Scene::Signals => Some(scenes::Scene::Signals),
            Scene::Risk => Some(scenes::Scene::Risk),
            Scene::Scarcity => Some(scenes::Scene::Scarcity),
            Scene::Emergency => Some(scenes::Scene::Emergency),
            Scene::Team => Some(scenes::Scene::Team),
        }
    }
}

/// Arguments of `synod demo-agent`.
#[derive(Debug, clap::Args)]
pub struct AgentArgs {
    #[arg(long)]
    root: PathBuf,
    #[arg(long)]
    id: Id,
    #[arg(long)]
    run: String,
    #[arg(long)]
    concurrency: u32,
}

/// Arguments of `synod demo-member`.
#[derive(Debug, clap::Args)]
pub struct MemberArgs {
    #[arg(long)]
    id: Id,
    #[arg(long)]
    run: String,
    #[arg(long, value_enum)]
    scene: scenes::Scene,
    #[arg(long)]
    name: String,
}

/// What an embedded mesh has begun may take so long at its end.
const FINISH_WITHIN: Duration = Duration::from_secs(1);

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = args.place.quiet_settings(flags)?;
    if args.scene == Scene::Fleet {
        return fleet_scene(settings, Duration::from_secs(args.limit), output);
    }
    if args.scene == Scene::Together {
        return together_scene(&settings, Duration::from_secs(args.limit), output);
    }
    if let Some(scene) = args.scene.of_decisions() {
        return decisions_scene(&settings, scene, Duration::from_secs(args.limit), output);
    }
    let tree = tree(args.input.as_deref())?;
    if tree.files.is_empty() {
        return Err(Stop::Failed(format!("there are no files in {:?}", tree.root)));
    }
    let limit = Duration::from_secs(args.limit);
    let report = on_runtime(async {
        let mut ending = Ending::listen().map_err(|error| Stop::Failed(error.to_string()))?;
        tokio::select! {
            report = report(&settings, &tree, limit) => report,
            // What was started ends as it is dropped.
            signal = ending.asked() => Err(Stop::Failed(format!("ended by {signal}"))),
        }
    })?;
    match output.format() {
        Format::Table => {
            let drawn = screen::draw(&report, output.screen());
            output.text(&drawn)?;
            super::note(
                "more of it: synod demo --scene fleet, together, signals, risk, scarcity, emergency or team",
            );
        }
        Format::Json | Format::Yaml => output.structured(&report)?,
    }
    match report.failed.len() {
        0 => Ok(()),
        failed => Err(Stop::Failed(format!("{failed} of {} files were not analysed", tree.files.len()))),
    }
}

fn fleet_scene(mut settings: Settings, limit: Duration, output: &mut Output<impl Write>) -> Result<(), Stop> {
    if settings.breaker.source == Source::Default {
        settings.breaker.value = fleet::BREAKER.parse().map_err(Stop::Failed)?;
    }
    let report = scene(&settings, limit, async |ground: &Ground| fleet::play(ground).await)?;
    match output.format() {
        Format::Table => output.text(&fleet::draw(&report))?,
        Format::Json | Format::Yaml => output.structured(&report)?,
    }
    match report.not_done {
        0 => Ok(()),
        some => Err(Stop::Failed(format!("{some} tasks were not done"))),
    }
}

fn together_scene(settings: &Settings, limit: Duration, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let report = scene(settings, limit, async |ground: &Ground| together::play(ground).await)?;
    match output.format() {
        Format::Table => output.text(&together::draw(&report)),
        Format::Json | Format::Yaml => output.structured(&report),
    }
}

fn decisions_scene(
    settings: &Settings,
    which: scenes::Scene,
    limit: Duration,
    output: &mut Output<impl Write>,
) -> Result<(), Stop> {
    let told = scene(settings, limit, async |ground: &Ground| which.play(ground).await)?;
    match output.format() {
        Format::Table => output.text(&scenes::draw(&told))?,
        Format::Json | Format::Yaml => output.structured(&told)?,
    }
    match told.doubtful() {
        0 => Ok(()),
        some => Err(Stop::Failed(format!("{some} certificates do not hold"))),
    }
}

/// Plays a scene on the mesh that was named, or on one of its own.
fn scene<T, E: std::error::Error>(
    settings: &Settings,
    limit: Duration,
    play: impl AsyncFnOnce(&Ground) -> Result<T, E>,
) -> Result<T, Stop> {
    on_runtime(async {
        let mut ending = Ending::listen().map_err(|error| Stop::Failed(error.to_string()))?;
        say_where(settings);
        let ground = Ground::of(settings, "synod-demo").await.map_err(stop)?;
        let played = tokio::select! {
            played = play(&ground) => played.map_err(|error| Stop::Failed(error.to_string())),
            () = tokio::time::sleep(limit) => Err(Stop::Failed(format!("not done within {} s", limit.as_secs()))),
            signal = ending.asked() => Err(Stop::Failed(format!("ended by {signal}"))),
        };
        ground.leave(FINISH_WITHIN).await;
        played
    })
}

async fn report(settings: &Settings, tree: &Tree, limit: Duration) -> Result<crate::demo::Report, Stop> {
    say_where(settings);
    let ground = Ground::of(settings, "synod-demo").await.map_err(stop)?;
    let conducted = conduct(tree, &ground, limit).await;
    ground.leave(FINISH_WITHIN).await;
    conducted.map_err(|error| Stop::Failed(error.to_string()))
}

pub(super) fn stop(error: GroundError) -> Stop {
    match error {
        GroundError::Embedded(error) => super::up::stop(error),
        GroundError::Api(error) => error.into(),
    }
}

/// Which mesh it will be; brokers alone name none, and whoever set them wants to know.
pub(super) fn say_where(settings: &Settings) {
    if names_a_mesh(settings) {
        return super::note(&format!("on the mesh at {}", settings.http_url.value));
    }
    let unused =
        [&settings.kafka_brokers.source, &settings.redis_url.source].iter().any(|s| **s != Source::Default);
    let hint = if unused { "; the Kafka and Redis that are set are not used without --http-url" } else { "" };
    super::note(&format!("on an embedded mesh, made for this run{hint}"));
}

fn tree(input: Option<&Path>) -> Result<Tree, Stop> {
    let tree = match input {
        Some(dir) => Tree::walk(dir),
        None => Tree::of_git(Path::new(".")),
    };
    tree.map_err(|error| match error {
        TreeError::Root { .. }
        | TreeError::NotADirectory(_)
        | TreeError::Git { .. }
        | TreeError::NoGit(_) => Stop::Usage(error.to_string()),
        TreeError::Path(_) | TreeError::TooMany => Stop::Failed(error.to_string()),
    })
}

pub(super) fn run_agent(args: AgentArgs, flags: Flags) -> Result<(), Stop> {
    let settings = Place::default().quiet_settings(flags)?;
    let AgentArgs { root, id, run, concurrency } = args;
    on_runtime(serve::serve(&settings, Post { root, id, run, concurrency }))
}

pub(super) fn run_member(args: MemberArgs, flags: Flags) -> Result<(), Stop> {
    let settings = Place::default().quiet_settings(flags)?;
    let MemberArgs { id, run, scene, name } = args;
    on_runtime(serve::take_part(&settings, scene, &id, &run, &name))
}
