//! One node with one VIP group and nothing else: the engine, its guard, and a line of JSON for each change.
//!
//! `engine node=a interface=eth0 nodes=a=10.0.0.1/150,b=10.0.0.2/100 networks=10.0.0.0/24 vips=10.0.0.100`,
//! and if wanted `vrid=1`, `interval_ms=100`, `adverts=unicast`, `virtual_mac=yes`, `state=DIR`, `guard=no`,
//! `gateway=10.9.0.254` (tracked: a node that does not reach it leads only if nobody else does),
//! `connections=4000` (open to itself on the loopback, as a busy proxy would have).
//! Standard input takes the commands `stand-down`, `stand-up`, `stop`, `drop` (nothing is desired any more), and `vips=...` as a new configuration.

use fulcrum_config::{
    Admin, AdvertInterval, Adverts, Class, Config, Election, Group, GroupName, Interface, InterfaceName,
    Node, NodeKind, NodeName, Preempt, Priority, Timing, Track, TrackEffect, Vip, Vrid, Weight,
};
use fulcrum_vip_manager::{
    Desired, Fencing, GroupObserved, GuardCommand, Links, Observed, Options, Part, guard_main, start,
};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::BufRead;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("guard") {
        return guard_main();
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: BTreeMap<String, String> = std::env::args()
        .skip(1)
        .filter_map(|argument| {
            argument.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()))
        })
        .collect();
    let config = Arc::new(config(&arguments)?);
    let first = Desired {
        config,
        data_plane_missing: BTreeSet::new(),
        standing_down: BTreeMap::new(),
        stopping: false,
        words: BTreeMap::new(),
        held: BTreeSet::new(),
        behind: BTreeSet::new(),
        part: Part::Whole,
    };
    let guard = GuardCommand { program: std::env::current_exe()?, arguments: vec!["guard".into()] };
    let options = Options {
        guard: (arguments.get("guard").map(String::as_str) != Some("no")).then_some(guard),
        state_directory: arguments.get("state").map(PathBuf::from),
        fencing: match arguments.get("fence").map(String::as_str) {
            Some("clsact") => Fencing::Clsact,
            Some("no") => Fencing::Off,
            Some(_) | None => Fencing::Auto,
        },
        echoes: None,
        inherited: None,
    };
    let (sender, desired) = watch::channel(first);
    let mut observed = start(desired, options, Links::default())?;
    let number = arguments.get("connections").map_or(Ok(0), |number| number.parse())?;
    std::thread::spawn(move || commands(sender, &arguments));
    let _connections = connections(number)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let mut last = String::new();
        while observed.changed().await.is_ok() {
            let (line, stopped) = {
                let observed = observed.borrow_and_update();
                (describe(&observed), observed.stopped)
            };
            if line != last {
                println!("{line}");
                last = line;
            }
            if stopped {
                break;
            }
        }
    });
    Ok(())
}

/// Connections of this process to itself that end in RST, each with both ends.
fn connections(number: usize) -> Result<Vec<socket2::Socket>> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised)?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let mut ends = Vec::new();
    for _ in 0..number {
        let client = std::net::TcpStream::connect(listener.local_addr()?)?;
        for end in [client, listener.accept()?.0] {
            let end = socket2::Socket::from(end);
            end.set_linger(Some(Duration::ZERO))?;
            ends.push(end);
        }
    }
    Ok(ends)
}

fn commands(sender: watch::Sender<Desired>, arguments: &BTreeMap<String, String>) {
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        if line.trim() == "drop" {
            return drop(sender);
        }
        sender.send_modify(|desired| match line.trim() {
            "stand-down" => {
                desired.standing_down.extend(desired.config.groups.keys().map(|it| (it.clone(), None)))
            }
            "stand-up" => desired.standing_down.clear(),
            "stop" => desired.stopping = true,
            other => match other.split_once('=') {
                Some((key, value)) => {
                    let mut arguments = arguments.clone();
                    arguments.insert(key.to_owned(), value.to_owned());
                    match config(&arguments) {
                        Ok(config) => desired.config = Arc::new(config),
                        Err(error) => eprintln!("{error}"),
                    }
                }
                None => eprintln!("unknown command {other:?}"),
            },
        });
    }
    // Whoever gave the commands may go; the node goes on.
    loop {
        std::thread::park();
    }
}

