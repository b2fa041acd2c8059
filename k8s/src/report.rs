//! What a Service is told: its addresses, and a condition that explains.

use crate::translate::{IpMode, Outcome, Port};
use fulcrum_config::{Annotations, Config, Family};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

#[cfg(test)]
mod tests;

/// The condition of ours.
pub const CONDITION: &str = "fulcrum.dev/Served";
/// The API server takes no longer message of a condition, and of an event no longer note than 1,024 bytes.
const MESSAGE_AT_MOST: usize = 1_000;
/// A port that is not served, in the words of `status.loadBalancer.ingress[].ports[].error`.
const PORT_ERROR: &str = "fulcrum.dev/NotServed";

/// What came of a fragment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Services that were set aside, and why.
    pub set_aside: BTreeMap<String, String>,
    /// The addresses of the others.
    pub addresses: BTreeMap<String, Vec<IpAddr>>,
}

/// What the status of a Service is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// `status.loadBalancer.ingress`.
    pub ingress: Vec<Json>,
    /// Whether it is served.
    pub is_served: bool,
    /// Why, in a word.
    pub reason: String,
    /// For people.
    pub message: String,
    /// What annotations are to say that are reports; those that can be written and do not stand here are to be gone.
    pub annotations: BTreeMap<&'static str, String>,
}

impl Report {
    /// With what annotations say of its addresses, by the pools of `config`.
    #[must_use]
    pub fn annotated(mut self, config: &Config) -> Self {
        let ips = self.ingress.iter().filter_map(|it| it.get("ip")?.as_str());
        let addresses: Vec<&str> = ips.collect();
        let parsed = addresses.iter().filter_map(|it| it.parse::<IpAddr>().ok());
        let pools: BTreeSet<&str> =
            parsed.filter_map(|address| config.pool_of(address)).map(|pool| pool.name.as_str()).collect();
        let pools = pools.into_iter().collect::<Vec<_>>().join(",");
        let all = [
            (Annotations::ADDRESSES, addresses.join(",")),
            (Annotations::POOL, pools.clone()),
            (Annotations::POOL_OF_METALLB, pools),
        ];
        self.annotations = all.into_iter().filter(|(_, text)| !text.is_empty()).collect();
        self
    }
}

/// What a Service is told, whose ports became services of a fragment that was applied.
#[must_use]
pub fn report(outcome: &Outcome, applied: &Applied) -> Report {
    if let Some(problem) = &outcome.problem {
        return Report {
            ingress: Vec::new(),
            is_served: false,
            reason: problem.reason.to_owned(),
            message: shortened(&problem.message),
            annotations: BTreeMap::new(),
        };
    }
    let mut addresses: Vec<IpAddr> = Vec::new();
    let mut set_aside: Vec<&str> = Vec::new();
    for service in outcome.ports.iter().filter_map(|port| port.service.as_ref()) {
        for address in applied.addresses.get(service).into_iter().flatten() {
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        if let Some(why) = applied.set_aside.get(service)
            && !set_aside.contains(&why.as_str())
        {
            set_aside.push(why);
        }
    }
    let rank = |address: &IpAddr| {
        let family = Family::of(*address);
        (outcome.families.iter().position(|it| *it == family), *address)
    };
    addresses.sort_by_key(rank);
    let ingress = addresses.iter().map(|address| ingress(outcome, applied, *address)).collect();
    let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let mut sentences = Vec::new();
    if !addresses.is_empty() {
        sentences.push(format!("Fulcrum answers at {}", shown.join(" and ")));
    }
    let lost = outcome.had.iter().filter(|(address, _)| !addresses.contains(address));
    if !addresses.is_empty() {
        sentences.extend(
            lost.map(|(address, why)| format!("it had {address} before, and can't keep that: {why}")),
        );
    }
    sentences.extend(set_aside.iter().map(|why| (*why).to_owned()));
    if !addresses.is_empty() && set_aside.is_empty() {
        // Only who prefers two families is served without one of them.
        let has = |family: &Family| addresses.iter().any(|address| Family::of(*address) == *family);
        let lacks = outcome.families.iter().filter(|family| !has(family));
        sentences.extend(lacks.map(|family| {
            format!("no pool that it may use has an {family} address for it, so it has no address of the other family")
        }));
    }
    sentences.extend(outcome.notes.iter().cloned());
    let reason = match (addresses.is_empty(), set_aside.is_empty()) {
        (false, true) => "Served",
        (false, false) => "PartlyServed",
        (true, false) => "SetAside",
        (true, true) => {
            sentences.push("it has no address yet".to_owned());
            "Pending"
        }
    };
    Report {
        ingress,
        is_served: !addresses.is_empty(),
        reason: reason.to_owned(),
        message: shortened(&sentences.join("; ")),
        annotations: BTreeMap::new(),
    }
}

fn ingress(outcome: &Outcome, applied: &Applied, address: IpAddr) -> Json {
    let has = |port: &Port| {
        let addresses = port.service.as_ref().and_then(|service| applied.addresses.get(service));
        addresses.is_some_and(|addresses| addresses.contains(&address))
    };
    let port = |port: &Port| {
        let mut status = json!({ "port": port.number, "protocol": port.protocol });
        if !has(port)
            && let Some(map) = status.as_object_mut()
        {
            map.insert("error".to_owned(), json!(PORT_ERROR));
        }
        status
    };
    let ip_mode = match outcome.ip_mode {
        IpMode::Vip => "VIP",
        IpMode::Proxy => "Proxy",
    };
    json!({
        "ip": address.to_string(),
        "ipMode": ip_mode,
        "ports": outcome.ports.iter().map(port).collect::<Vec<_>>(),
    })
}

/// At most so many bytes, whole characters, and no control characters.
fn shortened(text: &str) -> String {
    let mut short = String::new();
    for character in text.chars().map(|it| if it.is_control() { ' ' } else { it }) {
        if short.len().saturating_add(character.len_utf8()) > MESSAGE_AT_MOST.saturating_sub(3) {
            short.push_str("...");
            break;
        }
        short.push(character);
    }
    short
}
