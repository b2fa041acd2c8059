use super::*;
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(20);

fn status(change: impl FnOnce(&mut Value)) -> Status {
    let mut status = json!({
        "node": "lb-1", "version": "0.1.0", "uptime_seconds": 1000,
        "config": {"file": "f", "state": "current", "loaded_seconds_ago": 1, "generation": 1, "warnings": [], "refused": []},
        "groups": [], "services": [], "guard": true, "ready": true, "not_ready": [], "alarms": [], "settings": [],
        "limits": {}, "counters": {},
        "peer_link": {"state": "on", "key": null, "config_digest": "00", "peers": [{
            "name": "lb-2", "state": "up", "since_seconds": 3, "reason": "", "address": null, "round_trip_ms": 0.1,
            "version": "0.1.0", "config_generation": 1, "config_serial": 1, "config_digest": "00", "config_agrees": true,
            "counters": {},
        }]},
    });
    change(&mut status);
    serde_json::from_value(status).unwrap()
}

#[test]
fn another_process_that_is_ready_and_in_touch_lacks_nothing() {
    let before = status(|_| {});
    let lacks = |change: &dyn Fn(&mut Value)| {
        let now = status(|status| {
            status["uptime_seconds"] = json!(3);
            status["version"] = json!("0.2.0");
            change(status);
        });
        super::lacks(&before, &now, Some("0.2.0"), Duration::from_secs(5))
    };
    assert_eq!(lacks(&|_| {}), None);
    let says = |change: &dyn Fn(&mut Value), word: &str| {
        let lacks = lacks(change);
        assert!(lacks.as_ref().is_some_and(|it| it.contains(word)), "{lacks:?}");
    };
    says(&|it| it["uptime_seconds"] = json!(1005), "was the daemon restarted");
    says(&|it| it["version"] = json!("0.1.0"), "version 0.1.0 answers, not 0.2.0");
    says(&|it| it["node"] = json!("lb-2"), "node lb-2 answers");
    says(
        &|it| (it["ready"], it["not_ready"]) = (json!(false), json!(["not every service listens yet"])),
        "listens",
    );
    says(&|it| it["peer_link"]["peers"][0]["state"] = json!("down"), "its link to lb-2 is not up");
    says(
        &|it| it["peer_link"]["peers"][0]["config_agrees"] = json!(false),
        "another configuration than lb-2",
    );
    says(&|it| it["peer_link"]["peers"] = json!([]), "does not know lb-2");
}

#[test]
fn what_was_down_before_need_not_be_up() {
    let down = |it: &mut Value| it["peer_link"]["peers"][0]["state"] = json!("down");
    let now = status(|it| {
        down(it);
        it["uptime_seconds"] = json!(0);
    });
    assert_eq!(lacks(&status(down), &now, None, Duration::ZERO), None);
}

#[test]
fn a_program_has_its_say_or_its_last_words_or_its_end() {
    let run = |text: &str, deadline| run(Command::new("sh").arg("-c").arg(text), deadline);
    assert_eq!(run("echo one; echo two", LONG), Ok("one\ntwo\n".to_owned()));
    let error = run("echo first >&2; echo last >&2; echo >&2; exit 3", LONG).unwrap_err();
    assert!(error.contains("3") && error.ends_with(": last"), "{error}");
    // Who leaves a child behind that holds its output is not waited for.
    assert_eq!(run("sleep 300 & echo done; kill $!", LONG), Ok("done\n".to_owned()));
    let error = run("sleep 300 & wait", Duration::from_millis(200)).unwrap_err();
    assert!(error.contains("did not end"), "{error}");
    let megabytes = run("head -c 3000000 /dev/zero", LONG).unwrap();
    assert_eq!(megabytes.len(), 65_536);
    assert!(super::run(&mut Command::new("/nowhere/at/all"), LONG).unwrap_err().contains("can't be run"));
}
