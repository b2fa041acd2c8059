//! What changed between two configurations, in words, for the answer to `fulcrum reload`.

mod words;

use crate::model::{
    Admin, Backend, BackendName, Cluster, Config, Group, GroupName, Hook, Interface, Limits, Node, PeerLink,
    Pool, ProxyProtocol, Service, Timeouts, Timing, UdpOptions,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use words::Words;

#[cfg(test)]
mod tests;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What changed: `service api`, `group web`, `timing`.
    pub what: String,
    /// How: `backend cp-3 added`, `ports: 80 is now 81`.
    pub how: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.how)
    }
}

/// Each change from `old` to `new`, in the order of the file; empty if they are equal.
#[must_use]
pub fn difference(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes = Changes::default();
    "node".clone_into(&mut changes.what);
    changes.value("this one", &old.node, &new.node);
    changes.timing(&old.timing, &new.timing);
    "forwarding plane".clone_into(&mut changes.what);
    changes.value("xdp", &old.xdp, &new.xdp);
    changes.value("flows", &old.flows, &new.flows);
    changes.things("node", &old.nodes, &new.nodes, Changes::node);
    changes.things("interface", &old.interfaces, &new.interfaces, Changes::interface);
    changes.things("group", &old.groups, &new.groups, |changes, old, new| changes.group(old, new));
    changes.moves(old, new);
    "cluster".clone_into(&mut changes.what);
    changes.value("witness", &old.witness, &new.witness);
    changes.things("pool", &old.pools, &new.pools, Changes::pool);
    changes.things("service", &old.services, &new.services, |changes, old, new| changes.service(old, new));
    changes.drained(old, new);
    changes.things("kubernetes", &old.kubernetes, &new.kubernetes, |changes, old, new| {
        changes.kubernetes(old, new);
    });
    changes.things("hook", &old.hooks, &new.hooks, |changes, old, new| changes.hook(old, new));
    changes.admin(&old.admin, &new.admin);
    changes.peer(&old.peer, &new.peer);
    changes.list
}

/// Compares fields by name. Each field is named, in one of the two lists, or this does not compile.
macro_rules! fields {
    ($changes:ident, $old:ident, $new:ident, $type:ident { $($field:ident),* }, elsewhere { $($other:ident),* }) => {
        let $type { $($field: _,)* $($other: _,)* } = $old;
        $($changes.value(&stringify!($field).replace('_', " "), &$old.$field, &$new.$field);)*
    };
}

#[derive(Default)]
struct Changes {
    list: Vec<Change>,
    /// `service api`, while its fields are compared.
    what: String,
}

impl Changes {
    fn add(&mut self, how: String) {
        self.list.push(Change { what: self.what.clone(), how });
    }

    fn value<T: PartialEq + Words>(&mut self, name: &str, old: &T, new: &T) {
        if old == new {
            return;
        }
        let (old, new) = (old.words(), new.words());
        self.add(if old == new { format!("{name} changed") } else { format!("{name}: {old} is now {new}") });
    }

    fn members<T: PartialEq + Words>(&mut self, name: &str, old: &[T], new: &[T]) {
        let before = self.list.len();
        for removed in old.iter().filter(|item| !new.contains(item)) {
            self.add(format!("{name} {} removed", removed.words()));
        }
        for added in new.iter().filter(|item| !old.contains(item)) {
            self.add(format!("{name} {} added", added.words()));
        }
        if self.list.len() == before && old != new {
            self.add(format!("{name}s are in another order"));
        }
    }

    fn things<K: Ord + fmt::Display, T: PartialEq>(
        &mut self,
        kind: &str,
        old: &BTreeMap<K, T>,
        new: &BTreeMap<K, T>,
        compare: impl Fn(&mut Self, &T, &T),
    ) {
        let add = |changes: &mut Self, name: &K, how: &str| {
            changes.list.push(Change { what: format!("{kind} {name}"), how: how.to_owned() });
        };
        for name in old.keys().filter(|name| !new.contains_key(name)) {
            add(self, name, "removed");
        }
        for (name, thing) in new {
            match old.get(name) {
                None => add(self, name, "added"),
                Some(before) if before == thing => {}
                Some(before) => {
                    self.what = format!("{kind} {name}");
                    compare(self, before, thing);
                }
            }
        }
        self.what.clear();
    }

