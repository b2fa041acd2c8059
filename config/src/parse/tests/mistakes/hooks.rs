//! Hooks.

use super::{BASE, Row, parse, row};
use crate::model::{Hook, HookCall, HookEvent, HookName, HookStyle, Policy, WebAddress, WebCall};
use std::time::Duration;

const FROM: &str = "checks:\n";

/// A hook in front of the checks.
macro_rules! hook {
    ($hook:literal, $field:literal, $message:literal, $help:literal) => {
        row(FROM, concat!("hooks:\n  tell: ", $hook, "\nchecks:\n"), $field, $message, $help)
    };
}

pub(super) const HOOKS: &[Row] = &[
    row(
        FROM,
        "hooks:\n  «tell: {on: [fault]}\nchecks:\n",
        "hooks.tell",
        "one of `run`, `url` and `notify`",
        "write `run: [",
    ),
    row(
        FROM,
        "hooks:\n  «tell: {on: [fault], run: [/a], notify: [/b]}\nchecks:\n",
        "hooks.tell",
        "one of `run`, `url` and `notify`",
        "write `run: [",
    ),
    row(
        FROM,
        "hooks:\n  «tell: {run: [/a]}\nchecks:\n",
        "hooks.tell",
        "nothing says what it is run after",
        "write `on:`",
    ),
    hook!("{«on: [], run: [/a]}", "hooks.tell.on", "it is never run", "write `on:`"),
    hook!(
        "{on: [«after-leadin], run: [/a]}",
        "hooks.tell.on[0]",
        "`after-leadin` is not something that hooks are run after",
        "did you mean `after-leading`?"
    ),
    hook!(
        "{on: [before-drain, after-upgrade], «groups: [web], run: [/a]}",
        "hooks.tell.groups",
        "none of what it is run after happens to a group",
        "delete `groups`"
    ),
    hook!(
        "{on: [after-drain, after-upgrade], run: [/a], on_failure: «hold}",
        "hooks.tell.on_failure",
        "has happened already",
        "write `ignore`"
    ),
    hook!("{on: [fault], run: [«tell]}", "hooks.tell.run[0]", "`tell` is not an absolute path", "no shell"),
    hook!("{on: [fault], «run: []}", "hooks.tell.run", "the command is empty", "no shell"),
    hook!("{on: [fault], run: «/a}", "hooks.tell.run", "a single value stands here", "a list"),
    hook!(
        "{on: [fault, config-applied], «groups: [web], run: [/a]}",
        "hooks.tell.groups",
        "none of what it is run after happens to a group",
        "delete `groups`"
    ),
    hook!(
        "{on: [after-leading], «groups: [], run: [/a]}",
        "hooks.tell.groups",
        "it is for no group",
        "name groups"
    ),
    hook!(
        "{on: [after-leading], groups: [«wbe], run: [/a]}",
        "hooks.tell.groups[0]",
        "there is no group named `wbe`",
        "did you mean `web`?"
    ),
    hook!(
        "{«on: [fault], notify: [/a]}",
        "hooks.tell.on",
        "a notify script is told of each change",
        "delete `on`"
    ),
    row(
        FROM,
        "hooks:\n  «tell: {on: [fault], run: [/a], url: 'https://a/'}\nchecks:\n",
        "hooks.tell",
        "one of `run`, `url` and `notify`",
        "`url: https://",
    ),
    hook!("{on: [fault], url: «'ftp://a/b'}", "hooks.tell.url", "is not a URL", "https://"),
    hook!("{on: [fault], url: «'https://me:pass@a/b'}", "hooks.tell.url", "is not a URL", "no user"),
    hook!("{on: [fault], url: «'https://a:0/b'}", "hooks.tell.url", "is not a URL", "a host"),
    hook!(
        "{on: [fault], run: [/a], «ca_file: /b}",
        "hooks.tell.ca_file",
        "is of a `url`, and there is none",
        "delete it"
    ),
    hook!(
        "{on: [fault], url: 'http://a/b', «token_file: /b}",
        "hooks.tell.token_file",
        "is for https, and the URL is http",
        "write an https:// URL"
    ),
    hook!("{on: [fault], run: [/a], deadline: «50ms}", "hooks.tell.deadline", "too short", "100ms to 10m"),
    hook!(
        "{on: [fault], run: [/a], on_failure: «abort}",
        "hooks.tell.on_failure",
        "has happened already",
        "write `ignore`"
    ),
];

const HOOKS_BEFORE: [HookEvent; 4] =
    [HookEvent::BeforeLeading, HookEvent::BeforeStandby, HookEvent::BeforeDrain, HookEvent::BeforeUpgrade];

