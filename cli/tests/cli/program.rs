//! Programs as agents: what they say, how they end, and that nothing of them stays behind.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use synod::program::{Call, NoProgram, OUTPUT_BYTES, Output, ProgramFailure, ProgramRunner, TaskVariables};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes, shorter than anybody's patience.
const PATIENCE: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(300);

fn sh(script: &str) -> ProgramRunner {
    ProgramRunner::new("sh".as_ref(), ["-c", script].map(OsString::from).to_vec()).unwrap().with_grace(SHORT)
}

fn call<'a>(input: &'a str, limit: Duration, cancel: &'a CancellationToken) -> Call<'a> {
    let variables = TaskVariables {
        task_id: "t1",
        attempt: 2,
        capability: "shell",
        workspace: "default",
        ..Default::default()
    };
    Call { input, variables, limit, cancel }
}

async fn run_with(script: &str, input: &str, limit: Duration) -> Result<Output, ProgramFailure> {
    let ran = sh(script);
    let cancel = CancellationToken::new();
    tokio::time::timeout(PATIENCE, ran.run(call(input, limit, &cancel))).await.expect("it should end in time")
}

async fn run(script: &str) -> Result<Output, ProgramFailure> {
    run_with(script, "null", PATIENCE).await
}

/// Running, not merely unburied.
fn is_alive(pid: &str) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, Some('Z' | 'X'))
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The numbers that a script wrote into a file, once there are so many.
async fn pids(file: &Path, count: usize) -> Vec<String> {
    let read = || fs::read_to_string(file).unwrap_or_default();
    until("writing process numbers", || read().matches('\n').count() >= count).await;
    read().lines().map(str::to_owned).collect()
}

async fn all_gone(pids: &[String]) {
    for pid in pids {
        until("the end of a process", || !is_alive(pid)).await;
    }
}

