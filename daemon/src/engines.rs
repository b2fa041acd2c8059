//! Starts the engines with what `lifecycle` wants of them.

use crate::error::Failure;
use crate::inplace::{Estate, Heir};
use crate::witness;
use fulcrum_config::{Config, GroupName, NodeName};
use fulcrum_lb::Stage;
use fulcrum_lifecycle::{
    Engine, Engines, Following, data_plane_missing, first_round_done, health_desired, lb_desired,
    peer_desired, vip_desired,
};
use fulcrum_vip_manager::{Fencing, GuardCommand, Part};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, watch};

/// How long the start waits for listeners before it takes part in the election anyway.
const LISTENERS: Duration = Duration::from_secs(1);

/// How long an heir waits until it leads what the other process does: milliseconds are usual.
const LEADS: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(1);

/// Messages of flows that wait between the engines.
const MESSAGES: usize = 64;

/// Heartbeats of elected groups that wait between the engines: a few of each of 64 nodes.
const HEARTBEATS: usize = 1024;

/// The hidden subcommand that runs the guard.
pub(crate) const GUARD: &str = "guard";

/// Runs the guard.
pub(crate) fn guard_main() -> ExitCode {
    fulcrum_vip_manager::guard_main()
}

/// Starts the engines. The data plane comes first, so that it listens before this node leads. An heir takes over from
/// another process: it has all of them beside the other's, and the link to the peers last, when that one has let go of it.
pub(crate) fn start(
    config: &Arc<Config>,
    serial: u64,
    estate: &Estate,
    mut heir: Option<&mut Heir>,
) -> Result<(Engines, witness::Ends), Failure> {
    let mut health = None;
    if let Some(heir) = heir.as_deref_mut() {
        // Its clients are not to meet backends that nobody has looked at.
        let known = health.insert(start_health(config)?);
        wait_while(|| !first_round_done(config, &known.observed.borrow()));
        heir.prepared(serial, estate)?;
        let is_up = |name| known.observed.borrow().services.get(name).is_some_and(|it| it.up);
        wait_while(|| !heir.up().iter().all(is_up));
    }
    let (lb_flows, peer_flows) = flow_links();
    let known = health.as_ref().map(|health| health.observed.borrow().clone());
    let lb = start_lb(config, &known.unwrap_or_default(), estate, heir.is_some(), lb_flows)?;
    let health = health.map_or_else(|| start_health(config), Ok)?;
    let (echoed, echoes) = watch::channel(BTreeMap::new());
    let (heartbeats, peer_heartbeats) = heartbeat_links();
    let (witness, ends) = witness_links();
    let links = fulcrum_vip_manager::Links { heartbeats: Some(heartbeats), witness: Some(witness) };
    let inherited = heir.as_deref().map(|heir| heir.led().clone());
    let vip = start_vip(config, &lb, inherited, echoes, links)?;
    if let Some(heir) = heir {
        leads_all(heir, &vip.observed)?;
        heir.stands()?;
        lb.desired.send_modify(|desired| desired.stage = Stage::Whole);
        vip.desired.send_modify(|desired| desired.part = Part::Whole);
        heir.follow(estate);
    }
    let (peer_desired, seen) = watch::channel(peer_desired(config, 1, serial, &vip.observed.borrow()));
    let options = fulcrum_peer::Options {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        echoes: Some(Box::new(move |news| tell_echoes(&echoed, news))),
        heartbeats: Some(peer_heartbeats),
        sockets: estate.peer.clone(),
    };
    let observed = fulcrum_peer::start(seen, peer_flows, options).map_err(refused)?;
    let peer = Engine { desired: peer_desired, observed };
    Ok((Engines { health, vip, lb, peer }, ends))
}

