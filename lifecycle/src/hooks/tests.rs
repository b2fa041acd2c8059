use super::*;
use crate::fixture::{backend, config, service};
use fulcrum_config::{Hook, HookCall, HookName, HookStyle, Policy};
use fulcrum_vip_manager::Role;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

mod planned;

fn hook(name: &str, events: &[HookEvent], style: HookStyle) -> Arc<Hook> {
    Arc::new(Hook {
        name: HookName::new(name),
        events: events.iter().copied().collect(),
        groups: BTreeSet::new(),
        does: HookCall::Program(vec!["/bin/tell".to_owned()]),
        style,
        deadline: Hook::DEADLINE,
        on_failure: Policy::Ignore,
    })
}

fn configured(hooks: &[Arc<Hook>]) -> Config {
    let mut config = config([service("web", [backend("a"), backend("b")])]);
    config.hooks = hooks.iter().map(|hook| (hook.name.clone(), Arc::clone(hook))).collect();
    config
}

fn standing(role: Role, transitions: u64) -> Standing {
    let priority = (role != Role::Init).then_some(100);
    Standing { role, transitions, epoch: 7, priority, leader: None, reason: "so".to_owned() }
}

fn look(config: &Config, role: Role, transitions: u64) -> Look<'_> {
    Look {
        config,
        generation: 1,
        serial: 5,
        groups: BTreeMap::from([(GroupName::new("main"), standing(role, transitions))]),
        down: BTreeMap::new(),
        stopping: false,
    }
}

#[allow(clippy::disallowed_methods, reason = "any instant will do")]
fn now() -> Instant {
    Instant::now()
}

fn succeeded() -> Ending {
    Ending { outcome: Outcome::Succeeded, said: None }
}

/// Starts what is due, ends it, and so on: gives each event with its state.
fn run_all(hooks: &mut Hooks) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(start) = hooks.poll_start(now()) {
        let state = start.occurrence.json()["state"].as_str().unwrap_or_default().to_owned();
        told.push(format!("{} {state}", start.occurrence.event).trim().to_owned());
        hooks.ended(start.ticket, succeeded(), now());
    }
    told
}

const ROLES: &[HookEvent] = &[HookEvent::AfterLeading, HookEvent::AfterStandby];

#[test]
fn a_change_of_leader_is_told_once_and_a_lead_regained_is_told_again() {
    let config = configured(&[hook("tell", ROLES, HookStyle::Json)]);
    let mut hooks = Hooks::default();
    hooks.look(&look(&config, Role::Init, 0));
    assert!(run_all(&mut hooks).is_empty(), "it has not begun to take part");
    for (role, transitions, told) in [
        (Role::Standby, 1, vec!["after-standby standby"]),
        (Role::Standby, 1, vec![]),
        (Role::Leader, 2, vec!["after-leading leader"]),
        (Role::Leader, 2, vec![]),
        (Role::Leader, 4, vec!["after-leading leader"]),
        (Role::Init, 5, vec!["after-standby unfit"]),
        (Role::Standby, 6, vec![]),
    ] {
        hooks.look(&look(&config, role, transitions));
        assert_eq!(run_all(&mut hooks), told, "{role:?} {transitions}");
    }
}

#[test]
fn while_one_runs_the_latest_state_of_its_group_waits_and_no_other() {
    let config = configured(&[hook("tell", ROLES, HookStyle::Json)]);
    let mut hooks = Hooks::default();
    hooks.look(&look(&config, Role::Leader, 1));
    let first = hooks.poll_start(now()).expect("it starts");
    for transitions in 2..9 {
        let role = if transitions % 2 == 0 { Role::Standby } else { Role::Leader };
        hooks.look(&look(&config, role, transitions));
        assert!(hooks.poll_start(now()).is_none(), "one runs");
    }
    hooks.look(&look(&config, Role::Standby, 10));
    hooks.ended(first.ticket, succeeded(), now());
    assert_eq!(run_all(&mut hooks), ["after-standby standby"]);
    let status = hooks.status(now());
    assert_eq!(status[0].left_out["superseded"], 6);
    assert_eq!((status[0].runs["succeeded"], status[0].last.len()), (2, 2));
    assert!(hooks.is_idle());
}

