//! The programs that are run when something has happened.

use super::checks::command_words;
use super::groups::Groups;
use crate::file::{File, HookSection};
use crate::model::{GroupName, Hook, HookEvent, HookName, HookStyle, Policy};
use crate::reader::{At, Field, Reader};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Each may run several programs at once.
const HOOKS_AT_MOST: usize = 32;
const COMMAND_HELP: &str =
    "write a list, such as [/usr/local/bin/tell, --quick]: the program by its whole path, no shell";

pub(super) fn resolve(
    reader: &mut Reader<'_>,
    file: &File,
    groups: &Groups,
) -> BTreeMap<HookName, Arc<Hook>> {
    let Some(field) = &file.hooks else { return BTreeMap::new() };
    let written = field.value.0.as_slice();
    if written.len() > HOOKS_AT_MOST {
        let message = format!("there are {} hooks; a node runs at most {HOOKS_AT_MOST}", written.len());
        reader.error(field.node, message, "let one program do what several do now");
    }
    let hook = |(name, section): &(At<crate::scalar::Name>, Option<HookSection>)| {
        let name = HookName::new(&name.value.0);
        Some((name.clone(), Arc::new(hook(reader, name, section.as_ref()?, groups)?)))
    };
    written.iter().filter_map(hook).collect()
}

fn hook(reader: &mut Reader<'_>, name: HookName, section: &HookSection, groups: &Groups) -> Option<Hook> {
    let (style, command) = match (&section.run, &section.notify) {
        (Some(run), None) => (HookStyle::Json, run),
        (None, Some(notify)) => (HookStyle::Keepalived, notify),
        _ if reader.refused_within(section.at) => return None,
        _ => {
            let help =
                "write `run: [/usr/local/bin/program]`, or `notify:` for a notify script of keepalived";
            reader.error(section.at, "it must be clear what is run: one of `run` and `notify`", help);
            return None;
        }
    };
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
        command: command_words(reader, command, COMMAND_HELP)?,
        style,
        deadline: section.deadline.get().map_or(Hook::DEADLINE, |deadline| deadline.0),
        on_failure,
    })
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
