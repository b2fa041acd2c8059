//! This machine: its kernel, what this user may do, its interfaces and its settings.

use super::{links_of, view};
use crate::driver::identity;
use crate::netlink::View;
use crate::router::down_interval;
use crate::settings::{self, STRICT};
use fulcrum_config::preflight::Line;
use fulcrum_config::{Config, Family, NodeKind, Protocol};
use fulcrum_ebpf::Fence;
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

/// Linux capabilities (linux/capability.h).
const NET_BIND_SERVICE: u32 = 10;
const NET_ADMIN: u32 = 12;
const NET_RAW: u32 = 13;
const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// Whether this kernel takes the fence.
#[must_use]
pub fn kernel() -> Vec<Line> {
    const CHECK: &str = "kernel";
    const OLDEST: (u32, u32) = (5, 15);
    const TCX: (u32, u32) = (6, 6);
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let upgrade = "run a kernel of 5.15 or newer";
    let version = match version(&release) {
        Some(version) if version < OLDEST => {
            return vec![Line::failed(CHECK, &release, "it is older than any that is tried (5.15)", upgrade)];
        }
        Some(version) => version,
        None => return vec![Line::warning(CHECK, &release, "its version can't be read", upgrade)],
    };
    let hook = if version < TCX { "clsact" } else { "tcx" };
    vec![match Fence::try_load() {
        Ok(()) => Line::ok(
            CHECK,
            &release,
            format!("it takes the programs of the fence; they are attached by {hook}"),
        ),
        Err(error) => Line::warning(
            CHECK,
            &release,
            format!("it does not take the fence ({error}): a frozen node is silenced by its guard alone"),
            "see `privileges`; in a container or a user namespace BPF is not to be had",
        ),
    }]
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(['.', '-', '+']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Whether this user may do what the daemon does.
#[must_use]
pub fn privileges(config: &Config) -> Vec<Line> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lowest = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    let lowest = lowest.trim().parse().unwrap_or(1024);
    vec![privileges_of(&status, wants_low_port(config, lowest))]
}

/// Whether a port is served that takes a privilege.
fn wants_low_port(config: &Config, lowest: u16) -> bool {
    let proxied = config.services.values().filter(|service| service.mode.forwarding().is_none());
    proxied.into_iter().any(|service| {
        (service.protocol == Protocol::Tcp || service.protocol == Protocol::Udp)
            && service.ports.first < lowest
    })
}

fn privileges_of(status: &str, low_port: bool) -> Line {
    const CHECK: &str = "privileges";
    const ABOUT: &str = "this user";
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(effective) = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()) else {
        return Line::warning(CHECK, ABOUT, "its capabilities can't be read", "run it as root");
    };
    let has = |capability: u32| effective.checked_shr(capability).is_some_and(|rest| rest & 1 == 1);
    let needed = [
        (NET_ADMIN, "CAP_NET_ADMIN", true),
        (NET_RAW, "CAP_NET_RAW", true),
        (NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE", low_port),
    ];
    let missing = needed.into_iter().filter(|(capability, _, is_needed)| *is_needed && !has(*capability));
    let missing: Vec<&str> = missing.map(|(_, name, _)| name).collect();
    if !missing.is_empty() {
        return Line::failed(
            CHECK,
            ABOUT,
            format!("{} is missing: no VIP can be served", missing.join(" and ")),
            "run it as root, as the daemon does, or give these capabilities (in a systemd unit: AmbientCapabilities=)",
        );
    }
    if !(has(SYS_ADMIN) || has(BPF) && has(PERFMON)) {
        return Line::warning(
            CHECK,
            ABOUT,
            "CAP_BPF and CAP_PERFMON are missing: there is no fence in the kernel and no forwarding plane",
            "run it as root, or give these capabilities",
        );
    }
    Line::ok(CHECK, ABOUT, "it may do all that the daemon does")
}

/// Whether the links with VIPs behind them can carry them.
#[must_use]
pub fn links(config: &Config) -> Vec<Line> {
    const CHECK: &str = "link";
    let view = match view() {
        Ok(view) => view,
        Err(error) => {
            let found = format!("links can't be listed: {error}");
            return vec![Line::failed(CHECK, "all", found, "look at 'ip link' and 'ip address'")];
        }
    };
    let mut lines: Vec<Line> = links_of(config, &BTreeSet::new())
        .into_iter()
        .map(|link| match identity(config, &view, &link) {
            Ok(identity) => {
                Line::ok(CHECK, &link, format!("it is up; adverts come from {}", identity.source))
            }
            Err(why) => Line::failed(
                CHECK,
                &link,
                why,
                "'ip link' and 'ip address' show what is there; correct that, or the file",
            ),
        })
        .collect();
    lines.extend(own_addresses(config, &view));
    lines
}

/// Whether this node is the one that the file says it is.
fn own_addresses(config: &Config, view: &View) -> Vec<Line> {
    let own = config.nodes.get(&config.node).map(|node| node.addresses.clone()).unwrap_or_default();
    let missing = own.into_iter().filter(|address| view.elsewhere(*address).is_none());
    missing
        .map(|address| {
            let found = format!("it is the address of node {} and on no interface of this machine", config.node);
            let remedy = "is this the right machine, and `node` right in its file? Otherwise add the address to its interface";
            Line::failed("link", address, found, remedy)
        })
        .collect()
}

/// The kernel's settings: those that the daemon sets can be set, and none is in its way.
#[must_use]
pub fn settings(config: &Config) -> Vec<Line> {
    const CHECK: &str = "sysctl";
    let interfaces: BTreeSet<&str> = config.interfaces.keys().map(|name| name.as_str()).collect();
    let several = view().is_ok_and(|view| view.has_several_networks());
    let mut lines = Vec::new();
    for interface in &interfaces {
        lines.extend(settings::for_interface(interface).iter().filter_map(settings::Wanted::unsettable));
        let strict = format!("net/ipv4/conf/{interface}/rp_filter");
        if several && number(&strict).max(number("net/ipv4/conf/all/rp_filter")) == Some(STRICT.into()) {
            lines.push(Line::warning(
                CHECK,
                &strict,
                "it is 1 (strict), and this machine has several networks: packets whose way back is by another interface are dropped",
                format!("if such ways exist: sysctl -w {strict}=2, and the same in /etc/sysctl.d"),
            ));
        }
    }
    if let Some(value) = number("net/ipv4/conf/all/arp_ignore").filter(|value| *value > 2) {
        lines.push(Line::failed(
            CHECK,
            "net/ipv4/conf/all/arp_ignore",
            format!("it is {value}: this machine does not answer for its own addresses either, and neighbours lose it"),
            "sysctl -w net.ipv4.conf.all.arp_ignore=0, and the same in /etc/sysctl.d; the daemon sets what it needs by interface",
        ));
    }
    let ipv6: BTreeSet<_> =
        links_of(config, &BTreeSet::new()).into_iter().filter(|link| link.family == Family::Ipv6).collect();
    for link in ipv6 {
        let name = format!("net/ipv6/conf/{}/disable_ipv6", link.interface);
        if number(&name) == Some(1) {
            let found = "it is 1: VIPs of IPv6 can't be served there";
            lines.push(Line::failed(
                CHECK,
                &name,
                found,
                format!("sysctl -w {name}=0, and the same in /etc/sysctl.d"),
            ));
        }
    }
    if lines.is_empty() {
        lines.push(Line::ok(
            CHECK,
            "settings",
            "what the daemon needs is set, or can be, and nothing is in its way",
        ));
    }
    lines
}

fn number(name: &str) -> Option<u32> {
    fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok()
}

/// How long clients wait when a leader dies without a word.
#[must_use]
pub fn detection(config: &Config) -> Vec<Line> {
    const CHECK: &str = "time-to-detect";
    const LONG: Duration = Duration::from_secs(3);
    let Some((name, time)) = slowest(config) else {
        return vec![Line::not_applicable(CHECK, "groups", "there is no group")];
    };
    let found = format!("a leader that dies is missed after {:.2} s at most", time.as_secs_f64());
    vec![if time > LONG {
        let remedy = "shorten `advert_interval` of `timing` or of the group, on all nodes";
        Line::warning(
            CHECK,
            format!("group {name}"),
            format!("{found}: as long nobody answers its clients"),
            remedy,
        )
    } else {
        Line::ok(CHECK, "groups", format!("{found} (group {name})"))
    }]
}

fn slowest(config: &Config) -> Option<(String, Duration)> {
    let groups = config.groups.values().map(|group| {
        let ours = config.nodes.values().all(|node| node.kind == NodeKind::Fulcrum);
        let priority = if ours && !group.is_elected() { u8::MAX } else { lowest_priority(group) };
        (group.name.to_string(), down_interval(priority, group.advert_interval))
    });
    groups.max_by_key(|(_, time)| *time)
}

/// Who has the lowest waits the longest.
fn lowest_priority(group: &fulcrum_config::Group) -> u8 {
    group.priorities.values().map(|priority| priority.get()).min().unwrap_or(100)
}

/// The shortest time after which a peer takes this node for dead.
#[must_use]
pub fn patience(config: &Config) -> Option<Duration> {
    let groups = config.groups.values();
    groups.map(|group| group.advert_interval.duration().saturating_mul(3)).min()
}