#[test]
fn a_standby_is_not_told_of_a_lead_that_it_has_lost_again() {
    let config = configured(&[hook("tell", &[HookEvent::AfterLeading], HookStyle::Json)]);
    let mut hooks = Hooks::default();
    hooks.look(&look(&config, Role::Leader, 1));
    let first = hooks.poll_start(now()).expect("it starts");
    hooks.look(&look(&config, Role::Standby, 2));
    hooks.look(&look(&config, Role::Leader, 3));
    hooks.look(&look(&config, Role::Standby, 4));
    hooks.ended(first.ticket, succeeded(), now());
    assert!(run_all(&mut hooks).is_empty());
}

#[test]
fn a_hook_that_hangs_holds_up_no_other() {
    let slow = hook("slow", ROLES, HookStyle::Json);
    let config = configured(&[slow, hook("tell", ROLES, HookStyle::Json)]);
    let mut hooks = Hooks::default();
    hooks.look(&look(&config, Role::Leader, 1));
    let first = hooks.poll_start(now()).expect("it starts");
    assert_eq!(first.hook.name.as_str(), "slow");
    assert_eq!(run_all(&mut hooks), ["after-leading leader"]);
    hooks.look(&look(&config, Role::Standby, 2));
    assert_eq!(run_all(&mut hooks), ["after-standby standby"], "the other goes on");
}

#[test]
fn what_happened_is_json_and_environment() {
    let config = configured(&[hook("tell", ROLES, HookStyle::Json)]);
    let mut hooks = Hooks::default();
    hooks.look(&look(&config, Role::Leader, 1));
    let start = hooks.poll_start(now()).expect("it starts");
    let told = json!({
        "event": "after-leading", "node": "lb1", "group": "main", "state": "leader", "epoch": 7, "priority": 100,
        "vips": ["10.0.0.100"], "leader": "lb1", "reason": "so",
    });
    assert_eq!(start.occurrence.json(), told);
    let environment = start.occurrence.environment();
    for (name, value) in
        [("FULCRUM_EVENT", "after-leading"), ("FULCRUM_VIPS", "10.0.0.100"), ("FULCRUM_EPOCH", "7")]
    {
        assert!(environment.contains(&(name.to_owned(), value.to_owned())), "{environment:?}");
    }
    let fault = alarm(&"x\0".repeat(5_000));
    let fault = Occurrence::new(HookEvent::Fault, "lb1", Details::Fault(fault));
    for (name, value) in fault.environment() {
        assert!(value.len() <= 4096 && !value.contains('\0'), "{name}");
    }
}

fn alarm(what: &str) -> Alarm {
    let (affected, remedy) = ("a".to_owned(), "d".to_owned());
    Alarm { severity: Severity::Warning, what: what.to_owned(), affected, remedy }
}

#[test]
fn a_notify_script_gets_the_words_of_keepalived() {
    let config = configured(&[hook("old", ROLES, HookStyle::Keepalived)]);
    let mut hooks = Hooks::default();
    let mut told = Vec::new();
    let mut run = |hooks: &mut Hooks| {
        let start = hooks.poll_start(now()).expect("it starts");
        told.push(start.occurrence.keepalived().join(" "));
        hooks.ended(start.ticket, succeeded(), now());
    };
    for (role, transitions) in [(Role::Standby, 1), (Role::Leader, 2), (Role::Init, 3), (Role::Standby, 4)] {
        hooks.look(&look(&config, role, transitions));
        run(&mut hooks);
    }
    hooks.look(&Look { stopping: true, ..look(&config, Role::Init, 5) });
    run(&mut hooks);
    let mut without = config.clone();
    without.groups.clear();
    hooks.look(&Look { groups: BTreeMap::new(), ..look(&without, Role::Init, 5) });
    run(&mut hooks);
    let states = ["BACKUP", "MASTER", "FAULT", "BACKUP", "STOP"];
    let mut expected: Vec<_> = states.iter().map(|state| format!("INSTANCE main {state} 100")).collect();
    expected.push("INSTANCE main DELETED 0".to_owned());
    assert_eq!(told[..5], expected[..5]);
    assert_eq!(told[5], expected[5]);
}