fn start_lb(
    config: &Config,
    health: &fulcrum_health::Observed,
    estate: &Estate,
    is_heir: bool,
    flows: fulcrum_lb::FlowLink,
) -> Result<Engine<fulcrum_lb::Desired, fulcrum_lb::Observed>, Failure> {
    let nothing = fulcrum_lb::Desired::default();
    let mut table = lb_desired(config, health, &Following::default(), &nothing).unwrap_or(nothing);
    if is_heir {
        table.stage = Stage::Heir;
    }
    let (desired, seen) = watch::channel(table);
    let options = fulcrum_lb::Options { sockets: estate.lb.clone(), ..lb_options(config) };
    let observed = fulcrum_lb::start_with_flows(seen, options, flows).map_err(refused)?;
    if is_heir {
        // The other process has all of it; what takes too long is for that one to say.
        wait_while(|| !observed.borrow().ready);
    } else {
        wait_for_listeners(&observed);
    }
    Ok(Engine { desired, observed })
}

fn start_health(
    config: &Config,
) -> Result<Engine<fulcrum_health::Desired, fulcrum_health::Observed>, Failure> {
    let (desired, seen) = watch::channel(health_desired(config));
    let observed = fulcrum_health::start(seen, fulcrum_health::Options::default()).map_err(refused)?;
    Ok(Engine { desired, observed })
}

fn start_vip(
    config: &Arc<Config>,
    lb: &Engine<fulcrum_lb::Desired, fulcrum_lb::Observed>,
    inherited: Option<BTreeMap<GroupName, u64>>,
    echoes: watch::Receiver<BTreeMap<NodeName, fulcrum_vip_manager::Echo>>,
    links: fulcrum_vip_manager::Links,
) -> Result<Engine<fulcrum_vip_manager::Desired, fulcrum_vip_manager::Observed>, Failure> {
    let missing = data_plane_missing(config, &lb.observed.borrow(), &BTreeSet::new(), &BTreeSet::new());
    let planned = vip_desired(config, &BTreeMap::new(), false, missing, BTreeSet::new());
    let part = if inherited.is_some() { Part::Heir } else { Part::Whole };
    let (desired, seen) = watch::channel(fulcrum_vip_manager::Desired { part, ..planned });
    let options = fulcrum_vip_manager::Options {
        guard: Some(guard()),
        state_directory: Some(config.admin.socket.with_extension("state")),
        fencing: fencing(),
        echoes: Some(echoes),
        inherited,
    };
    let observed = fulcrum_vip_manager::start(seen, options, links).map_err(refused)?;
    Ok(Engine { desired, observed })
}

/// For an heir: the other process ends one that waits for too long.
#[allow(clippy::disallowed_methods, reason = "nothing else runs yet")]
fn wait_while(lacks: impl Fn() -> bool) {
    while lacks() {
        std::thread::sleep(LOOK);
    }
}

