//! A pair that forwards, in each mode and family, and sessions through it.

use crate::told::live;
use fulcrum_tests::Result;
use fulcrum_tests::lab::{Fulcrum, Lab, Machine, Pair, ipv4, ipv6};
use fulcrum_tests::probe::{Crowd, Session, request};
use fulcrum_tests::wait::{now, wait_for, wait_until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

pub const LONG: Duration = Duration::from_secs(15);
const SESSIONS: usize = 60;
/// How often those ask that are not idle.
const EVERY: Duration = Duration::from_millis(300);
/// The backends' gateway, which moves with the VIP.
const GATEWAY: u8 = 101;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Nat,
    Dsr,
    Fullnat,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Dsr => "dsr",
            Self::Fullnat => "fullnat",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Ipv4,
    Ipv6,
}

/// What of the scene depends on the family.
struct Addresses {
    vip: IpAddr,
    gateway: IpAddr,
    /// The client's own network, which is not the backends', and its address there.
    network: &'static str,
    far: &'static str,
    whole: &'static str,
    client: IpAddr,
    forwarding: &'static str,
}

fn addresses(pair: &Pair, family: Family) -> Addresses {
    match family {
        Family::Ipv4 => Addresses {
            vip: ipv4(100),
            gateway: ipv4(GATEWAY),
            network: "192.0.2.0/24",
            far: "192.0.2.50",
            whole: "32",
            client: pair.client.ipv4(),
            forwarding: "net/ipv4/ip_forward",
        },
        Family::Ipv6 => Addresses {
            vip: ipv6(100),
            gateway: ipv6(GATEWAY),
            network: "2001:db8::/64",
            far: "2001:db8::50",
            whole: "128",
            client: pair.client.ipv6(),
            forwarding: "net/ipv6/conf/all/forwarding",
        },
    }
}

/// A pair that forwards.
pub fn forwarding_pair(lab: &Lab, mode: Mode, family: Family) -> Result<Pair> {
    let mut pair = Pair::new(lab)?;
    let addresses = addresses(&pair, family);
    pair.plan.vips = vec![addresses.vip];
    pair.plan.ipv6_backends = family == Family::Ipv6;
    match mode {
        Mode::Nat => prepare_nat(&mut pair, &addresses)?,
        Mode::Dsr => prepare_dsr(&mut pair, &addresses)?,
        // Nothing about the network or the backends is special. Ports that are not the first choice are known by being told.
        Mode::Fullnat => pair.plan = pair.plan.with_keys()?,
    }
    pair.plan.service = vec![format!("mode: {}", mode.name())];
    Ok(pair)
}

/// The client is behind a network of its own, and replies come through whoever leads.
fn prepare_nat(pair: &mut Pair, addresses: &Addresses) -> Result<()> {
    let Addresses { vip, gateway, network, far, whole, client, forwarding } = addresses;
    add_to_loopback(&pair.client, far, whole)?;
    pair.client.run("ip", &["route", "add", &format!("{vip}/{whole}"), "dev", "eth0", "src", far])?;
    for node in [&pair.lb1, &pair.lb2] {
        node.set(forwarding, "1")?;
        node.run("ip", &["route", "add", network, "via", &client.to_string()])?;
    }
    for web in &pair.web {
        web.machine.run("ip", &["route", "add", network, "via", &gateway.to_string()])?;
    }
    pair.plan.gateways = vec![*gateway];
    Ok(())
}

/// Each backend has the VIP, and tells nobody.
fn prepare_dsr(pair: &mut Pair, addresses: &Addresses) -> Result<()> {
    let Addresses { vip, whole, .. } = addresses;
    for web in &pair.web {
        web.machine.set("net/ipv4/conf/all/arp_ignore", "1")?;
        web.machine.set("net/ipv4/conf/all/arp_announce", "2")?;
        add_to_loopback(&web.machine, &vip.to_string(), whole)?;
    }
    Ok(())
}

/// At once: no duplicate is looked for there.
pub fn add_to_loopback(machine: &Machine, address: &str, whole: &str) -> Result<()> {
    let address = format!("{address}/{whole}");
    let arguments = ["address", "add", &address, "dev", "lo", "nodad"];
    // IPv4 looks for none anyway.
    let count = if whole == "32" { 5 } else { 6 };
    machine.run("ip", arguments.get(..count).unwrap_or_default()).map(|_| ())
}