#[test]
fn hooks_are_as_they_are_written() {
    let hooks = "hooks:
  tell: {on: [after-leading, fault], groups: [web], run: [/usr/bin/tell, a b], deadline: 3s}
  old: {notify: [/etc/keepalived/notify.sh]}
  before: {on: [before-standby, fault], run: [/a], on_failure: abort}
checks:
";
    let parsed = parse(&BASE.replace(FROM, hooks), "fulcrum.yaml", "lb-1").expect("a good file");
    assert!(parsed.warnings.is_empty(), "{}", parsed.warnings);
    let [before, old, tell] =
        parsed.config.hooks.values().cloned().collect::<Vec<_>>().try_into().expect("three hooks");
    assert_eq!(before.events, [HookEvent::BeforeStandby, HookEvent::Fault].into());
    assert_eq!(before.on_failure, Policy::Abort);
    let all = HOOKS_BEFORE.iter().map(|event| event.as_str()).collect::<Vec<_>>().join(", ");
    let hooks = format!("hooks:\n  a: {{on: [{all}], run: [/a], on_failure: hold}}\nchecks:\n");
    let parsed = parse(&BASE.replace(FROM, &hooks), "fulcrum.yaml", "lb-1").expect("a good file");
    let all = parsed.config.hooks.values().next().map(|hook| hook.events.clone());
    assert_eq!(all, Some(HOOKS_BEFORE.into()));
    assert_eq!(
        *tell,
        Hook {
            name: HookName::new("tell"),
            events: [HookEvent::AfterLeading, HookEvent::Fault].into(),
            groups: [group("web")].into(),
            does: HookCall::Program(vec!["/usr/bin/tell".into(), "a b".into()]),
            style: HookStyle::Json,
            deadline: Duration::from_secs(3),
            on_failure: Policy::Ignore,
        }
    );
    assert_eq!(old.style, HookStyle::Keepalived);
    assert_eq!(old.events, [HookEvent::AfterLeading, HookEvent::AfterStandby].into());
    assert_eq!(old.deadline, Hook::DEADLINE);
    assert!(old.is_for(&group("dns")) && !tell.is_for(&group("dns")));
}

fn group(name: &str) -> crate::model::GroupName {
    crate::model::GroupName::new(name)
}

#[test]
fn a_url_is_read_and_shown_without_what_may_be_a_secret() {
    let web = |url: &str, more: &str| {
        let hooks = format!("hooks:\n  a: {{on: [fault], url: '{url}'{more}}}\nchecks:\n");
        let parsed = parse(&BASE.replace(FROM, &hooks), "fulcrum.yaml", "lb-1").expect("a good file");
        parsed.config.hooks.values().next().map(|hook| hook.does.clone()).expect("a hook")
    };
    let call = |tls, host: &str, port, path: &str| WebCall {
        to: WebAddress { tls, host: host.to_owned(), port },
        path: path.to_owned(),
        ca: None,
        token: None,
    };
    assert_eq!(web("https://chat.example", ""), HookCall::Web(call(true, "chat.example", 443, "/")));
    assert_eq!(web("http://[::1]:8080/a?b=c", ""), HookCall::Web(call(false, "::1", 8080, "/a?b=c")));
    let secret = web("https://chat.example/hook/s3cret?key=s3cret", ", ca_file: /ca, token_file: /token");
    let files = WebCall {
        ca: Some("/ca".into()),
        token: Some("/token".into()),
        ..call(true, "chat.example", 443, "/hook/s3cret?key=s3cret")
    };
    assert_eq!(secret, HookCall::Web(files));
    assert_eq!(
        (secret.to_string(), secret.words().concat()),
        ("https://chat.example:443".into(), "https://chat.example:443".into())
    );
    assert!(!format!("{secret:?}").contains("s3cret"));
}

#[test]
fn a_program_that_is_unsafe_is_refused_with_its_place_and_one_that_is_missing_is_warned_of() {
    use crate::parse::{Before, Judge, Judged, parse_after};
    let judge = |path: &std::path::Path| match path.to_str() {
        Some("/unsafe") => Judged::Unsafe("others may write it".to_owned(), "chmod".to_owned()),
        Some("/gone") => Judged::Missing("it is gone".to_owned()),
        _ => Judged::Good,
    };
    let before = Before { programs: Judge(judge), ..Before::default() };
    let of = |run: &str| {
        let hooks = format!("hooks:\n  a: {{on: [fault], run: [{run}, /unsafe]}}\nchecks:\n");
        parse_after(&BASE.replace(FROM, &hooks), "fulcrum.yaml", "lb-1", &before)
    };
    assert!(of("/good").is_ok_and(|parsed| parsed.warnings.is_empty()));
    let warned = of("/gone").expect("it is taken").warnings.to_string();
    assert!(warned.contains("it is gone") && warned.contains("hooks.a.run[0]"), "{warned}");
    let refused = of("/unsafe").expect_err("it is refused").to_string();
    for says in ["others may write it", "hooks.a.run[0]", "chmod"] {
        assert!(refused.contains(says), "{says}: {refused}");
    }
}
