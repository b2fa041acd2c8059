//! What a new configuration changes, for the people who asked for it.

use fulcrum_config::{Config, Group, Service};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fmt::Display;

#[cfg(test)]
mod tests;

/// What a new configuration changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Each thing that changes.
    pub changes: Vec<Change>,
    /// What takes effect only when the process is started again.
    pub needs_restart: Vec<String>,
}

/// One thing that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// `added`, `removed` or `changed`.
    pub change: String,
    /// `service web`.
    pub what: String,
    /// Which of its fields.
    pub details: Vec<String>,
}

impl Difference {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.needs_restart.is_empty()
    }
}

impl Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "nothing changed");
        }
        for change in &self.changes {
            let sign = match change.change.as_str() {
                "added" => '+',
                "removed" => '-',
                _ => '~',
            };
            writeln!(f, "{sign} {}", change.what)?;
            for detail in &change.details {
                writeln!(f, "    {detail}")?;
            }
        }
        for what in &self.needs_restart {
            writeln!(f, "! {what} changed: takes effect when the daemon is started again")?;
        }
        Ok(())
    }
}

/// What `new` changes of `old`.
#[must_use]
pub fn difference(old: &Config, new: &Config) -> Difference {
    let mut changes = Vec::new();
    let same = |_: &_, _: &_| Vec::new();
    compare("node", &old.nodes, &new.nodes, same, &mut changes);
    compare("interface", &old.interfaces, &new.interfaces, |_, _| Vec::new(), &mut changes);
    compare("group", &old.groups, &new.groups, |old, new| group(old, new), &mut changes);
    compare("service", &old.services, &new.services, |old, new| service(old, new), &mut changes);
    if old.timing != new.timing {
        changes.push(changed("timing".to_owned(), Vec::new()));
    }
    let mut needs_restart = Vec::new();
    if old.node != new.node {
        needs_restart.push("node".to_owned());
    }
    needs_restart.extend(admin(&old.admin, &new.admin));
    Difference { changes, needs_restart }
}

fn changed(what: String, details: Vec<String>) -> Change {
    Change { change: "changed".to_owned(), what, details }
}

fn compare<K: Ord + Display, V: PartialEq>(
    kind: &str,
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
    details: impl Fn(&V, &V) -> Vec<String>,
    changes: &mut Vec<Change>,
) {
    let names: BTreeSet<&K> = old.keys().chain(new.keys()).collect();
    for name in names {
        let what = format!("{kind} {name}");
        let change = match (old.get(name), new.get(name)) {
            (None, _) => "added",
            (_, None) => "removed",
            (Some(old), Some(new)) => {
                if old != new {
                    changes.push(changed(what, details(old, new)));
                }
                continue;
            }
        };
        changes.push(Change { change: change.to_owned(), what, details: Vec::new() });
    }
}

/// The details of two things: the names of those fields that differ.
macro_rules! fields {
    ($old:expr, $new:expr, $($field:ident),+ $(,)?) => {{
        let mut details: Vec<String> = Vec::new();
        $(if $old.$field != $new.$field { details.push(format!("{} changed", stringify!($field))); })+
        details
    }};
}

fn group(old: &Group, new: &Group) -> Vec<String> {
    let mut details =
        fields!(old, new, class, vrid, priorities, advert_interval, adverts, preempt, accept, tracks);
    list("vip", old.vips.iter().map(|v| v.address), new.vips.iter().map(|v| v.address), &mut details);
    details
}

fn service(old: &Service, new: &Service) -> Vec<String> {
    let mut details = fields!(
        old,
        new,
        group,
        protocol,
        ports,
        mode,
        balance,
        check,
        quorum,
        slow_start,
        on_down,
        timeouts,
        proxy_protocol,
        sources,
        limits,
        transparent,
        log,
        udp,
    );
    list("vip", old.vips.iter(), new.vips.iter(), &mut details);
    let name = |backend: &std::sync::Arc<fulcrum_config::Backend>| backend.name.clone();
    list("backend", old.backends.iter().map(name), new.backends.iter().map(name), &mut details);
    for new in &new.backends {
        if let Some(old) = old.backends.iter().find(|old| old.name == new.name)
            && old != new
        {
            let fields = fields!(old, new, address, weight, backup, drain).join(", ");
            details.push(format!("backend {}: {fields}", new.name));
        }
    }
    details
}

fn list<T: Ord + Display>(
    kind: &str,
    old: impl Iterator<Item = T>,
    new: impl Iterator<Item = T>,
    details: &mut Vec<String>,
) {
    let old: BTreeSet<T> = old.collect();
    let new: BTreeSet<T> = new.collect();
    details.extend(new.difference(&old).map(|item| format!("{kind} {item} added")));
    details.extend(old.difference(&new).map(|item| format!("{kind} {item} removed")));
}

fn admin(old: &fulcrum_config::Admin, new: &fulcrum_config::Admin) -> Vec<String> {
    let fields = fields!(old, new, socket, viewer_group, tcp, metrics, state_dir, log_format);
    fields.iter().filter_map(|field| field.strip_suffix(" changed")).map(|f| format!("admin.{f}")).collect()
}