/// Waits until `other` knows so many connections, if they are of a mode that does not leave all to hashes.
pub fn wait_known(mode: Mode, other: &Fulcrum, service: &str, count: usize) -> Result<()> {
    if mode != Mode::Fullnat {
        return Ok(());
    }
    wait_until("the other node to know all connections", LONG, || live(other, service).0 >= count as u64)
        .inspect_err(|_| eprintln!("it knows {:?} of {count}", live(other, service)))
}

/// Connections of which half ask all the time and half are silent, on every web server: `FULCRUM_FLOWS` of each, 60 by default.
pub struct Flows {
    active: Crowd,
    idle: Vec<Session>,
}

impl Flows {
    pub fn open(pair: &Pair) -> Result<Self> {
        let count =
            std::env::var("FULCRUM_FLOWS").ok().and_then(|text| text.parse().ok()).unwrap_or(SESSIONS);
        allow_files(2 * count as u64 + 200)?;
        let idle = open(pair, count)?;
        let active = Crowd::open(&pair.client, pair.service(), count, EVERY, LONG)?;
        assert_eq!(active.backends().len(), pair.web.len(), "{:?}", active.backends());
        Ok(Self { active, idle })
    }

    pub fn count(&self) -> usize {
        2 * self.idle.len()
    }

    /// To be called before something happens.
    pub fn mark(&self) {
        self.active.mark();
    }

    /// Every one of them lives, and is answered from where it was before. Gives the longest stall of those that were asking.
    pub fn assert_live(&mut self) -> Result<Duration> {
        let stall = self.active.wait_answered()?;
        assert_all_live(&mut self.idle);
        Ok(stall)
    }
}

/// For this process and those that it starts from now on, as far as it may.
pub fn allow_files(count: u64) -> Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let count = maximum.map_or(count, |maximum| maximum.min(count));
    if current.is_some_and(|current| current < count) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum }).map_err(io::Error::from)?;
    }
    Ok(())
}

/// Sessions on every web server.
pub fn sessions(pair: &Pair) -> Result<Vec<Session>> {
    open(pair, SESSIONS)
}

fn open(pair: &Pair, count: usize) -> Result<Vec<Session>> {
    wait_for("a first answer", LONG, || {
        request(&pair.client, pair.service(), Duration::from_secs(1)).ok().filter(|sample| sample.is_answer())
    })?;
    let open = |_| Session::open(&pair.client, pair.service(), LONG);
    let sessions = (0..count).map(open).collect::<Result<Vec<_>>>()?;
    assert_eq!(backends_of(&sessions).len(), pair.web.len(), "{:?}", backends_of(&sessions));
    Ok(sessions)
}

fn backends_of(sessions: &[Session]) -> BTreeSet<&str> {
    sessions.iter().map(Session::backend).collect()
}

/// Every one of them answers, from where it did before. Gives the longest that one took.
pub fn assert_all_live(sessions: &mut [Session]) -> Duration {
    let mut longest = Duration::ZERO;
    for (number, session) in sessions.iter_mut().enumerate() {
        let (backend, begun) = (session.backend().to_owned(), now());
        let answer = session.ask();
        assert!(
            answer.as_ref().is_ok_and(|name| *name == backend),
            "session {number} on {backend}: {answer:?}"
        );
        longest = longest.max(begun.elapsed());
    }
    longest
}

pub fn assert_no_listener(node: &Machine) -> Result<()> {
    let listening = node.run("ss", &["-Htlna", "sport = :80"])?;
    assert_eq!(listening.trim(), "", "nobody listens, nothing is answered by the kernel");
    Ok(())
}

pub fn assert_mode(node: &Fulcrum, mode: Mode) -> Result<()> {
    let status = node.status()?;
    let expected = mode.name();
    let service = status.service("web").map(ToString::to_string).unwrap_or_default();
    assert!(service.contains(&format!("\"mode\":\"{expected}\"")), "{service}");
    Ok(())
}