fn describe(observed: &Observed) -> String {
    let groups: Vec<serde_json::Value> = observed
        .groups
        .values()
        .map(|group| {
            let leader = group.leader.as_ref().map(|leader| leader.address);
            let addresses: BTreeMap<String, &_> =
                group.addresses.iter().map(|(address, state)| (address.to_string(), state)).collect();
            let up = group.links.values().filter(|link| link.up).count();
            serde_json::json!({
                "role": group.role, "reason": group.reason, "leader": leader, "addresses": addresses,
                "links_up": up, "tracks": tracks(group), "takeover_us": group.takeover.map(|took| took.as_micros()),
            })
        })
        .collect();
    let json = serde_json::json!({
        "groups": groups, "guard": observed.guard, "stopped": observed.stopped, "errors": observed.errors,
        "events": observed.counters, "settings": observed.settings,
    });
    json.to_string()
}

fn tracks(group: &GroupObserved) -> Vec<serde_json::Value> {
    group.tracks.iter().map(|track| serde_json::json!({"what": track.what, "good": track.good})).collect()
}

fn track(gateway: &str, interface: &InterfaceName) -> Result<Track> {
    Ok(Track::Gateway {
        address: gateway.parse()?,
        interface: interface.clone(),
        interval: Duration::from_millis(50),
        fall: 3,
        rise: 3,
        effect: TrackEffect::Ineligible,
    })
}

fn config(arguments: &BTreeMap<String, String>) -> Result<Config> {
    let get = |key: &str| arguments.get(key).map(String::as_str).ok_or(format!("{key}=... is missing"));
    let interface = InterfaceName::new(get("interface")?);
    let mut nodes = BTreeMap::new();
    for node in get("nodes")?.split(',') {
        let (name, rest) = node.split_once('=').ok_or("nodes=NAME=ADDRESS[+ADDRESS]/PRIORITY,...")?;
        let (addresses, priority) =
            rest.split_once('/').ok_or("nodes=NAME=ADDRESS[+ADDRESS]/PRIORITY,...")?;
        let addresses = addresses.split('+').map(str::parse).collect::<std::result::Result<_, _>>()?;
        let priority = Priority::new(priority.parse()?)?;
        nodes.insert(
            NodeName::new(name),
            Node { addresses, kind: NodeKind::Fulcrum, priority, weight: Weight::ONE, domain: None },
        );
    }
    let vip = |address: &str| -> Result<Vip> {
        Ok(Vip { address: address.parse::<IpAddr>()?, interface: interface.clone() })
    };
    let number = |key: &str, default: u64| -> Result<u64> {
        Ok(arguments.get(key).map_or(Ok(default), |value| value.parse())?)
    };
    let interval = AdvertInterval::from_duration(Duration::from_millis(number("interval_ms", 100)?))?;
    let yes = |key: &str, value: &str| arguments.get(key).map(String::as_str) == Some(value);
    let group = Group {
        name: GroupName::new("group"),
        class: Class::Workload,
        election: Election::Vrrp(Vrid::new(u8::try_from(number("vrid", 1)?)?)?),
        vips: get("vips")?.split(',').map(vip).collect::<Result<_>>()?,
        priorities: nodes.iter().map(|(name, node)| (name.clone(), node.priority)).collect(),
        advert_interval: interval,
        adverts: if yes("adverts", "unicast") { Adverts::Unicast } else { Adverts::Multicast },
        preempt: Preempt::Never,
        on_split: fulcrum_config::OnSplit::Serve,
        proof: None,
        drain: Group::DRAIN,
        accept: true,
        tracks: arguments
            .get("gateway")
            .map(|gateway| track(gateway, &interface))
            .transpose()?
            .into_iter()
            .collect(),
    };
    let networks = get("networks")?.split(',').map(str::parse).collect::<std::result::Result<_, _>>()?;
    let virtual_mac = yes("virtual_mac", "yes");
    Ok(Config {
        node: NodeName::new(get("node")?),
        nodes,
        interfaces: BTreeMap::from([(
            interface.clone(),
            Interface { name: interface, networks, virtual_mac },
        )]),
        groups: BTreeMap::from([(group.name.clone(), Arc::new(group))]),
        services: BTreeMap::new(),
        timing: Timing { advert_interval: interval, ..Timing::default() },
        admin: Admin::default(),
        peer: fulcrum_config::PeerLink::default(),
        xdp: fulcrum_config::Xdp::Auto,
        flows: fulcrum_config::DEFAULT_FLOWS,
        witness: fulcrum_config::Witness::None,
        pools: BTreeMap::new(),
        kubernetes: BTreeMap::new(),
        hooks: BTreeMap::new(),
        allocations: Arc::default(),
        overrides: Arc::default(),
        sources: Arc::default(),
        shared: fulcrum_config::SharedDigest::default(),
    })
}
