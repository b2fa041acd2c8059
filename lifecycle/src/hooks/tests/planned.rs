//! Before and after what operators do.

use super::*;
use crate::status::Override;
use fulcrum_config::NodeName;

fn drain() -> Drain {
    Drain {
        kind: DrainKind::Backend,
        name: "a".to_owned(),
        of: vec!["backend web/a".to_owned(), "backend dns/a".to_owned()],
        by: "root".to_owned(),
        deadline_seconds: Some(60),
        outcome: None,
        connections: None,
    }
}

fn upgrade(outcome: Option<UpgradeEnd>) -> Upgrade {
    let (cause, by, version) = ("roll".to_owned(), "root".to_owned(), "0.1.0".to_owned());
    Upgrade { cause, by, version, to: None, outcome }
}

fn left(of: &str, what: &str, connections: u64, leads: &[&str]) -> Override {
    Override {
        of: of.to_owned(),
        what: what.to_owned(),
        by: "root".to_owned(),
        since: 0,
        until: None,
        connections: Some(connections),
        leads: leads.iter().map(|&group| group.to_owned()).collect(),
    }
}

#[test]
fn a_drain_is_over_when_nothing_is_left_at_its_deadline_or_when_it_is_taken_back() {
    let end = |overrides: &[Override], is_in_use, is_late| {
        drain().end(overrides, is_in_use, is_late).map(|it| (it.outcome, it.connections))
    };
    let (web, dns) = ("backend web/a", "backend dns/a");
    let two = [left(web, "drained", 2, &[]), left(dns, "drained", 0, &[])];
    assert_eq!(end(&two, false, false), None);
    assert_eq!(end(&two, false, true), Some((Some(DrainEnd::Deadline), Some(2))));
    let none = [left(web, "drained", 0, &[]), left("backend web/b", "drained", 9, &[])];
    assert_eq!(end(&none, false, false), Some((Some(DrainEnd::Empty), Some(0))));
    assert_eq!(end(&none, true, false), None, "its addresses are in use");
    assert_eq!(end(&[left(web, "drained", 0, &["main"])], false, false), None, "it leads still");
    let undrained = [left(web, "weight 5", 3, &[]), left("backend web/b", "drained", 9, &[])];
    assert_eq!(end(&undrained, false, true), Some((Some(DrainEnd::Undrained), Some(0))));
}

#[test]
fn drains_and_upgrades_are_told_before_and_after_with_what_is_known_of_them() {
    let all =
        [HookEvent::BeforeDrain, HookEvent::AfterDrain, HookEvent::BeforeUpgrade, HookEvent::AfterUpgrade];
    let config = configured(&[hook("tell", &all, HookStyle::Json)]);
    let mut hooks = Hooks::default();
    hooks.configure(&config);
    for planned in [Planned::Drain(drain()), Planned::Upgrade(upgrade(None))] {
        let before = Before { config: &config, planned };
        assert_eq!(before.hooks().count(), 1);
        hooks.ask(&before, &HookName::new("tell"));
    }
    hooks.drained("lb1", &Drain { outcome: Some(DrainEnd::Empty), connections: Some(0), ..drain() });
    hooks.upgraded("lb1", &upgrade(Some(UpgradeEnd::Done)));
    let mut told = Vec::new();
    while let Some(start) = hooks.poll_start(now()) {
        assert_eq!(hooks.poll_start(now()).map(|it| it.ticket), None, "one at a time");
        told.push(start.occurrence.json());
        hooks.ended(start.ticket, succeeded(), now());
    }
    told.sort_by_key(|told| told["event"].to_string());
    let of = ["backend web/a", "backend dns/a"];
    let base = json!({"node": "lb1", "kind": "backend", "name": "a", "of": of, "by": "root", "deadline_seconds": 60});
    let with = |base: &serde_json::Value, more: serde_json::Value| {
        let mut all = base.clone();
        let fields = all.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object").clone());
        all
    };
    let up = json!({"node": "lb1", "cause": "roll", "by": "root", "version": "0.1.0"});
    assert_eq!(
        told,
        [
            with(&base, json!({"event": "after-drain", "outcome": "empty", "connections": 0})),
            with(&up, json!({"event": "after-upgrade", "outcome": "done"})),
            with(&base, json!({"event": "before-drain"})),
            with(&up, json!({"event": "before-upgrade"})),
        ]
    );
}