#[test]
fn backends_faults_and_configurations_are_told_once_each() {
    let events = [HookEvent::BackendDown, HookEvent::Fault, HookEvent::ConfigApplied];
    let config = configured(&[hook("tell", &events, HookStyle::Json)]);
    let mut hooks = Hooks::default();
    let down = BTreeMap::from([((ServiceName::new("web"), BackendName::new("b")), "refused".to_owned())]);
    let seen = Look { down, ..look(&config, Role::Leader, 1) };
    hooks.look(&seen);
    hooks.look(&seen);
    hooks.raised("lb1", &[alarm("it burns"), alarm("hook tell failed: ended with 1 (fault)")]);
    let mut told = Vec::new();
    while let Some(start) = hooks.poll_start(now()) {
        told.push(start.occurrence.json());
        hooks.ended(start.ticket, succeeded(), now());
    }
    assert_eq!(
        told,
        [
            json!({"event": "config-applied", "node": "lb1", "generation": 1, "serial": 5}),
            json!({"event": "backend-down", "node": "lb1", "group": "main", "service": "web", "backend": "b",
                "address": "10.1.0.1:8080", "reason": "refused"}),
            json!({"event": "fault", "node": "lb1", "severity": "warning", "what": "it burns", "affected": "a", "do": "d"}),
        ]
    );
    hooks.look(&Look { generation: 2, ..look(&config, Role::Leader, 1) });
    assert_eq!(run_all(&mut hooks), ["config-applied"]);
}

#[test]
fn a_flood_of_alarms_fills_its_queue_and_is_counted() {
    let config = configured(&[hook("tell", &[HookEvent::Fault, HookEvent::AfterLeading], HookStyle::Json)]);
    let mut hooks = Hooks::default();
    hooks.look(&look(&config, Role::Standby, 1));
    let alarms: Vec<_> = (0..300).map(|number| alarm(&format!("it burns at {number}"))).collect();
    hooks.raised("lb1", &alarms);
    hooks.look(&look(&config, Role::Leader, 2));
    let status = hooks.status(now());
    assert_eq!(
        (status[0].waiting, status[0].left_out["queue-full"]),
        (257, 44),
        "a change of leader has room"
    );
}

#[test]
fn a_failed_run_is_an_alarm_until_one_succeeds() {
    let config = configured(&[hook("tell", ROLES, HookStyle::Json)]);
    let mut hooks = Hooks::default();
    hooks.look(&look(&config, Role::Leader, 1));
    let start = hooks.poll_start(now()).expect("it starts");
    let ending = Ending { outcome: Outcome::Killed(Duration::from_secs(10)), said: Some("waits".to_owned()) };
    hooks.ended(start.ticket, ending, now());
    let alarms = hooks.alarms();
    assert_eq!(
        alarms[0].what,
        "hook tell failed: killed at its deadline after 10 s: waits (after-leading of group main)"
    );
    hooks.look(&look(&config, Role::Standby, 2));
    assert_eq!(run_all(&mut hooks), ["after-standby standby"]);
    assert!(hooks.alarms().is_empty());
}

#[test]
fn a_hook_that_is_new_or_changed_is_told_how_things_stand() {
    let tell = hook("tell", ROLES, HookStyle::Json);
    let config = configured(&[Arc::clone(&tell)]);
    let mut hooks = Hooks::default();
    hooks.look(&look(&config, Role::Leader, 1));
    assert_eq!(run_all(&mut hooks).len(), 1);
    let changed = Hook { deadline: Duration::from_secs(1), ..(*tell).clone() };
    let config = configured(&[Arc::new(changed), hook("other", ROLES, HookStyle::Json)]);
    hooks.look(&look(&config, Role::Leader, 1));
    assert_eq!(run_all(&mut hooks), ["after-leading leader", "after-leading leader"]);
    assert_eq!(hooks.status(now())[1].runs["succeeded"], 2, "what was counted stays");
    hooks.look(&look(&configured(&[]), Role::Standby, 2));
    assert!(hooks.status(now()).is_empty() && run_all(&mut hooks).is_empty());
}

