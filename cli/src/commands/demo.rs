//! `synod demo`: the mesh at work. The demo itself is in [`crate::demo`]; this is its command line.

use super::place::{Place, names_a_mesh};
use crate::demo::agents::Post;
use crate::demo::{Tree, TreeError, conduct, fleet, people, scenes, screen, serve, together};
use crate::mesh::{Ending, Ground, GroundError, run as on_runtime};
use crate::output::{Column, Format, Output, Stop};
use crate::settings::{Flags, Settings, Source};
use crate::terminal::Screen;
use clap::ValueEnum as _;
use serde::Serialize;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
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
    /// Workflows: a page is drafted, somebody wants it otherwise and its owner is killed meanwhile; a team asks its expert
    People,
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
    /// Every one of these, each under a minute, and a summary
    All,
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

/// Arguments of `synod demo-coordinator`.
#[derive(Debug, clap::Args)]
pub struct CoordinatorArgs {
    #[arg(long)]
    id: Id,
}

/// Where all scenes are played, each of them gets so long.
const SCENE_LIMIT: Duration = Duration::from_secs(60);

const SUMMARY: [Column; 4] = [
    Column::new("SCENE", "/scene"),
    Column::new("RESULT", "/result"),
    Column::new("SECONDS", "/took_s").right(),
    Column::new("WHY", "/wrong"),
];

/// What an embedded mesh has begun may take so long at its end.
const FINISH_WITHIN: Duration = Duration::from_secs(1);

/// A scene that was played.
struct Played {
    /// For programs.
    report: Value,
    /// For people.
    drawn: String,
    /// What did not go as it should.
    wrong: Option<String>,
}

impl Played {
    fn of(report: &impl Serialize, drawn: String, wrong: Option<String>) -> Result<Played, Stop> {
        let report = serde_json::to_value(report).map_err(|error| Stop::Failed(error.to_string()))?;
        Ok(Played { report, drawn, wrong })
    }
}

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = args.place.quiet_settings(flags)?;
    let limit = Duration::from_secs(args.limit);
    if args.scene == Scene::All {
        return all(&settings, args.input.as_deref(), limit, output);
    }
    let played = args.scene.play(&settings, args.input.as_deref(), limit, output.screen())?;
    match output.format() {
        Format::Table => output.text(&played.drawn)?,
        Format::Json | Format::Yaml => output.structured(&played.report)?,
    }
    if args.scene == Scene::Files && output.format() == Format::Table {
        super::note("more of it: synod demo --scene all, or one of those that synod demo --help names");
    }
    played.wrong.map_or(Ok(()), |wrong| Err(Stop::Failed(wrong)))
}

/// One scene after the other, each on a mesh as if it were alone; at the end which of them went as they should.
fn all(
    settings: &Settings,
    input: Option<&Path>,
    limit: Duration,
    output: &mut Output<impl Write>,
) -> Result<(), Stop> {
    // What is wrong with the command line is told before the first scene, not after the others.
    tree(input)?;
    let mut summary = Vec::new();
    let mut failed = Vec::new();
    let scenes = Scene::value_variants().iter().filter(|scene| **scene != Scene::All);
    for scene in scenes {
        let name = scene.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        super::note(&format!("scene {name}"));
        let began = Instant::now();
        let played = scene.play(settings, input, limit.min(SCENE_LIMIT), output.screen());
        let took_s = (began.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        let (report, wrong) = match played {
            Ok(Played { report, drawn, wrong }) => {
                if output.format() == Format::Table {
                    output.text(&format!("\n=== {name} ===\n{drawn}"))?;
                }
                (report, wrong)
            }
            // Whoever asks to end means all of it.
            Err(stop @ Stop::Signal(_)) => return Err(stop),
            Err(stop) => (Value::Null, Some(stop.to_string())),
        };
        let result = if wrong.is_none() { "as it should" } else { "FAILED" };
        failed.extend(wrong.as_ref().map(|_| name.clone()));
        summary.push(
            json!({"scene": name, "result": result, "took_s": took_s, "wrong": wrong, "report": report}),
        );
    }
    if output.format() == Format::Table {
        output.text("\n")?;
    }
    output.list(&summary, &SUMMARY)?;
    match failed.len() {
        0 => Ok(()),
        _ => Err(Stop::Failed(format!("of {} scenes these failed: {}", summary.len(), failed.join(", ")))),
    }
}

impl Scene {
    fn play(
        self,
        settings: &Settings,
        input: Option<&Path>,
        limit: Duration,
        screen: Screen,
    ) -> Result<Played, Stop> {
        match self {
            Scene::All | Scene::Files => files_scene(settings, input, limit, screen),
            Scene::Fleet => fleet_scene(settings.clone(), limit),
            Scene::Together => {
                let report = scene(settings, limit, async |ground: &Ground| together::play(ground).await)?;
                Played::of(&report, together::draw(&report), None)
            }
            Scene::People => {
                let report = scene(settings, limit, async |ground: &Ground| people::play(ground).await)?;
                Played::of(&report, people::draw(&report, screen), None)
            }
            Scene::Signals => decisions_scene(settings, scenes::Scene::Signals, limit),
            Scene::Risk => decisions_scene(settings, scenes::Scene::Risk, limit),
            Scene::Scarcity => decisions_scene(settings, scenes::Scene::Scarcity, limit),
            Scene::Emergency => decisions_scene(settings, scenes::Scene::Emergency, limit),
            Scene::Team => decisions_scene(settings, scenes::Scene::Team, limit),
        }
    }
}

fn files_scene(
    settings: &Settings,
    input: Option<&Path>,
    limit: Duration,
    screen: Screen,
) -> Result<Played, Stop> {
    let tree = tree(input)?;
    if tree.files.is_empty() {
        return Err(Stop::Failed(format!("there are no files in {:?}", tree.root)));
    }
    let report = on_runtime(async {
        let mut ending = Ending::listen().map_err(|error| Stop::Failed(error.to_string()))?;
        tokio::select! {
            report = report(settings, &tree, limit) => report,
            // What was started ends as it is dropped.
            signal = ending.asked() => Err(Stop::Signal(signal)),
        }
    })?;
    let failed = report.failed.len();
    let wrong = (failed > 0).then(|| format!("{failed} of {} files were not analysed", tree.files.len()));
    Played::of(&report, screen::draw(&report, screen), wrong)
}

fn fleet_scene(mut settings: Settings, limit: Duration) -> Result<Played, Stop> {
    if settings.breaker.source == Source::Default {
        settings.breaker.value = fleet::BREAKER.parse().map_err(Stop::Failed)?;
    }
    let report = scene(&settings, limit, async |ground: &Ground| fleet::play(ground).await)?;
    let wrong = (report.not_done > 0).then(|| format!("{} tasks were not done", report.not_done));
    Played::of(&report, fleet::draw(&report), wrong)
}

fn decisions_scene(settings: &Settings, which: scenes::Scene, limit: Duration) -> Result<Played, Stop> {
    let told = scene(settings, limit, async |ground: &Ground| which.play(ground).await)?;
    let wrong = (told.doubtful() > 0).then(|| format!("{} certificates do not hold", told.doubtful()));
    Played::of(&told, scenes::draw(&told), wrong)
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
            signal = ending.asked() => Err(Stop::Signal(signal)),
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

pub(super) fn run_coordinator(args: CoordinatorArgs, flags: Flags) -> Result<(), Stop> {
    let settings = Place::default().quiet_settings(flags)?;
    on_runtime(people::serve_second(&settings, args.id))
}
