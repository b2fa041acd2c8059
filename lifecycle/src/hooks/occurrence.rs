//! What happened, as hooks are told.

use super::{Drain, Upgrade};
use crate::status::Alarm;
use fulcrum_config::{GroupName, HookEvent};
use fulcrum_vip_manager::{GroupObserved, Role};
use serde::Serialize;
use serde_json::Value as Json;

/// An environment has room for much more; what is longer is cut there, not in the JSON.
const LONGEST: usize = 4096;

/// How this node stands in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What it is in it.
    pub role: Role,
    /// Changes of that.
    pub transitions: u64,
    /// Changes of leader.
    pub epoch: u64,
    /// Its priority; none if it must not lead.
    pub priority: Option<u8>,
    /// Who leads, if it is another.
    pub leader: Option<String>,
    /// Why it is so.
    pub reason: String,
}

impl From<&GroupObserved> for Standing {
    fn from(seen: &GroupObserved) -> Self {
        Self {
            role: seen.role,
            transitions: seen.transitions,
            epoch: seen.epoch,
            priority: seen.priority,
            leader: seen.leader.as_ref().map(|leader| match &leader.node {
                Some(node) => node.to_string(),
                None => leader.address.to_string(),
            }),
            reason: seen.reason.to_string(),
        }
    }
}

/// What happened. Each field is one of the JSON at a hook's standard input, and a variable of its environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Occurrence {
    /// The event.
    pub event: HookEvent,
    /// This node.
    pub node: String,
    /// What it is about.
    #[serde(flatten)]
    pub details: Details,
}

/// What it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Details {
    /// A group.
    Group {
        /// Its name.
        group: GroupName,
        /// `leader`, `standby`, `unfit` (it may not lead), `stopped` (the daemon ends) or `removed` (the group is gone).
        state: &'static str,
        /// Changes of leader.
        epoch: u64,
        /// This node's priority.
        priority: u8,
        /// The addresses.
        vips: Vec<String>,
        /// Who leads, as far as this node knows.
        leader: Option<String>,
        /// Why.
        reason: String,
        /// Before a handover: the node that is to lead.
        #[serde(skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        /// Before this node is to lead it: the node that hands it over.
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// Of how many virtual routers it is made.
        #[serde(skip)]
        routers: usize,
    },
    /// A backend.
    Backend {
        /// The group of its service.
        group: GroupName,
        /// Its service.
        service: String,
        /// Its name.
        backend: String,
        /// Where it listens.
        address: String,
        /// Why it is down.
        reason: String,
    },
    /// The configuration.
    Config {
        /// How many this node applied since it started.
        generation: u64,
        /// What the nodes count alike.
        serial: u64,
    },
    /// A drain.
    Drain(Drain),
    /// An upgrade.
    Upgrade(Upgrade),
    /// An alarm.
    Fault(Alarm),
}

impl Occurrence {
    pub(super) fn new(event: HookEvent, node: &str, details: Details) -> Self {
        Self { event, node: node.to_owned(), details }
    }

    /// What it is about, in a word or two.
    #[must_use]
    pub fn subject(&self) -> String {
        match &self.details {
            Details::Group { group, .. } => format!("group {group}"),
            Details::Backend { service, backend, .. } => format!("backend {backend} of {service}"),
            Details::Config { generation, .. } => format!("generation {generation}"),
            Details::Drain(drain) => format!("drain of {} {}", drain.kind, drain.name),
            Details::Upgrade(upgrade) => format!("upgrade by {}", upgrade.cause),
            Details::Fault(alarm) => alarm.what.clone(),
        }
    }

    /// The group, if it is about one.
    #[must_use]
    pub fn group(&self) -> Option<&GroupName> {
        match &self.details {
            Details::Group { group, .. } | Details::Backend { group, .. } => Some(group),
            Details::Config { .. } | Details::Drain(_) | Details::Upgrade(_) | Details::Fault(_) => None,
        }
    }

    /// At the hook's standard input.
    #[must_use]
    pub fn json(&self) -> Json {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// In its environment: each field of the JSON, lists with spaces between.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let Json::Object(fields) = self.json() else { return Vec::new() };
        fields.iter().map(|(name, value)| (format!("FULCRUM_{}", name.to_uppercase()), flat(value))).collect()
    }

    /// The last arguments that keepalived gives a notify script: type, name, state, priority.
    #[must_use]
    pub fn keepalived(&self) -> Vec<String> {
        let Details::Group { group, state, priority, routers, .. } = &self.details else { return Vec::new() };
        // keepalived calls what moves several virtual routers as one a group, and knows fewer states of it.
        let is_group = *routers > 1;
        let state = match *state {
            "leader" => "MASTER",
            "standby" => "BACKUP",
            "stopped" if !is_group => "STOP",
            "removed" if !is_group => "DELETED",
            _ => "FAULT",
        };
        let kind = if is_group { "GROUP" } else { "INSTANCE" };
        vec![kind.to_owned(), group.to_string(), state.to_owned(), priority.to_string()]
    }
}

/// No zero bytes, which no environment can hold.
fn flat(value: &Json) -> String {
    let text = match value {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        Json::Array(items) => items.iter().map(flat).collect::<Vec<_>>().join(" "),
        Json::Bool(_) | Json::Number(_) | Json::Object(_) => value.to_string(),
    };
    let mut length = 0_usize;
    let kept = text.chars().take_while(|character| {
        length = length.saturating_add(character.len_utf8());
        length <= LONGEST
    });
    kept.map(|character| if character == '\0' { ' ' } else { character }).collect()
}