fn before(config: &Config) -> Before<'_> {
    let planned = Planned::Standby {
        group: GroupName::new("main"),
        standing: standing(Role::Leader, 1),
        to: Some(fulcrum_config::NodeName::new("lb2")),
    };
    Before { config, planned }
}

#[test]
fn what_comes_of_a_hook_before_a_change_is_as_its_policy_says() {
    let failed =
        Ending { outcome: Outcome::Failed("ended with 3".to_owned()), said: Some("not now".to_owned()) };
    let why = "hook ask ended with 3: not now".to_owned();
    let late = "hook ask has not ended in time".to_owned();
    let of = |policy, ending: Option<&Ending>| {
        let hook = hook("ask", &[HookEvent::BeforeStandby], HookStyle::Json);
        next(&Hook { on_failure: policy, ..(*hook).clone() }, ending)
    };
    for policy in [Policy::Ignore, Policy::Hold, Policy::Abort] {
        assert_eq!(of(policy, Some(&succeeded())), Next::GoOn);
    }
    assert_eq!((of(Policy::Ignore, Some(&failed)), of(Policy::Ignore, None)), (Next::GoOn, Next::GoOn));
    assert_eq!(of(Policy::Hold, Some(&failed)), Next::Again(why.clone()));
    assert_eq!(of(Policy::Hold, None), Next::Refuse(late.clone()));
    assert_eq!(
        (of(Policy::Abort, Some(&failed)), of(Policy::Abort, None)),
        (Next::Refuse(why), Next::Refuse(late))
    );
}

#[test]
fn a_hook_is_asked_before_a_group_is_left_and_told_if_it_stays() {
    let ask = hook("ask", &[HookEvent::BeforeStandby, HookEvent::AfterLeading], HookStyle::Json);
    let tell = hook("tell", &[HookEvent::AfterLeading], HookStyle::Json);
    let config = configured(&[ask, tell]);
    let mut hooks = Hooks::default();
    hooks.look(&look(&config, Role::Leader, 1));
    assert_eq!(run_all(&mut hooks), ["after-leading leader", "after-leading leader"]);

    let names: Vec<_> = before(&config).hooks().map(|hook| hook.name.to_string()).collect();
    assert_eq!(names, ["ask"]);
    let question = hooks.ask(&before(&config), &HookName::new("ask"));
    assert_eq!(hooks.poll_answer(question), None);
    let start = hooks.poll_start(now()).expect("it is started");
    let told = start.occurrence.json();
    assert_eq!(
        (&told["event"], &told["to"], &told["leader"]),
        (&json!("before-standby"), &json!("lb2"), &json!("lb1"))
    );
    hooks.ended(start.ticket, succeeded(), now());
    assert_eq!(hooks.poll_answer(question), Some(succeeded()));
    assert_eq!(hooks.poll_answer(question), None);

    // It stays: only who was asked hears of it.
    hooks.stays(HookEvent::BeforeStandby, &GroupName::new("main"));
    hooks.look(&look(&config, Role::Leader, 1));
    assert_eq!(run_all(&mut hooks), ["after-leading leader"]);

    // What nobody waits for any more is not begun.
    let question = hooks.ask(&before(&config), &HookName::new("ask"));
    hooks.take_back(question);
    assert!(hooks.poll_start(now()).is_none() && hooks.poll_answer(question).is_none());
}

