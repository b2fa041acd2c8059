//! A drill at the node that leads: its daemon is killed, or it is cut off from its networks for a while.
#![allow(clippy::disallowed_methods, reason = "a driver: it waits until its answer was heard")]

use super::Node;
use crate::wire::{Refusal, Struck};
use fulcrum_config::GroupName;
use fulcrum_lb::{Cut, KernelError};
use rustix::process::{Signal, getpid, kill_process};
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How long the answer has to reach who asked.
const HEARD: Duration = Duration::from_millis(300);
/// How long it waits for a peer to become ready.
const READY: Duration = Duration::from_secs(3);

/// What is done to this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strike {
    Kill,
    /// For so long.
    Cut(Duration),
}

impl Node {
    /// Does it a moment later, if another node is ready for each group that this one leads.
    pub(crate) async fn strike(
        self: &Arc<Self>,
        strike: Strike,
        forced: &BTreeSet<GroupName>,
    ) -> Result<Struck, Refusal> {
        let config = self.handle.config();
        let led: Vec<GroupName> = {
            let vip = self.handle.vip();
            let vip = vip.borrow();
            config.groups.keys().filter(|group| vip.leads(group)).cloned().collect()
        };
        if led.is_empty() {
            return Err(Refusal::new(
                "this node leads no group, so nothing would move: nothing was done\n  drill the node that leads",
            ));
        }
        // Until a cut is over, no group of the control plane is handed over here, and no second drill begins.
        let turn = Arc::clone(&self.moving).try_lock_owned().map_err(|_| {
            Refusal::new(
                "a drill, or a move of a group of class control-plane, is under way here: nothing was done\n  try again \
                 when it is over",
            )
        })?;
        for group in led.iter().filter(|group| !forced.contains(*group)) {
            self.find_target(group, None, false, READY).await.map_err(|refusal| Refusal {
                error: format!(
                    "nothing was done: group {group} is led here, and the node that would take it is not known to be ready\n  \
                     if it is to be all the same: --force {group}"
                ),
                ..refusal
            })?;
        }
        let cut = match strike {
            Strike::Kill => None,
            Strike::Cut(lasts) => Some((self.prepare_cut()?, lasts)),
        };
        tokio::spawn(async move {
            let _turn = turn;
            tokio::time::sleep(HEARD).await;
            match cut {
                None => kill(),
                Some((cut, lasts)) => hold(cut, lasts).await,
            }
        });
        let after_ms = u64::try_from(HEARD.as_millis()).unwrap_or_default();
        Ok(Struck { groups: led.iter().map(ToString::to_string).collect(), after_ms })
    }

    /// At every interface that the configuration names; nothing is dropped yet.
    fn prepare_cut(&self) -> Result<Cut, Refusal> {
        let config = self.handle.config();
        let lb = self.handle.lb();
        let plane = lb.borrow().plane.as_ref().map(|plane| plane.interfaces.clone()).unwrap_or_default();
        if let Some((interface, how)) = plane.iter().find(|(_, how)| how.starts_with("xdp")) {
            return Err(Refusal::new(format!(
                "interface {interface} forwards by {how}, whose packets a cut does not reach: nothing was done\n  drill with \
                 --kill, or with `xdp: off` in the configuration and the daemon started again"
            )));
        }
        let refused = |error: KernelError| {
            Refusal::new(format!(
                "this node can't be cut off, and nothing was done: {error}\n  drill with --kill"
            ))
        };
        let mut cut = Cut::load(crate::engines::attach()).map_err(refused)?;
        for interface in config.interfaces.keys() {
            let name = interface.as_str();
            let index = index_of(name).ok_or_else(|| {
                Refusal::new(format!(
                    "there is no interface {name}, which would be cut off: nothing was done"
                ))
            })?;
            cut.attach(name, index).map_err(refused)?;
        }
        Ok(cut)
    }
}

/// As by the kernel when memory is short, say: nobody is asked, nothing is tidied up.
fn kill() {
    tracing::warn!("killed for a drill");
    if let Err(error) = kill_process(getpid(), Signal::KILL) {
        tracing::error!("the daemon can't be killed for a drill: {error}");
    }
}

async fn hold(mut cut: Cut, lasts: Duration) {
    tracing::warn!("cut off for a drill, for {} s", lasts.as_secs());
    let now = clock_gettime(ClockId::Monotonic);
    let now = Duration::try_from(now).unwrap_or_default();
    match cut.begin(now, lasts) {
        Ok(()) => tokio::time::sleep(lasts).await,
        Err(error) => tracing::error!("not cut off for a drill: {error}"),
    }
    drop(cut);
    tracing::warn!("the drill is over");
}

fn index_of(name: &str) -> Option<u32> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None);
    rustix::net::netdevice::name_to_index(socket.ok()?, name).ok()
}
