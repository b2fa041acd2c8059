//! Starts the engines with what `lifecycle` wants of them.

use crate::error::Failure;
use crate::witness;
use fulcrum_config::{Config, NodeName};
use fulcrum_lifecycle::{
    Engine, Engines, Following, data_plane_missing, health_desired, lb_desired, peer_desired, vip_desired,
};
use fulcrum_vip_manager::{Fencing, GuardCommand};
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

/// Starts the engines. The data plane comes first, so that it listens before this node leads.
pub(crate) fn start(config: &Arc<Config>, serial: u64) -> Result<(Engines, witness::Ends), Failure> {
    let nothing = fulcrum_lb::Desired::default();
    let table = lb_desired(config, &fulcrum_health::Observed::default(), &Following::default(), &nothing)
        .unwrap_or(nothing);
    let (lb_desired, seen) = watch::channel(table);
    let (lb_flows, peer_flows) = flow_links();
    let observed = fulcrum_lb::start_with_flows(seen, lb_options(config), lb_flows).map_err(refused)?;
    wait_for_listeners(&observed);
    let lb = Engine { desired: lb_desired, observed };

    let (health_desired, seen) = watch::channel(health_desired(config));
    let observed = fulcrum_health::start(seen, fulcrum_health::Options::default()).map_err(refused)?;
    let health = Engine { desired: health_desired, observed };

    let missing = data_plane_missing(config, &lb.observed.borrow(), &BTreeSet::new(), &BTreeSet::new());
    let (vip_desired, seen) =
        watch::channel(vip_desired(config, &BTreeMap::new(), false, missing, BTreeSet::new()));
    let (echoed, echoes) = watch::channel(BTreeMap::new());
    let options = fulcrum_vip_manager::Options {
        guard: Some(guard()),
        state_directory: Some(config.admin.socket.with_extension("state")),
        fencing: fencing(),
        echoes: Some(echoes),
    };
    let (heartbeats, peer_heartbeats) = heartbeat_links();
    let (witness, ends) = witness_links();
    let links = fulcrum_vip_manager::Links { heartbeats: Some(heartbeats), witness: Some(witness) };
    let observed = fulcrum_vip_manager::start(seen, options, links).map_err(refused)?;
    let vip = Engine { desired: vip_desired, observed };

    let (peer_desired, seen) = watch::channel(peer_desired(config, 1, serial, &vip.observed.borrow()));
    let options = fulcrum_peer::Options {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        echoes: Some(Box::new(move |news| tell_echoes(&echoed, news))),
        heartbeats: Some(peer_heartbeats),
    };
    let observed = fulcrum_peer::start(seen, peer_flows, options).map_err(refused)?;
    let peer = Engine { desired: peer_desired, observed };
    Ok((Engines { health, vip, lb, peer }, ends))
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
    fulcrum_lb::Options { attach: attach(), xdp: config.xdp, ..fulcrum_lb::Options::default() }
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