#[test]
fn a_reload_that_changes_a_hook_loses_no_question_and_tells_nothing_twice() {
    let ask = hook("ask", &[HookEvent::BeforeStandby, HookEvent::AfterLeading], HookStyle::Json);
    let old = configured(&[Arc::clone(&ask)]);
    let new = configured(&[Arc::new(Hook { deadline: Duration::from_secs(1), ..(*ask).clone() })]);
    let is_not_started = |ending: Option<Ending>| ending.is_some_and(|it| it.outcome.name() == "not-started");
    let mut hooks = Hooks::default();
    hooks.look(&look(&old, Role::Leader, 1));
    assert_eq!(run_all(&mut hooks), ["after-leading leader"]);

    // What waited for its turn is answered.
    let name = HookName::new("ask");
    let question = hooks.ask(&before(&old), &name);
    hooks.look(&look(&new, Role::Leader, 1));
    assert!(is_not_started(hooks.poll_answer(question)));
    assert_eq!(run_all(&mut hooks), ["after-leading leader"], "once, by the hook as it is now");

    // Whoever asks by what was in force before changes nothing.
    let question = hooks.ask(&before(&old), &name);
    assert!(is_not_started(hooks.poll_answer(question)));
    hooks.look(&look(&new, Role::Leader, 1));
    assert!(run_all(&mut hooks).is_empty(), "it is known");
    let unknown = hooks.ask(&before(&old), &HookName::new("other"));
    assert!(is_not_started(hooks.poll_answer(unknown)), "there is none");

    // What runs goes on, and its end is the answer; also if the hook is gone.
    let question = hooks.ask(&before(&new), &name);
    let start = hooks.poll_start(now()).expect("it is started");
    hooks.look(&look(&configured(&[]), Role::Leader, 1));
    assert_eq!(hooks.poll_answer(question), None);
    hooks.ended(start.ticket, succeeded(), now());
    assert_eq!(hooks.poll_answer(question), Some(succeeded()));
}

#[test]
fn a_hook_that_is_taken_away_while_it_runs_is_not_run_again() {
    let with = configured(&[hook("tell", ROLES, HookStyle::Json)]);
    let mut hooks = Hooks::default();
    hooks.look(&look(&with, Role::Leader, 1));
    let start = hooks.poll_start(now()).expect("it is started");
    let without = configured(&[]);
    hooks.look(&look(&without, Role::Standby, 2));
    hooks.ended(start.ticket, succeeded(), now());
    hooks.look(&look(&without, Role::Leader, 3));
    assert!(run_all(&mut hooks).is_empty() && hooks.status(now()).is_empty());
}

#[test]
fn a_hook_is_told_that_a_group_is_gone_also_if_it_had_to_lose_its_name() {
    let named = |names: &[&str]| {
        let groups = names.iter().map(|name| GroupName::new(name)).collect();
        Arc::new(Hook { groups, ..(*hook("tell", ROLES, HookStyle::Json)).clone() })
    };
    let mut both = configured(&[named(&["main", "other"])]);
    let mut other = (*both.groups[&GroupName::new("main")]).clone();
    other.name = GroupName::new("other");
    both.groups.insert(other.name.clone(), Arc::new(other));
    let one = configured(&[named(&["main"])]);
    let leads = |config| {
        let groups = ["main", "other"].map(|name| (GroupName::new(name), standing(Role::Leader, 1)));
        Look { groups: groups.into(), ..look(config, Role::Leader, 1) }
    };
    let mut hooks = Hooks::default();
    hooks.look(&leads(&both));
    assert_eq!(run_all(&mut hooks), ["after-leading leader", "after-leading leader"]);
    hooks.look(&look(&one, Role::Leader, 1));
    let start = hooks.poll_start(now()).expect("it is told of the one that is led");
    let gone = hooks.poll_start(now()).expect("it is told of the one that is gone").occurrence.json();
    assert_eq!(
        (&gone["event"], &gone["state"], &gone["group"]),
        (&json!("after-standby"), &json!("removed"), &json!("other"))
    );
    assert_eq!(start.occurrence.json()["group"], "main");
    hooks.look(&look(&one, Role::Leader, 1));
    assert!(run_all(&mut hooks).is_empty(), "once");
}
