use super::*;
use std::cell::RefCell;

const LONG: Duration = Duration::from_secs(30);

fn shell(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

#[tokio::test]
async fn how_a_command_ended_and_what_it_said() {
    let ended = ask(&shell("echo out; echo why >&2; exit 3"), LONG).await.unwrap();
    assert_eq!((ended.code, ended.out.as_slice()), (Some(3), b"out\n".as_slice()));
    assert_eq!(ended.told(), "it ended with 3: why");
    let killed = ask(&shell("kill -9 $$"), LONG).await.unwrap();
    assert_eq!((killed.code, killed.told().as_str()), (None, "it was killed by signal 9"));
    let missing = ask(&["/nowhere/program".to_owned()], LONG).await.unwrap_err();
    assert!(missing.contains("/nowhere/program can't be started"), "{missing}");
}

#[tokio::test]
async fn at_its_deadline_it_is_killed_with_what_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let script = format!("sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait", file.display());
    let late = ask(&shell(&script), Duration::from_secs(2)).await.unwrap_err();
    assert!(late.contains("did not end within 2 s"), "{late}");
    let pid: u32 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
    let gone = async {
        while running(pid).is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, gone).await.unwrap();
}

#[tokio::test]
async fn each_line_is_shown_and_what_was_left_running_is_not_waited_for() {
    let lines = RefCell::new(Vec::new());
    let known = RefCell::new(None);
    let script = "printf 'one\\ntwo\\033[31m'; echo; head -c 5000 /dev/zero | tr '\\0' x; sleep 5 &";
    let (words, show) = (shell(script), |line: &str| lines.borrow_mut().push(line.to_owned()));
    let began = |process| *known.borrow_mut() = process;
    let ended = watch(&words, LONG, std::future::pending(), began, &show).await;
    assert_eq!(ended.unwrap().code, Some(0));
    assert_eq!(lines.borrow()[..2], ["one", "two [31m"]);
    assert_eq!(lines.borrow()[2].len(), LINE);
    assert!(!lives(known.borrow().unwrap()));
}

#[tokio::test]
async fn a_command_that_is_cut_says_why() {
    let cut = async { "asked to".to_owned() };
    let ended = watch(&shell("sleep 600"), LONG, cut, |_| {}, &|_: &str| {}).await;
    assert_eq!(ended.unwrap_err(), "asked to");
}

#[test]
fn a_process_is_known_again_by_when_it_began() {
    let own = running(std::process::id()).unwrap();
    assert!(lives(own));
    assert!(!lives(Running { began: own.began + 1, ..own }));
}
