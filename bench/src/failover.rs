//! How long new connections fail when the leader goes, beside keepalived + HAProxy with the same adverts.

use crate::report::median;
use crate::subject::fulcrum_program;
use fulcrum_tests::Result;
use fulcrum_tests::lab::{Keepalived, Lab, Machine, Nginx, Process, VirtualRouter, ipv4};
use fulcrum_tests::probe::{Options, Probe};
use fulcrum_tests::wait::{now, run_for, wait_until};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

/// The VIP's number in the lab.
pub(crate) const VIP: u8 = 100;
/// The service's port.
pub(crate) const PORT: u16 = 80;
const BACKENDS: [u8; 3] = [31, 32, 33];
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A pair of load balancers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pair {
    Fulcrum,
    Keepalived,
}

/// What happens to its leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// `kill -9` of the daemon (of keepalived and of HAProxy for the peer).
    Kill,
    /// All its processes stand still for half a second, then go on.
    Freeze,
    /// Its link is cut.
    Cut,
    /// SIGTERM: a planned stop.
    Stop,
}

impl Event {
    const ALL: [Self; 4] = [Self::Kill, Self::Freeze, Self::Cut, Self::Stop];

    fn words(self) -> &'static str {
        match self {
            Self::Kill => "kill -9",
            Self::Freeze => "frozen 0.5 s, resumed",
            Self::Cut => "link cut",
            Self::Stop => "SIGTERM",
        }
    }
}

/// The longest gaps in milliseconds, by pair, centiseconds between adverts, and event; `None` is the floor:
/// the longest gap while nothing happened.
type Gaps = BTreeMap<(u16, Option<Event>, Pair), Vec<f64>>;

/// Runs every event on both pairs in turn and gives a table.
///
/// # Errors
/// A lab can't be built, or a pair does not come into service.
pub(crate) fn run(rounds: usize) -> Result<String> {
    let mut gaps = Gaps::new();
    for round in 0..rounds {
        for interval in [10, 1] {
            for event in Event::ALL {
                for pair in [Pair::Fulcrum, Pair::Keepalived] {
                    eprintln!(
                        "round {}/{rounds}: {pair:?}, {} ms, {}",
                        round + 1,
                        interval * 10,
                        event.words()
                    );
                    let (floor, gap) = once(pair, interval, event)?;
                    gaps.entry((interval, Some(event), pair)).or_default().push(gap);
                    gaps.entry((interval, None, pair)).or_default().push(floor);
                }
            }
        }
    }
    Ok(table(&gaps))
}

fn once(pair: Pair, interval: u16, event: Event) -> Result<(f64, f64)> {
    let lab = Lab::new()?;
    let client = lab.machine("client", 50)?;
    let machines = [lab.machine("lb1", 11)?, lab.machine("lb2", 12)?];
    let _backends = backends(&lab)?;
    let nodes =
        [Node::start(pair, &machines[0], interval, 200)?, Node::start(pair, &machines[1], interval, 100)?];
    let probe = Probe::start(&client, SocketAddr::new(ipv4(VIP), PORT), Options::default())?;
    let start = now();
    wait_until("an answer", PATIENCE, || probe.answered_since(start).is_some())?;
    run_for(Duration::from_millis(1500));
    let calm = now();
    run_for(Duration::from_millis(1000));
    let leader = &nodes[usize::from(!machines[0].has_address(ipv4(VIP))?)];
    // A moment that does not fall in step with the adverts.
    run_for(Duration::from_micros(fastrand::u64(0..200_000)));
    let struck = now();
    leader.strike(&lab, event)?;
    run_for(Duration::from_millis(3000));
    let timeline = probe.finish();
    let milliseconds = |gap: Duration| gap.as_secs_f64() * 1e3;
    let floor = timeline.between(calm, struck).longest_gap();
    Ok((milliseconds(floor), milliseconds(timeline.since(struck).longest_gap())))
}

/// One load balancer with what runs on it.
struct Node {
    machine: Machine,
    processes: Vec<Process>,
    keepalived: Option<Keepalived>,
}

impl Node {
    fn start(pair: Pair, machine: &Machine, interval: u16, priority: u8) -> Result<Self> {
        let machine = machine.clone();
        match pair {
            Pair::Fulcrum => {
                let nodes = [("lb1".into(), 11, 200), ("lb2".into(), 12, 100)];
                let processes = vec![start_fulcrum(&machine, &fulcrum(&machine, &nodes, interval))?];
                Ok(Self { machine, processes, keepalived: None })
            }
            Pair::Keepalived => {
                machine.set("net/ipv4/ip_nonlocal_bind", "1")?;
                let path = machine.write("haproxy.cfg", &haproxy())?;
                let mut command = Command::new("haproxy");
                command.args(["-db", "-f"]).arg(path);
                let processes = vec![machine.spawn("haproxy", command)?];
                let router = VirtualRouter {
                    vrid: 51,
                    priority,
                    advert_centiseconds: interval,
                    vips: vec![ipv4(VIP)],
                    unicast_peer: None,
                    preempt: false,
                };
                let keepalived = Some(Keepalived::start(&machine, &router)?);
                Ok(Self { machine, processes, keepalived })
            }
        }
    }

