//! What passes through for others and is not understood here: flows of the data plane, heartbeats of elected groups.

use super::connection::say;
use super::{Driver, EVENTS};
use crate::link::{Id, Link};
use crate::message::{ELECTION, Message};
use fulcrum_config::NodeName;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};

/// Messages of flows that are on their way at a time.
const SENDING: usize = 8;
/// With so many of them waiting for the data plane no more are read: whoever sends them waits, too.
const FULL: usize = 32;
/// Where they come all the same, as the data plane takes none for long, some get lost.
const WAITING: usize = 1024;

/// Where what is heard of elected groups goes.
pub(super) struct Heard {
    pub(super) from_peers: mpsc::Sender<(NodeName, Arc<[u8]>)>,
    pub(super) arrived: Arc<Notify>,
}

/// Between the data plane and the links.
pub(super) struct Flows {
    peers: watch::Sender<BTreeMap<NodeName, u64>>,
    from_peers: mpsc::Sender<(NodeName, Arc<[u8]>)>,
    sending: Arc<Semaphore>,
    /// What the data plane has not taken yet, and whether that is too much.
    waiting: VecDeque<(NodeName, Arc<[u8]>)>,
    full: watch::Sender<bool>,
    /// Peers of which something was missed.
    missed: BTreeSet<NodeName>,
}

impl Flows {
    pub(super) fn new(
        peers: watch::Sender<BTreeMap<NodeName, u64>>,
        from_peers: mpsc::Sender<(NodeName, Arc<[u8]>)>,
    ) -> Self {
        Self {
            peers,
            from_peers,
            sending: Arc::new(Semaphore::new(SENDING)),
            waiting: VecDeque::new(),
            full: watch::Sender::new(false),
            missed: BTreeSet::new(),
        }
    }

    /// Where whoever sends gets a permit.
    pub(super) fn room(&self) -> Arc<Semaphore> {
        Arc::clone(&self.sending)
    }

    /// Whether too many messages wait for the data plane.
    pub(super) fn full(&self) -> watch::Receiver<bool> {
        self.full.subscribe()
    }

    /// Hands the data plane what it has room for.
    pub(super) fn hand(&mut self) {
        while !self.waiting.is_empty() {
            let Ok(permit) = self.from_peers.try_reserve() else { break };
            if let Some(message) = self.waiting.pop_front() {
                permit.send(message);
            }
        }
        let is_full = self.waiting.len() >= FULL;
        self.full.send_if_modified(|full| std::mem::replace(full, is_full) != is_full);
    }

    /// Where they go, if any wait.
    pub(super) fn overdue(&self) -> Option<mpsc::Sender<(NodeName, Arc<[u8]>)>> {
        (!self.waiting.is_empty()).then(|| self.from_peers.clone())
    }
}

impl Driver {
    /// To every peer; the permit is given back once all have it.
    pub(super) fn say_flows(&mut self, bytes: &Arc<[u8]>, permit: OwnedSemaphorePermit) {
        let permit = Arc::new(permit);
        for (id, _) in self.links.values().filter_map(Link::carrier) {
            let Some(held) = self.connections.get_mut(&id) else { continue };
            let message = Message::Flows { number: held.flows, bytes: Arc::clone(bytes) };
            held.flows = held.flows.saturating_add(1);
            let (said, permit) = (say(held.connection.clone(), message), Arc::clone(&permit));
            tokio::spawn(async move {
                said.await;
                drop(permit);
            });
        }
    }

    /// From a peer to the data plane, which takes it when it can; what does not fit is said to be missing as soon as there is room.
    pub(super) fn hand_flows(&mut self, peer: &NodeName, bytes: Arc<[u8]>) {
        if self.flows.waiting.len() >= WAITING {
            self.counters.flows_lost = self.counters.flows_lost.saturating_add(1);
            self.flows.missed.insert(peer.clone());
        } else {
            self.flows.waiting.push_back((peer.clone(), bytes));
        }
    }

    /// Tells the data plane who hears it, and what it has missed.
    pub(super) fn tell_flows(&mut self) {
        let sender = &self.flows.from_peers;
        if self.flows.waiting.is_empty() {
            self.flows.missed.retain(|peer| sender.try_send((peer.clone(), Arc::default())).is_err());
        }
        let carriers = self.links.iter().filter_map(|(name, link)| Some((name.clone(), link.carrier()?)));
        let carriers: BTreeMap<NodeName, (Id, u64)> = carriers.collect();
        let sessions = carriers.iter().map(|(name, (_, session))| (name.clone(), *session)).collect();
        let mut new = Vec::new();
        self.flows.peers.send_if_modified(|told| {
            let is_new = |(name, (_, session)): &(&NodeName, &(Id, u64))| told.get(*name) != Some(session);
            new.extend(carriers.iter().filter(is_new).map(|(_, (id, _))| *id));
            let is_news = *told != sessions;
            *told = sessions;
            is_news
        });
        // They need not wait for the next: silence counts from the last one that they heard.
        let said = std::mem::take(&mut self.said_last);
        for id in new {
            said.iter().for_each(|bytes| self.say_heartbeat_to(id, bytes));
        }
        self.said_last = said;
    }

    /// To every peer. What can't be sent now is not worth sending later.
    pub(super) fn say_heartbeat(&mut self, bytes: &[u8]) {
        let carriers: Vec<Id> = self.links.values().filter_map(|link| Some(link.carrier()?.0)).collect();
        carriers.into_iter().for_each(|id| self.say_heartbeat_to(id, bytes));
    }

    fn say_heartbeat_to(&mut self, id: Id, bytes: &[u8]) {
        let Some(held) = self.connections.get(&id) else { return };
        let datagram = [&[ELECTION], bytes].concat();
        if held.connection.send_datagram(datagram.into()).is_err() {
            self.counters.heartbeats_lost = self.counters.heartbeats_lost.saturating_add(1);
        }
    }

    /// From a peer to whoever elects leaders.
    pub(super) fn hand_heartbeat(&mut self, id: Id, said: &[u8]) {
        let (Some(held), Some(heard)) = (self.connections.get(&id), &self.heard) else { return };
        if heard.from_peers.try_send((held.peer.clone(), said.into())).is_err() {
            self.counters.heartbeats_lost = self.counters.heartbeats_lost.saturating_add(1);
        }
        self.is_heard = true;
    }

    /// Wakes whoever elects leaders, once for all that came.
    pub(super) fn tell_arrived(&mut self) {
        if let Some(heard) = self.heard.as_ref().filter(|_| std::mem::take(&mut self.is_heard)) {
            heard.arrived.notify_one();
        }
    }
}

/// The next that the data plane has to say, once there is room for it on its way.
pub(super) async fn next_flows(
    to_peers: &mut mpsc::Receiver<Arc<[u8]>>,
    room: &Arc<Semaphore>,
) -> Option<(Arc<[u8]>, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    Some((to_peers.recv().await?, permit))
}

/// Until there is room for what waits for the data plane, if anything does and that lives.
pub(super) async fn room_for(overdue: Option<mpsc::Sender<(NodeName, Arc<[u8]>)>>) {
    let Some(sender) = overdue else { return std::future::pending().await };
    if sender.reserve().await.is_err() {
        std::future::pending().await
    }
}

/// What is to be said next of elected groups, if that is ever told.
pub(super) async fn next_heartbeats(
    to_send: &mut Option<mpsc::Receiver<Arc<[u8]>>>,
    said: &mut Vec<Arc<[u8]>>,
) {
    if let Some(to_send) = to_send
        && to_send.recv_many(said, EVENTS).await > 0
    {
        return;
    }
    std::future::pending().await
}
