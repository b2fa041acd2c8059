//! What was heard on the links, in lines.

use super::Asked;
use super::sweep::{Heard, Questions};
use crate::frame::{Mac, virtual_mac};
use crate::netlink::View;
use fulcrum_config::preflight::Line;
use fulcrum_config::{Config, Group, Link, Vrid};
use std::collections::BTreeSet;
use std::net::IpAddr;

const ADDRESS: &str = "address";
const VRID: &str = "vrid";
const GATEWAY: &str = "gateway";
const NODE: &str = "node";
const FREE: &str = "free-addresses";
const MAC: &str = "mac-policy";

/// Who may answer for a VIP: the nodes.
struct Known<'a> {
    config: &'a Config,
    view: &'a View,
    /// The other nodes' MACs, on any link.
    nodes: BTreeSet<Mac>,
}

/// All lines of all links.
pub(super) fn judge(config: &Config, view: &View, asked: &[Asked]) -> Vec<Line> {
    let nodes = asked.iter().filter_map(|asked| Some((asked, asked.heard.as_ref().ok()?)));
    let nodes = nodes.flat_map(|(asked, heard)| {
        asked.questions.nodes.iter().filter_map(|node| heard.answers.get(node)).flatten().copied()
    });
    let known = Known { config, view, nodes: nodes.collect() };
    let mut lines = Vec::new();
    for Asked { link, questions, heard } in asked {
        match heard {
            Ok(heard) => {
                lines.extend(known.addresses(link, heard));
                lines.extend(known.routers(link, heard));
                lines.extend(neighbours(questions, heard));
                lines.extend(free(link, questions, heard));
                lines.extend(mac_policy(link, questions, heard));
            }
            Err(why) => lines.extend(
                [ADDRESS, VRID, GATEWAY].map(|check| Line::not_applicable(check, link, why.as_str())),
            ),
        }
    }
    if !config.interfaces.values().any(|interface| interface.virtual_mac) {
        let why = "no interface has `virtual_mac`: frames bear the interface's own MAC";
        lines.push(Line::not_applicable(MAC, "interfaces", why));
    }
    if !asked.iter().any(|asked| !asked.questions.gateways.is_empty()) {
        let why = "there is no track, no witness and no default route with one";
        lines.push(Line::not_applicable(GATEWAY, "gateways", why));
    }
    lines
}

impl Known<'_> {
    fn is_own(&self, mac: Mac) -> bool {
        self.view.has_mac(mac.octets())
    }

    /// Whether the machine that answers may be the leader.
    fn may_answer(&self, mac: Mac, group: &Group, link: &Link) -> bool {
        let of_group = |vrid: Vrid| virtual_mac(vrid, link.family) == mac;
        self.is_own(mac) || self.nodes.contains(&mac) || group.vrid().is_some_and(of_group)
    }

    /// Nobody but the nodes answers for a VIP.
    fn addresses(&self, link: &Link, heard: &Heard) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut clear: Vec<String> = Vec::new();
        for group in self.config.groups.values() {
            for vip in group.vips_on(link) {
                match self.address(vip, group, link, heard) {
                    Some(line) => lines.push(line),
                    None => clear.push(vip.to_string()),
                }
            }
        }
        if !clear.is_empty() {
            let found = format!("nobody but the nodes answers for {}", shortened(&clear));
            lines.push(Line::ok(ADDRESS, link, found));
        }
        lines
    }

    fn address(&self, vip: IpAddr, group: &Group, link: &Link, heard: &Heard) -> Option<Line> {
        let is_virtual = self.config.interfaces.get(&link.interface).is_some_and(|it| it.virtual_mac);
        if let Some(interface) = self.view.elsewhere(vip).filter(|_| !is_virtual) {
            return Some(Line::failed(
                ADDRESS,
                vip,
                format!(
                    "it is on {interface} of this machine: the kernel answers for it, whoever leads group {}",
                    group.name
                ),
                format!(
                    "take it off, also where the system sets it at boot: ip address del {vip} dev {interface}"
                ),
            ));
        }
        let answers = heard.answers.get(&vip)?;
        let strangers = answers.iter().filter(|mac| !self.may_answer(**mac, group, link));
        let strangers: Vec<String> = strangers.map(ToString::to_string).collect();
        if !strangers.is_empty() {
            return Some(Line::failed(
                ADDRESS,
                vip,
                format!(
                    "{} answers for it and is none of the nodes: clients of group {} get there",
                    strangers.join(" and "),
                    group.name
                ),
                "find that machine by the switch's table of MACs and take the address off it, or give the group another",
            ));
        }
        (answers.len() > 1).then(|| {
            let macs: Vec<String> = answers.iter().map(ToString::to_string).collect();
            let found = format!("{} answer for it at once", macs.join(" and "));
            Line::failed(
                ADDRESS,
                vip,
                found,
                "look at 'fulcrum status' on both nodes: do they hear each other?",
            )
        })
    }

    /// Nobody but the nodes sends adverts with a VRID of ours.
    fn routers(&self, link: &Link, heard: &Heard) -> Vec<Line> {
        let mut lines = Vec::new();
        let groups = self.config.groups.values().filter(|group| group.vips_on(link).next().is_some());
        for (group, vrid) in groups.filter_map(|group| Some((group, group.vrid()?))) {
            let about = format!("{vrid} on {link}");
            let old = heard.version_2.iter().filter(|(_, of)| *of == vrid.get());
            let old: Vec<String> = old.map(|(source, _)| source.to_string()).collect();
            if !old.is_empty() {
                lines.push(Line::failed(
                    VRID,
                    about,
                    format!(
                        "{} speaks VRRPv2 with it: this node and that router would not hear each other, and both lead group {}",
                        old.join(" and "),
                        group.name
                    ),
                    "with keepalived, set `vrrp_version 3` in its `global_defs` and reload it, before this node starts",
                ));
                continue;
            }
            let others = heard.adverts.iter().filter(|(source, of, mac)| {
                *of == vrid.get() && !self.is_node(*source) && !self.is_own(*mac) && !self.nodes.contains(mac)
            });
            let others: Vec<String> = others.map(|(source, _, mac)| format!("{source} ({mac})")).collect();
            lines.push(if others.is_empty() {
                Line::ok(VRID, about, "nobody but the nodes sends adverts with it")
            } else {
                Line::failed(
                    VRID,
                    about,
                    format!("{} sends adverts with it and is none of the nodes: group {} and that router disturb each other", others.join(" and "), group.name),
                    "give the group a `vrid` that no other router on this link has, on all nodes, or take that router away",
                )
            });
        }
        lines
    }

    fn is_node(&self, address: IpAddr) -> bool {
        self.config.nodes.values().any(|node| node.addresses.contains(&address))
    }
}