/// Waits until this process leads what the other one does.
#[allow(clippy::disallowed_methods, reason = "nothing else runs yet")]
fn leads_all(heir: &Heir, vip: &watch::Receiver<fulcrum_vip_manager::Observed>) -> Result<(), Failure> {
    let begun = Instant::now();
    let lacks = || heir.led().keys().find(|group| !vip.borrow().leads(group)).cloned();
    while let Some(group) = lacks() {
        if begun.elapsed() >= LEADS {
            return Err(Failure::Refused(format!("group {group} could not be led on")));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// What the peers echo goes to `vip-manager` without a detour: it renews heartbeats by it. That is woken only where a peer
/// leads something else than before.
fn tell_echoes(
    echoes: &watch::Sender<BTreeMap<NodeName, fulcrum_vip_manager::Echo>>,
    news: BTreeMap<NodeName, fulcrum_peer::Echoed>,
) {
    let news = news.into_iter().map(|(node, fulcrum_peer::Echoed { sent, leads })| {
        (node, fulcrum_vip_manager::Echo { sent, leads })
    });
    let news: BTreeMap<_, _> = news.collect();
    echoes.send_if_modified(|known| {
        let is_same = |node, echo: &fulcrum_vip_manager::Echo| {
            news.get(node).is_some_and(|new| new.leads == echo.leads)
        };
        let changed = known.len() != news.len() || !known.iter().all(|(node, echo)| is_same(node, echo));
        *known = news;
        changed
    });
}

/// Both ends of the way that flows travel between the nodes' data planes.
fn flow_links() -> (fulcrum_lb::FlowLink, fulcrum_peer::FlowLink) {
    let (peers, known) = watch::channel(BTreeMap::new());
    let (to_peers, said) = mpsc::channel(MESSAGES);
    let (heard, from_peers) = mpsc::channel(MESSAGES);
    (
        fulcrum_lb::FlowLink { peers: known, to_peers, from_peers },
        fulcrum_peer::FlowLink { peers, to_peers: said, from_peers: heard },
    )
}

/// Both ends of the way that what nodes say of elected groups travels.
fn heartbeat_links() -> (fulcrum_vip_manager::HeartbeatLink, fulcrum_peer::HeartbeatLink) {
    let (to_peers, said) = mpsc::channel(HEARTBEATS);
    let (heard, from_peers) = mpsc::channel(HEARTBEATS);
    let arrived = Arc::new(Notify::new());
    (
        fulcrum_vip_manager::HeartbeatLink { to_peers, from_peers, arrived: Arc::clone(&arrived) },
        fulcrum_peer::HeartbeatLink { to_peers: said, from_peers: heard, arrived },
    )
}

/// Both ends of what the election wants and has of a witness's lock.
fn witness_links() -> (fulcrum_vip_manager::WitnessLink, witness::Ends) {
    let (wants, wanted) = watch::channel(false);
    let (holds, held) = watch::channel(None);
    (fulcrum_vip_manager::WitnessLink { wanted: wants, held }, witness::Ends { wanted, held: holds })
}

/// The forwarding plane is attached in the way that the fence is asked to be.
fn lb_options(config: &Config) -> fulcrum_lb::Options {
    fulcrum_lb::Options {
        attach: attach(),
        xdp: config.xdp,
        flows: Some(config.flows),
        ..fulcrum_lb::Options::default()
    }
}

/// How programs are attached.
pub(crate) fn attach() -> fulcrum_lb::Attach {
    match fencing() {
        Fencing::Clsact => fulcrum_lb::Attach::Clsact,
        Fencing::Auto | Fencing::Off => fulcrum_lb::Attach::Auto,
    }
}

/// `FULCRUM_FENCE` may ask for another fence than the best: `clsact`, or `off`.
fn fencing() -> Fencing {
    match std::env::var("FULCRUM_FENCE").as_deref() {
        Ok("clsact") => Fencing::Clsact,
        Ok("off") => Fencing::Off,
        Ok("" | "auto") | Err(_) => Fencing::Auto,
        Ok(other) => {
            tracing::warn!(
                "FULCRUM_FENCE={other} is not known; write auto, clsact or off; the best fence is used"
            );
            Fencing::Auto
        }
    }
}

/// A node that begins with listeners that stand is eligible from the start. It does not wait for long, nor for
/// those that can't stand.
#[allow(clippy::disallowed_methods, reason = "nothing else runs yet")]
fn wait_for_listeners(lb: &watch::Receiver<fulcrum_lb::Observed>) {
    let begun = Instant::now();
    let is_settled = |lb: &fulcrum_lb::Observed| {
        lb.ready || lb.services.values().any(|service| !service.errors.is_empty())
    };
    while !is_settled(&lb.borrow()) && begun.elapsed() < LISTENERS {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// This very program, even if its file has been replaced since it started.
fn guard() -> GuardCommand {
    GuardCommand { program: PathBuf::from("/proc/self/exe"), arguments: vec![OsString::from(GUARD)] }
}

fn refused(error: impl Error) -> Failure {
    Failure::Refused(error.to_string())
}