    /// Nodes that operators drain, or do not drain any more.
    fn drained(&mut self, old: &Config, new: &Config) {
        for name in new.nodes.keys() {
            self.what = format!("lb-node {name}");
            let is_drained = |config: &Config| config.overrides.is_drained(name);
            self.value("drained", &is_drained(old), &is_drained(new));
        }
        self.what.clear();
    }

    /// Addresses that are of another group now: they may be on another node.
    fn moves(&mut self, old: &Config, new: &Config) {
        let groups = |config: &Config| -> BTreeMap<IpAddr, GroupName> {
            let all = config.groups.values();
            all.flat_map(|group| group.vips.iter().map(|vip| (vip.address, group.name.clone()))).collect()
        };
        let before = groups(old);
        for (address, group) in groups(new) {
            if let Some(was) = before.get(&address).filter(|was| **was != group) {
                let how = format!("moves from group {was} to group {group}");
                self.list.push(Change { what: format!("address {address}"), how });
            }
        }
    }

    fn timing(&mut self, old: &Timing, new: &Timing) {
        "timing".clone_into(&mut self.what);
        fields!(
            self,
            old,
            new,
            Timing { advert_interval, announce_burst, announce_spacing, announce_refresh, track_damping },
            elsewhere {}
        );
        self.what.clear();
    }

    fn admin(&mut self, old: &Admin, new: &Admin) {
        "admin".clone_into(&mut self.what);
        fields!(
            self,
            old,
            new,
            Admin { socket, viewer_group, tcp, metrics, state_dir, backups, held_after_crashes, log_format },
            elsewhere {}
        );
        self.what.clear();
    }

    fn peer(&mut self, old: &PeerLink, new: &PeerLink) {
        "peer link".clone_into(&mut self.what);
        fields!(self, old, new, PeerLink { port, heartbeat, key }, elsewhere { pins });
        let nothing = Vec::new();
        let nodes: BTreeSet<_> = old.pins.keys().chain(new.pins.keys()).collect();
        for node in nodes {
            let pins = |link: &PeerLink| link.pins.get(node).unwrap_or(&nothing).clone();
            self.members(&format!("key of {node}"), &pins(old), &pins(new));
        }
        self.what.clear();
    }

    fn node(&mut self, old: &Node, new: &Node) {
        fields!(self, old, new, Node { kind, priority, weight, domain }, elsewhere { addresses });
        self.members("address", &old.addresses, &new.addresses);
    }

    fn interface(&mut self, old: &Interface, new: &Interface) {
        fields!(self, old, new, Interface { virtual_mac }, elsewhere { name, networks });
        self.members("network", &old.networks, &new.networks);
    }

    fn group(&mut self, old: &Group, new: &Group) {
        fields!(
            self,
            old,
            new,
            Group { class, election, advert_interval, adverts, preempt, on_split, proof, drain, accept },
            elsewhere { name, vips, priorities, tracks }
        );
        self.members("VIP", &old.vips, &new.vips);
        self.members("track", &old.tracks, &new.tracks);
        // A node that came or went is told above.
        for (node, priority) in &new.priorities {
            if let Some(before) = old.priorities.get(node) {
                self.value(&format!("priority of {node}"), before, priority);
            }
        }
    }

    fn pool(&mut self, old: &Pool, new: &Pool) {
        fields!(
            self,
            old,
            new,
            Pool { auto_assign, priority, avoid_reserved, drained },
            elsewhere { name, group, ranges, allow, quotas, taken }
        );
        let group = |pool: &Pool| pool.group.as_ref().map_or("one for each address".to_owned(), Words::words);
        self.value("group", &group(old), &group(new));
        self.members("range", &old.ranges, &new.ranges);
        for (name, is_equal) in [("allow", old.allow == new.allow), ("quotas", old.quotas == new.quotas)] {
            if !is_equal {
                self.add(format!("{name} changed"));
            }
        }
    }

