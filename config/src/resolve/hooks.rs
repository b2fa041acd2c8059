//! The programs that are run when something has happened.

use super::checks::command_words;
use super::groups::Groups;
use crate::file::{File, HookSection};
use crate::model::{GroupName, Hook, HookCall, HookEvent, HookName, HookStyle, Policy, WebCall};
use crate::parse::{Judge, Judged};
use crate::reader::{At, Field, Reader};
use crate::scalar::{AbsolutePath, WebUrl};
use crate::table::List;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Each may run several programs at once.
const HOOKS_AT_MOST: usize = 32;
const COMMAND_HELP: &str =
    "write a list, such as [/usr/local/bin/tell, --quick]: the program by its whole path, no shell";

pub(super) fn resolve(
    reader: &mut Reader<'_>,
    file: &File,
    groups: &Groups,
    judge: Judge,
) -> BTreeMap<HookName, Arc<Hook>> {
    let Some(field) = &file.hooks else { return BTreeMap::new() };
    let written = field.value.0.as_slice();
    if written.len() > HOOKS_AT_MOST {
        let message = format!("there are {} hooks; a node runs at most {HOOKS_AT_MOST}", written.len());
        reader.error(field.node, message, "let one program do what several do now");
    }
    let hook = |(name, section): &(At<crate::scalar::Name>, Option<HookSection>)| {
        let name = HookName::new(&name.value.0);
        Some((name.clone(), Arc::new(hook(reader, name, section.as_ref()?, groups, judge)?)))
    };
    written.iter().filter_map(hook).collect()
}

fn hook(
    reader: &mut Reader<'_>,
    name: HookName,
    section: &HookSection,
    groups: &Groups,
    judge: Judge,
) -> Option<Hook> {
    let (style, does) = match (&section.run, &section.url, &section.notify) {
        (Some(run), None, None) => (HookStyle::Json, program(reader, run, judge)),
        (None, Some(url), None) => (HookStyle::Json, Some(web(reader, section, url))),
        (None, None, Some(notify)) => (HookStyle::Keepalived, program(reader, notify, judge)),
        _ if reader.refused_within(section.at) => return None,
        _ => {
            let help = "write `run: [/usr/local/bin/program]`, `url: https://...`, or `notify:` for a notify script of \
                        keepalived";
            reader.error(section.at, "it must be clear what is done: one of `run`, `url` and `notify`", help);
            return None;
        }
    };
    if section.url.is_none() {
        for (name, field) in [("ca_file", &section.ca_file), ("token_file", &section.token_file)] {
            if let Some(field) = field {
                let message = format!("`{name}` is of a `url`, and there is none");
                reader.error_at_key(field.node, message, "delete it");
            }
        }
    }
    let events = events(reader, section, style);
    let events_are_known = !reader.refused_within(section.at);
    let on_failure = on_failure(reader, section, &events);
    let mut only = BTreeSet::new();
    if let Some(list) = &section.groups {
        if events_are_known && !events.iter().any(|event| event.is_of_a_group()) {
            let help = "delete `groups`";
            reader.error_at_key(list.node, "none of what it is run after happens to a group", help);
        }
        for group in &list.value.0 {
            let known = GroupName::new(&group.value);
            if groups.complete && !groups.all.contains_key(&known) {
                let names = groups.all.keys().map(GroupName::as_str);
                reader.dangling(group.node, "group", &group.value, names);
            }
            only.insert(known);
        }
        if list.value.0.is_empty() {
            reader.error(
                list.node,
                "it is for no group",
                "name groups, or delete `groups`: it is for all then",
            );
        }
    }
    Some(Hook {
        name,
        events,
        groups: only,
        does: does?,
        style,
        deadline: section.deadline.get().map_or(Hook::DEADLINE, |deadline| deadline.0),
        on_failure,
    })
}

/// One that is not there yet may come; one that others may write is refused.
fn program(reader: &mut Reader<'_>, command: &At<List<String>>, judge: Judge) -> Option<HookCall> {
    let words = command_words(reader, command, COMMAND_HELP)?;
    if let Some(program) = command.value.0.first()
        && program.value.starts_with('/')
    {
        match (judge.0)(Path::new(&program.value)) {
            Judged::Good => {}
            Judged::Missing(why) => {
                let help = "put it there; until then the hook is not run, and that is an alarm";
                reader.warn(program.node, why, help);
            }
            Judged::Unsafe(why, help) => reader.error(program.node, why, help),
        }
    }
    Some(HookCall::Program(words))
}

/// A token is for the server alone that proves who it is.
fn web(reader: &mut Reader<'_>, section: &HookSection, url: &At<WebUrl>) -> HookCall {
    let (to, path) = url.value.0.clone();
    for (name, field) in [("ca_file", &section.ca_file), ("token_file", &section.token_file)] {
        if let Some(field) = field
            && !to.tls
        {
            let message = format!("`{name}` is for https, and the URL is http");
            reader.error_at_key(field.node, message, "write an https:// URL, or delete it");
        }
    }
    let path_of = |field: &Option<At<AbsolutePath>>| field.get().map(|path| path.0.clone());
    HookCall::Web(WebCall { to, path, ca: path_of(&section.ca_file), token: path_of(&section.token_file) })
}

/// What has happened can't be held up.
fn on_failure(reader: &mut Reader<'_>, section: &HookSection, events: &BTreeSet<HookEvent>) -> Policy {
    let Some(field) = &section.on_failure else { return Policy::default() };
    let is_before = events.iter().any(|event| event.is_before());
    if field.value != Policy::Ignore && !is_before && !reader.refused_within(section.at) {
        let message = "what it is run after has happened already";
        reader.error(field.node, message, "write `ignore`, or delete `on_failure`");
    }
    field.value
}

fn events(reader: &mut Reader<'_>, section: &HookSection, style: HookStyle) -> BTreeSet<HookEvent> {
    const HELP: &str = "write `on:` with some of before-leading, after-leading, before-standby, after-standby, before-drain, \
        after-drain, before-upgrade, after-upgrade, config-applied, backend-down, fault";
    match (style, &section.on) {
        (HookStyle::Keepalived, None) => BTreeSet::from([HookEvent::AfterLeading, HookEvent::AfterStandby]),
        (HookStyle::Keepalived, Some(on)) => {
            let message = "a notify script is told of each change of leader";
            reader.error_at_key(on.node, message, "delete `on`, or write `run` in place of `notify`");
            BTreeSet::new()
        }
        (HookStyle::Json, Some(on)) => {
            if on.value.0.is_empty() && !reader.refused_within(on.node) {
                reader.error(on.node, "it is never run", HELP);
            }
            on.value.0.iter().map(|event| event.value).collect()
        }
        (HookStyle::Json, None) => {
            if reader.child(section.at, "on").is_none() {
                reader.error(section.at, "nothing says what it is run after", HELP);
            }
            BTreeSet::new()
        }
    }
}