    fn strike(&self, lab: &Lab, event: Event) -> Result<()> {
        let keepalived = self.keepalived.as_ref().map(Keepalived::process);
        let all = || self.processes.iter().chain(keepalived);
        match event {
            Event::Cut => lab.switch().cut(&self.machine)?,
            Event::Kill => match keepalived {
                // keepalived's own parent would start its VRRP process again.
                Some(_) => all().try_for_each(Process::kill_with_children)?,
                None => all().try_for_each(|process| process.signal(Signal::KILL))?,
            },
            Event::Stop => all().try_for_each(|process| process.signal(Signal::TERM))?,
            Event::Freeze => {
                all().try_for_each(Process::freeze)?;
                run_for(Duration::from_millis(500));
                all().try_for_each(Process::thaw)?;
            }
        }
        Ok(())
    }
}

fn haproxy() -> String {
    let mut text = format!(
        "global\n maxconn 4000\n nbthread 2\ndefaults\n mode tcp\n timeout connect 1s\n timeout client 1m\n \
         timeout server 1m\nlisten web\n bind {}:{PORT}\n",
        ipv4(VIP)
    );
    for number in BACKENDS {
        let _ = writeln!(text, " server b{number} {}:80 check inter 1s", ipv4(number));
    }
    text
}

/// The file of a node, the same for all nodes but for its own name and paths.
pub(crate) fn fulcrum(machine: &Machine, nodes: &[(String, u8, u8)], interval: u16) -> String {
    let members: Vec<String> = BACKENDS.iter().map(|number| format!("'{}:80'", ipv4(*number))).collect();
    let mut text = format!("node: {}\nnodes:\n", machine.name());
    for (name, number, priority) in nodes {
        let _ = writeln!(text, "  {name}: {{addresses: [{}], priority: {priority}}}", ipv4(*number));
    }
    let _ = write!(
        text,
        "interfaces:\n  eth0: {{networks: [10.77.0.0/24]}}\n\
         groups:\n  web: {{vrid: 51, vips: [{vip}], advert_interval: {interval}ms}}\n\
         checks:\n  tcp: {{type: tcp, interval: 1s, timeout: 1s}}\n\
         services:\n  web: {{vip: {vip}, port: {PORT}, check: tcp, backends: [{members}]}}\n\
         admin: {{socket: {socket}, state_dir: {state}}}\n",
        vip = ipv4(VIP),
        interval = interval * 10,
        members = members.join(", "),
        socket = machine.file("admin.sock").display(),
        state = machine.file("state").display(),
    );
    text
}

/// Starts `fulcrum run` with this file.
pub(crate) fn start_fulcrum(machine: &Machine, config: &str) -> Result<Process> {
    let path = machine.write("fulcrum.yaml", config)?;
    let mut command = Command::new(fulcrum_program()?);
    command.args(["run", "--config"]).arg(path);
    machine.spawn("fulcrum", command)
}

/// The three web servers behind every pair.
pub(crate) fn backends(lab: &Lab) -> Result<Vec<Nginx>> {
    BACKENDS.iter().map(|number| Nginx::start(&lab.machine(&format!("web{number}"), *number)?)).collect()
}

fn table(gaps: &Gaps) -> String {
    let mut text = String::from(
        "\n### Gap of new connections, milliseconds: median / worst\n\n\
         | adverts | event | Fulcrum | keepalived + HAProxy |\n|---|---|---:|---:|\n",
    );
    for interval in [10, 1] {
        for event in [None].into_iter().chain(Event::ALL.map(Some)) {
            let of = |pair| {
                let values = gaps.get(&(interval, event, pair)).map_or(&[][..], Vec::as_slice);
                let worst = values.iter().copied().fold(f64::NAN, f64::max);
                format!("{:.0} / {worst:.0}", median(values.iter().copied()))
            };
            let words = event.map_or("nothing (the floor)", Event::words);
            let (ours, theirs) = (of(Pair::Fulcrum), of(Pair::Keepalived));
            let _ = writeln!(text, "| {} ms | {words} | {ours} | {theirs} |", interval * 10);
        }
    }
    text
}