#[test]
fn that_nothing_came_of_it_is_told_to_those_alone_who_were_told_before() {
    let after = hook("after", &[HookEvent::AfterDrain, HookEvent::AfterUpgrade], HookStyle::Json);
    let both = hook("both", &[HookEvent::BeforeDrain, HookEvent::AfterDrain], HookStyle::Json);
    let up = hook("up", &[HookEvent::BeforeUpgrade, HookEvent::AfterUpgrade], HookStyle::Json);
    let config = configured(&[after, both, up]);
    let mut hooks = Hooks::default();
    hooks.configure(&config);
    let mut told_of = |outcome| {
        hooks.drained("lb1", &Drain { outcome: Some(outcome), ..drain() });
        names(&mut hooks)
    };
    assert_eq!((told_of(DrainEnd::Empty), told_of(DrainEnd::Deadline)), (both_of(), both_of()));
    assert_eq!(told_of(DrainEnd::Refused), ["both"]);
    assert_eq!(told_of(DrainEnd::Undrained), ["both"]);
    hooks.upgraded("lb1", &upgrade(Some(UpgradeEnd::Abandoned)));
    assert_eq!(names(&mut hooks), ["up"]);
    hooks.upgraded("lb1", &upgrade(Some(UpgradeEnd::Done)));
    assert_eq!(names(&mut hooks), ["after", "up"]);
}

fn both_of() -> Vec<String> {
    vec!["after".to_owned(), "both".to_owned()]
}

/// Who is told.
fn names(hooks: &mut Hooks) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(start) = hooks.poll_start(now()) {
        names.push(start.hook.name.to_string());
        hooks.ended(start.ticket, succeeded(), now());
    }
    names
}

#[test]
fn a_node_that_is_to_lead_is_told_by_whom_and_again_if_it_does_not() {
    let events = [HookEvent::BeforeLeading, HookEvent::AfterStandby];
    let mut elsewhere = (*hook("elsewhere", &events, HookStyle::Json)).clone();
    elsewhere.groups.insert(GroupName::new("other"));
    let config = configured(&[hook("ask", &events, HookStyle::Json), Arc::new(elsewhere)]);
    let main = GroupName::new("main");
    assert!(is_asked_to_lead(&config, &main));
    assert!(!is_asked_to_lead(&configured(&[hook("tell", ROLES, HookStyle::Json)]), &main));
    let mut hooks = Hooks::default();
    hooks.look(&look(&config, Role::Standby, 1));
    assert_eq!(run_all(&mut hooks), ["after-standby standby"]);
    let (standing, from) = (standing(Role::Standby, 1), NodeName::new("lb2"));
    let planned = Planned::Leading { group: main.clone(), standing, from };
    let before = Before { config: &config, planned };
    assert_eq!(before.hooks().map(|hook| hook.name.as_str()).collect::<Vec<_>>(), ["ask"]);
    hooks.ask(&before, &HookName::new("ask"));
    let start = hooks.poll_start(now()).expect("it is started");
    let told = start.occurrence.json();
    assert_eq!(
        (&told["event"], &told["from"], &told["leader"], &told["state"]),
        (&json!("before-leading"), &json!("lb2"), &json!("lb2"), &json!("standby"))
    );
    assert_eq!(told.get("to"), None);
    hooks.stays(HookEvent::BeforeStandby, &main);
    hooks.look(&look(&config, Role::Standby, 1));
    hooks.ended(start.ticket, succeeded(), now());
    assert!(run_all(&mut hooks).is_empty(), "it was not told before it is left");
    hooks.stays(HookEvent::BeforeLeading, &main);
    hooks.look(&look(&config, Role::Standby, 1));
    assert_eq!(run_all(&mut hooks), ["after-standby standby"]);
}
