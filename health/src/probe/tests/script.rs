use super::*;
use std::path::Path;
use std::time::{Duration, Instant};

fn script(words: &[&str]) -> CheckKind {
    CheckKind::Script { command: words.iter().map(|word| word.to_string()).collect() }
}

fn shell(text: &str) -> CheckKind {
    script(&["sh", "-c", text])
}

async fn run_script(kind: CheckKind) -> Outcome {
    run("192.0.2.7:8080".parse().unwrap(), kind).await
}

/// Whether a process is there and not just waiting to be collected.
fn is_alive(pid: &str) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.trim()).join("status"));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}

#[allow(clippy::disallowed_methods)] // Bounds the wait of a test.
async fn wait_until(what: impl Fn() -> bool) -> bool {
    let begin = Instant::now();
    while !what() {
        if begin.elapsed() > Duration::from_secs(30) {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}

#[tokio::test]
async fn the_exit_status_decides_and_the_first_line_says_why() {
    for (text, outcome) in [
        ("exit 0", Outcome::Passed),
        ("echo fine; echo odd >&2", Outcome::Passed),
        ("exit 3", failed("the script ended with 3")),
        ("echo; echo ' disk full '; echo more; exit 2", failed("the script ended with 2: disk full")),
        ("echo out; echo err >&2; exit 1", failed("the script ended with 1: err")),
        ("kill -9 $$", failed("the script was killed by signal 9")),
    ] {
        assert_eq!(run_script(shell(text)).await, outcome, "{text}");
    }
}

#[tokio::test]
async fn it_is_told_the_target_and_nothing_of_ours() {
    assert_eq!(
        run_script(script(&["test", "x", "=", "x", "-a", "1", "!="])).await,
        failed("the script ended with 2: test: extra argument '8080'")
    );
    let arguments = "[ \"$0 $1\" = '192.0.2.7 8080' ] && [ $FULCRUM_ADDRESS:$FULCRUM_PORT = $0:$1 ]";
    assert_eq!(run_script(shell(arguments)).await, Outcome::Passed);
    // cargo sets this one for the tests.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    assert_eq!(run_script(shell("[ -z \"$CARGO_MANIFEST_DIR\" ] && [ $PWD = / ]")).await, Outcome::Passed);
    assert_eq!(
        run_script(script(&["test", "$HOME", "=", "x", "-o"])).await,
        failed("the script ended with 2: test: extra argument '8080'"),
        "no shell reads the words"
    );
}

#[tokio::test]
async fn one_that_hangs_is_killed_with_all_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let text = format!("sleep 1000 & echo $! > {0}; echo $$ >> {0}; wait", file.display());
    assert_eq!(run_script(shell(&text)).await, timed_out("waiting for the script to end"));
    let pids = std::fs::read_to_string(&file).unwrap();
    assert_eq!(pids.lines().count(), 2);
    assert!(wait_until(|| pids.lines().all(|pid| !is_alive(pid))).await, "{pids} are still there");
}

#[tokio::test]
async fn what_it_leaves_running_is_killed_and_does_not_hold_the_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let text = format!("sleep 1000 & echo $! > {}; echo no disk; exit 1", file.display());
    assert_eq!(run_script(shell(&text)).await, failed("the script ended with 1: no disk"));
    let pid = std::fs::read_to_string(&file).unwrap();
    assert!(wait_until(|| !is_alive(&pid)).await);
}

#[tokio::test]
async fn a_flood_of_output_is_cut() {
    let outcome = run_script(script(&["yes"])).await;
    assert_eq!(outcome, failed("the script wrote more than 1 MiB"));
    let much = "head -c 500000 /dev/zero | tr '\\0' x; exit 1";
    let Outcome::Failed(reason) = run_script(shell(much)).await else { panic!("passed") };
    assert_eq!(reason.chars().count(), 200, "{reason}");
}

#[tokio::test]
async fn one_that_cannot_be_started_is_our_own_trouble() {
    for kind in [script(&["/nonexistent/check"]), script(&[])] {
        let outcome = run_script(kind).await;
        assert!(matches!(outcome, Outcome::NotMade(_)), "{outcome:?}");
    }
}