    fn service(&mut self, old: &Service, new: &Service) {
        fields!(
            self,
            old,
            new,
            Service {
                group,
                protocol,
                ports,
                mode,
                balance,
                check,
                quorum,
                slow_start,
                on_down,
                transparent,
                log
            },
            elsewhere { name, vips, backends, timeouts, proxy_protocol, sources, limits, udp }
        );
        self.members("VIP", &old.vips, &new.vips);
        self.members("source", &old.sources, &new.sources);
        self.backends(&old.backends, &new.backends);
        self.timeouts(&old.timeouts, &new.timeouts);
        self.proxy_protocol(&old.proxy_protocol, &new.proxy_protocol);
        self.limits(&old.limits, &new.limits);
        self.udp(&old.udp, &new.udp);
    }

    fn kubernetes(&mut self, old: &Cluster, new: &Cluster) {
        fields!(
            self,
            old,
            new,
            Cluster { access, class, unclassed, metallb, mode, mode_local, backends, check, own_node },
            elsewhere { name, domain_labels, machines, annotations }
        );
        let policy = |cluster: &Cluster| {
            let wishes = cluster.annotations.wishes.as_ref();
            let wishes =
                wishes.map_or_else(|| "all wishes".to_owned(), |it| format!("wishes {}", it.join(" ")));
            format!("{wishes}, reports {}", cluster.annotations.reports.join(" "))
        };
        self.value("annotations", &policy(old), &policy(new));
        let labels = |cluster: &Cluster| cluster.domain_labels.join(" or ");
        self.value("domain label", &labels(old), &labels(new));
        let machines = |cluster: &Cluster| {
            cluster.machines.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)
        };
        self.value("machines", &machines(old), &machines(new));
    }

    fn hook(&mut self, old: &Hook, new: &Hook) {
        fields!(
            self,
            old,
            new,
            Hook { does, style, deadline, on_failure },
            elsewhere { name, events, groups }
        );
        let sorted = |hook: &Hook| (Vec::from_iter(hook.events.clone()), Vec::from_iter(hook.groups.clone()));
        let ((events, groups), (new_events, new_groups)) = (sorted(old), sorted(new));
        self.members("event", &events, &new_events);
        self.members("group", &groups, &new_groups);
    }

    fn timeouts(&mut self, old: &Timeouts, new: &Timeouts) {
        fields!(self, old, new, Timeouts { connect, idle, half_close, max, unacknowledged }, elsewhere {});
    }

    fn proxy_protocol(&mut self, old: &ProxyProtocol, new: &ProxyProtocol) {
        fields!(self, old, new, ProxyProtocol { send, receive_from }, elsewhere {});
    }

    fn limits(&mut self, old: &Limits, new: &Limits) {
        fields!(
            self,
            old,
            new,
            Limits { connections, connections_per_client, rate, rate_per_client },
            elsewhere {}
        );
    }

    fn udp(&mut self, old: &UdpOptions, new: &UdpOptions) {
        fields!(self, old, new, UdpOptions { idle, responses, sessions }, elsewhere {});
    }

    fn backends(&mut self, old: &[Arc<Backend>], new: &[Arc<Backend>]) {
        let by_name = |backends: &[Arc<Backend>]| -> BTreeMap<BackendName, Arc<Backend>> {
            backends.iter().map(|backend| (backend.name.clone(), Arc::clone(backend))).collect()
        };
        let (before, after) = (by_name(old), by_name(new));
        let count = self.list.len();
        for name in before.keys().filter(|name| !after.contains_key(name)) {
            self.add(format!("backend {name} removed"));
        }
        for (name, new) in &after {
            let Some(old) = before.get(name) else {
                self.add(format!("backend {name} added"));
                continue;
            };
            let outer = self.what.clone();
            self.what = format!("{outer}: backend {name}");
            self.backend(old, new);
            self.what = outer;
        }
        if self.list.len() == count && old != new {
            self.add("backends are in another order".to_owned());
        }
    }

    fn backend(&mut self, old: &Backend, new: &Backend) {
        fields!(self, old, new, Backend { address, weight, backup, drain, disabled }, elsewhere { name });
    }
}