#[tokio::test]
async fn input_comes_on_stdin_and_output_goes_to_stdout() {
    let check = async |script: &str, input: &str, json: &str| {
        assert_eq!(run_with(script, input, PATIENCE).await.unwrap().json.as_str(), json, "{script}");
    };
    check("cat", r#"{"n": 12345678901234567890}"#, r#"{"n": 12345678901234567890}"#).await;
    check("echo plain text", "null", r#""plain text""#).await;
    check("true", "null", "null").await;
    check("read line; echo $line", "17", "17").await;
    check("echo $SYNOD_TASK_ID $SYNOD_ATTEMPT $SYNOD_CAPABILITY", "null", r#""t1 2 shell""#).await;
    let output = run("echo out; echo err >&2").await.unwrap();
    assert_eq!((output.json.as_str(), output.stderr.as_str()), (r#""out""#, "err"));
}

#[tokio::test]
async fn a_failure_says_how_and_what_the_program_said_last() {
    let failure = run("echo what went wrong >&2; exit 3").await.unwrap_err();
    assert_eq!((failure.code(), failure.is_retryable()), ("exit_status", true));
    assert_eq!(failure.message(), "the program exited with status 3; its stderr ends with: what went wrong");
    assert!(!run("exit 65").await.unwrap_err().is_retryable());

    let failure = run("kill -SEGV $$").await.unwrap_err();
    assert_eq!((failure.code(), failure.message().as_str()), ("signal", "the program was ended by SIGSEGV"));

    let failure = run("seq 1 100000 >&2; echo the end >&2; exit 1").await.unwrap_err();
    let ProgramFailure::Exited { stderr, .. } = &failure else { panic!("{failure}") };
    assert!(stderr.len() <= 8 * 1024 + 3 && stderr.ends_with("the end"), "{}", stderr.len());
}

#[tokio::test]
async fn too_much_output_ends_the_program() {
    let started = Instant::now();
    let failure = run("yes").await.unwrap_err();
    assert_eq!((failure.code(), failure.is_retryable()), ("payload_too_large", false));
    assert!(started.elapsed() < PATIENCE);
    let most = format!("head -c {} /dev/zero | tr '\\0' x", OUTPUT_BYTES - 2);
    assert_eq!(run(&most).await.unwrap().json.as_str().len(), OUTPUT_BYTES);
    let more = format!("head -c {} /dev/zero | tr '\\0' x", OUTPUT_BYTES - 1);
    assert_eq!(run(&more).await.unwrap_err().code(), "payload_too_large");
}

#[tokio::test]
async fn no_pipe_can_be_filled_up() {
    let input = format!("\"{}\"", "x".repeat(200_000));
    let check = async |script: &str| {
        run_with(script, &input, PATIENCE).await.unwrap_or_else(|failure| panic!("{script}: {failure}"));
    };
    check("true").await;
    check("exec <&-; echo deaf").await;
    check("head -c 200000 /dev/zero | tr '\\0' x; cat > /dev/null").await;
    check("head -c 1000000 /dev/zero >&2; cat > /dev/null").await;
    check("cat").await;
}

#[tokio::test]
async fn the_time_limit_ends_the_whole_group() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pids");
    // A program that does not want to go, with a child and a grandchild.
    let script = format!(
        "trap '' TERM; echo $$ >> {0}; (sh -c 'trap \"\" TERM; sleep 1000 & echo $! >> {0}; wait' & echo $! >> {0}; wait) ; wait",
        file.display()
    );
    let failure = run_with(&script, "null", Duration::from_secs(1)).await.unwrap_err();
    assert_eq!((failure.code(), failure.is_retryable()), ("deadline_exceeded", true));
    assert!(failure.message().contains("1000 ms"));
    all_gone(&pids(&file, 3).await).await;
}

#[tokio::test]
async fn a_program_may_tidy_up_when_its_time_is_over() {
    let script = "trap 'echo tidy >&2; exit 0' TERM; while :; do sleep 0.01; done";
    let failure = run_with(script, "null", SHORT).await.unwrap_err();
    let ProgramFailure::TimeLimit { stderr, .. } = &failure else { panic!("{failure}") };
    assert!(stderr.ends_with("tidy"), "{stderr:?}");
}

#[tokio::test]
async fn what_its_child_tidies_up_is_waited_for_too() {
    let script = "(trap 'sleep 0.05; echo tidy >&2; exit 0' TERM; while :; do sleep 0.01; done) & wait";
    let runner = sh(script).with_grace(Duration::from_secs(10));
    let cancel = CancellationToken::new();
    let failure = runner.run(call("null", SHORT, &cancel)).await.unwrap_err();
    let ProgramFailure::TimeLimit { stderr, .. } = &failure else { panic!("{failure}") };
    assert!(stderr.ends_with("tidy"), "{stderr:?}");
}

#[tokio::test]
async fn cancelling_ends_the_whole_group() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pids");
    let runner = sh(&format!("sleep 1000 & echo $! >> {0}; echo $$ >> {0}; wait", file.display()));
    let cancel = CancellationToken::new();
    let (result, pids) = tokio::join!(runner.run(call("null", PATIENCE, &cancel)), async {
        let pids = pids(&file, 2).await;
        assert!(pids.iter().all(|pid| is_alive(pid)));
        cancel.cancel();
        pids
    });
    assert_eq!(result.unwrap_err().code(), "cancelled");
    all_gone(&pids).await;
}

#[tokio::test]
async fn nobody_waiting_any_more_ends_the_whole_group() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pids");
    let runner = sh(&format!("sleep 1000 & echo $! >> {0}; echo $$ >> {0}; wait", file.display()));
    let cancel = CancellationToken::new();
    let pids = tokio::select! {
        ended = runner.run(call("null", PATIENCE, &cancel)) => panic!("{ended:?}"),
        pids = pids(&file, 2) => pids,
    };
    all_gone(&pids).await;
}

#[tokio::test]
async fn a_child_that_stays_behind_holds_nothing_up_and_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pids");
    let output = run(&format!("sleep 1000 & echo $! >> {}; echo done", file.display())).await.unwrap();
    assert_eq!(output.json.as_str(), r#""done""#);
    all_gone(&pids(&file, 1).await).await;
}

#[tokio::test]
async fn one_that_left_the_group_holds_nothing_up_either() {
    let started = Instant::now();
    let output = run("setsid sleep 20 & echo done").await.unwrap();
    assert_eq!(output.json.as_str(), r#""done""#);
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn many_at_once_do_not_get_in_each_others_way() {
    let runner = sh("cat");
    let cancel = CancellationToken::new();
    let inputs: Vec<String> = (0..40).map(|i| i.to_string()).collect();
    let runs = inputs.iter().map(|input| runner.run(call(input, PATIENCE, &cancel)));
    for (input, output) in inputs.iter().zip(futures::future::join_all(runs).await) {
        assert_eq!(output.unwrap().json.as_str(), input);
    }
}

#[test]
fn a_program_that_cannot_be_run_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("plain");
    fs::write(&plain, "").unwrap();
    let refused = |program: &std::ffi::OsStr| ProgramRunner::new(program, Vec::new()).unwrap_err();
    assert!(matches!(refused("no-such-program".as_ref()), NoProgram::NotInPath(_)));
    assert!(matches!(refused("".as_ref()), NoProgram::NotInPath(_)));
    assert!(matches!(refused("./absent".as_ref()), NoProgram::NotExecutable { .. }));
    assert!(matches!(refused(plain.as_os_str()), NoProgram::NotExecutable { .. }));
    assert!(matches!(refused(dir.path().as_os_str()), NoProgram::NotExecutable { .. }));
}

/// The kernel ties the parent-death signal to the thread that started the program.
#[test]
fn a_program_outlives_the_thread_that_first_waited_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (file, go) = (dir.path().join("pids"), dir.path().join("go"));
    let script = format!(
        "echo $$ >> {}; until [ -e {} ]; do sleep 0.01; done; echo done",
        file.display(),
        go.display()
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (runner, cancel) = (sh(&script), CancellationToken::new());
    let mut running = Box::pin(runner.run(call("null", PATIENCE, &cancel)));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            runtime.block_on(async {
                tokio::select! {
                    ended = &mut running => panic!("{ended:?}"),
                    _ = pids(&file, 1) => {}
                }
            });
        });
    });
    fs::write(&go, "").unwrap();
    assert_eq!(runtime.block_on(running).unwrap().json.as_str(), r#""done""#);
}

const PID_FILE: &str = "SYNOD_TEST_PID_FILE";

/// The process that the next test kills; without that test's word it has nothing to do.
#[tokio::test]
async fn a_parent_to_be_killed() {
    let Ok(file) = std::env::var(PID_FILE) else { return };
    let runner = sh(&format!("echo $$ >> {file}; exec sleep 1000"));
    let cancel = CancellationToken::new();
    let ended = runner.run(call("null", Duration::from_secs(60), &cancel)).await;
    panic!("it should have been killed: {ended:?}");
}

#[tokio::test]
async fn a_program_dies_with_its_parent() {
    if !sh("true").dies_with_us() {
        eprintln!("there is no setpriv with --pdeathsig here");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pids");
    let mut parent = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "program::a_parent_to_be_killed", "--nocapture"])
        .env(PID_FILE, &file)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pids = pids(&file, 1).await;
    assert!(is_alive(&pids[0]));
    parent.kill().await.unwrap();
    all_gone(&pids).await;
}