fn neighbours(questions: &Questions, heard: &Heard) -> Vec<Line> {
    let gateway = |address: &IpAddr| match first(heard, address) {
        Some(mac) => Line::ok(GATEWAY, address, format!("{mac} answers for it")),
        None => Line::failed(
            GATEWAY,
            address,
            "nobody answers for it: clients beyond it are not reached, and tracks of it fail",
            "check its address, the cable, and the VLAN of the port ('ip route' shows who uses it)",
        ),
    };
    let node = |address: &IpAddr| match first(heard, address) {
        Some(mac) => Line::ok(NODE, address, format!("{mac} answers for it")),
        None => Line::warning(
            NODE,
            address,
            "nobody answers for it: that node is down, or not on this link",
            "if it is to be there: check that it is up, its address, and the VLAN of both ports",
        ),
    };
    questions.gateways.iter().map(gateway).chain(questions.nodes.iter().map(node)).collect()
}

fn first(heard: &Heard, address: &IpAddr) -> Option<Mac> {
    heard.answers.get(address)?.first().copied()
}

/// Whether one more node would find an address: an upgrade may bring one up before another goes.
fn free(link: &Link, questions: &Questions, heard: &Heard) -> Option<Line> {
    if link.family == fulcrum_config::Family::Ipv6 {
        return None;
    }
    let found = questions.free.iter().find(|address| !heard.answers.contains_key(*address));
    Some(match found {
        Some(address) => Line::ok(
            FREE,
            link,
            format!("{address} is free for one more node: the file names it nowhere, and nobody answers"),
        ),
        None => Line::warning(
            FREE,
            link,
            "no address was found free for one more node: an upgrade can't bring one up before another goes",
            "make room in the networks of the interface, or upgrade the nodes one after the other",
        ),
    })
}

fn mac_policy(link: &Link, questions: &Questions, heard: &Heard) -> Option<Line> {
    if !questions.foreign_mac {
        return None;
    }
    Some(match heard.foreign {
        Some((mac, true)) => Line::ok(
            MAC,
            link,
            format!("a frame from {mac}, which nobody has, is answered: virtual MACs can work"),
        ),
        Some((mac, false)) => Line::failed(
            MAC,
            link,
            format!(
                "a frame from {mac}, which nobody has, is not answered, though the neighbour answers this interface's own MAC"
            ),
            "allow forged transmits and MAC changes for the port at the hypervisor, or take `virtual_mac` out of the file",
        ),
        None => Line::not_applicable(MAC, link, "no neighbour answers that could be asked from another MAC"),
    })
}

/// Some of many.
fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    let more = names.len().saturating_sub(SHOWN);
    let shown = shown.join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}
