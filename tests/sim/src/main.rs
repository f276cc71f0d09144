//! `synod-sim`: one seed, many seeds, or as many new ones as a time allows.

use clap::Parser;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use synod_sim::{Bug, Failure, Figures, run, run_twice};

/// Every how-manieth seed is run twice, to see that the same history comes of it.
const TWICE: u64 = 8;

/// The seeded simulation of a mesh: the real core, everything else simulated.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Runs this seed alone, and shows its timeline if it fails.
    #[arg(long, conflicts_with_all = ["seeds", "seconds"])]
    seed: Option<u64>,
    /// Runs so many seeds.
    #[arg(long, conflicts_with = "seconds")]
    seeds: Option<u64>,
    /// The first of them; without it, one that was probably never run before.
    #[arg(long)]
    from: Option<u64>,
    /// Runs seeds for so long.
    #[arg(long)]
    seconds: Option<u64>,
    /// Plants a bug; needs the feature `planted`.
    #[arg(long)]
    bug: Option<Bug>,
    /// Threads, each with seeds of its own; by default one per core.
    #[arg(long)]
    threads: Option<usize>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(seed) = options.seed {
        return match run_twice(seed, options.bug) {
            Ok(figures) => {
                println!("seed {seed}: holds; {figures:?}");
                ExitCode::SUCCESS
            }
            Err(failure) => {
                tell(&failure, options.bug);
                ExitCode::FAILURE
            }
        };
    }
    let from = options.from.unwrap_or_else(new_seed);
    let seeds = options.seeds.unwrap_or(if options.seconds.is_some() { u64::MAX } else { 1_000 });
    many(&options, from, seeds)
}

fn many(options: &Options, from: u64, seeds: u64) -> ExitCode {
    let began = Instant::now();
    let until = options.seconds.map(|seconds| began + Duration::from_secs(seconds));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = options.threads.unwrap_or(cores).max(1);
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let work = || {
        let (mut sum, mut ran, mut failures) = (Figures::default(), 0, Vec::new());
        while !failed.load(Ordering::Relaxed) && until.is_none_or(|until| Instant::now() < until) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= seeds {
                break;
            }
            let seed = from.wrapping_add(index);
            ran += 1;
            match if index.is_multiple_of(TWICE) {
                run_twice(seed, options.bug)
            } else {
                run(seed, options.bug)
            } {
                Ok(figures) => add(&mut sum, &figures),
                Err(failure) => {
                    failed.store(true, Ordering::Relaxed);
                    failures.push(failure);
                }
            }
        }
        (sum, ran, failures)
    };
    let results: Vec<(Figures, u64, Vec<Failure>)> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        handles.into_iter().filter_map(|handle| handle.join().ok()).collect()
    });
    let lost_threads = threads - results.len();
    let (mut sum, mut ran, mut failures) = (Figures::default(), 0, Vec::new());
    for (figures, count, found) in results {
        add(&mut sum, &figures);
        ran += count;
        failures.extend(found);
    }
    let took = began.elapsed().as_secs_f64();
    println!(
        "seeds {from} to {}: {ran} run in {took:.1} s ({:.0}/s), {} failed; {} steps and {} images that count, {} records void, {} trimmed, {} claims, {} answers, {} shards with data lost, {:.1} h of virtual time",
        from.wrapping_add(ran.saturating_sub(1)),
        ran as f64 / took,
        failures.len(),
        sum.counted,
        sum.images,
        sum.void,
        sum.trimmed,
        sum.claims,
        sum.told,
        sum.data_lost,
        sum.virtual_ms as f64 / 3_600_000.0,
    );
    print!("{}", sum.tally);
    failures.sort_by_key(|failure| failure.seed);
    for failure in &failures {
        tell(failure, options.bug);
    }
    if lost_threads > 0 {
        eprintln!("{lost_threads} threads panicked");
    }
    if failures.is_empty() && lost_threads == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn add(sum: &mut Figures, one: &Figures) {
    sum.happenings += one.happenings;
    sum.counted += one.counted;
    sum.void += one.void;
    sum.images += one.images;
    sum.trimmed += one.trimmed;
    sum.claims += one.claims;
    sum.told += one.told;
    sum.data_lost += one.data_lost;
    sum.virtual_ms += one.virtual_ms;
    sum.tally.add(&one.tally);
}

fn tell(failure: &Failure, bug: Option<Bug>) {
    for line in &failure.timeline {
        println!("{line}");
    }
    let planted = bug.map_or(String::new(), |bug| format!(" --bug {bug}"));
    println!("seed {} FAILED at commit {}: {}", failure.seed, commit(), failure.why);
    println!("again: synod-sim --seed {}{planted}", failure.seed);
}

/// The commit, with a `+` if the work tree is not clean; without git, `unknown`.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let out = std::process::Command::new("git").args(arguments).output().ok()?;
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "unknown".into() };
    let dirty = git(&["status", "--porcelain", "-uno"]).is_some_and(|changes| !changes.is_empty());
    if dirty { format!("{commit}+") } else { commit }
}

/// A seed that was probably never run before.
#[expect(clippy::disallowed_methods, reason = "the one look at the clock: the seed is printed")]
fn new_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_nanos() as u64
}
