//! The loop: owns the sockets and connections, tells the links what happens and when, and does what they want.

use crate::border::{
    Answer, Changes, Counters, Desired, Echoed, FlowLink, LinkState, Observed, Offer, Options, PeerConfig,
    PeerState, Text, Word,
};
use crate::error::StartError;
use crate::key::{self, Key, pin_of};
use crate::link::{Action, Code, Failure, Id, Link, Settings};
use crate::message::{Datagram, ELECTION, Message};
use crate::serving::Services;
use crate::tls;
use connection::{Event, carry, dial, say, say_all};
use endpoints::Endpoints;
use fulcrum_config::{Config, KeyPin, NodeName};
use quinn::{Connection, VarInt};
use rustix::process::setpriority_process;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};

pub(crate) mod connection;
mod endpoints;
#[cfg(test)]
mod tests;

/// Events that wait to be handled; whoever makes more waits.
const EVENTS: usize = 256;
/// Time between heartbeats to a peer at most, however many there are.
const BEAT_AT_MOST: Duration = Duration::from_millis(400);
/// Messages of flows that are on their way at a time.
const SENDING: usize = 8;
/// How often counters and round trips are told; changes of state are told at once.
const TELL: Duration = Duration::from_millis(500);
/// Time between tries of what could not be had: a key, a port.
const AGAIN: Duration = Duration::from_secs(5);
/// Portions of what is said of forwarded services that wait to be sent: more than all of them together.
const PORTIONS: usize = 4096;
/// Ahead of everything but what the kernel schedules in real time: whoever floods this thread must not have that.
const NICE: i32 = -15;
/// How long the end waits for the peers to be told.
const END: Duration = Duration::from_millis(100);

/// Starts the engine on a thread of its own. It ends when the sender of `desired` is dropped.
///
/// # Errors
/// No thread or no event loop can be had.
pub fn start(
    desired: watch::Receiver<Desired>,
    flows: FlowLink,
    options: Options,
) -> Result<watch::Receiver<Observed>, StartError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Runtime)?;
    let (observed, receiver) = watch::channel(Observed::default());
    std::thread::Builder::new()
        .name("peer".into())
        .spawn(move || {
            // Of this thread alone: a busy data plane must not make this node look dead. Without the right to it
            // (CAP_SYS_NICE) it goes on as it is.
            let _ = setpriority_process(None, NICE);
            runtime.block_on(run(desired, observed, flows, options));
        })
        .map_err(StartError::Thread)?;
    Ok(receiver)
}

async fn run(
    mut desired: watch::Receiver<Desired>,
    observed: watch::Sender<Observed>,
    flows: FlowLink,
    mut options: Options,
) {
    let (mut to_send, heard) = options
        .heartbeats
        .take()
        .map(|link| (link.to_peers, Heard { from_peers: link.from_peers, arrived: link.arrived }))
        .unzip();
    let FlowLink { peers, mut to_peers, from_peers } = flows;
    let flows =
        Flows { peers, from_peers, sending: Arc::new(Semaphore::new(SENDING)), missed: BTreeSet::new() };
    let room = Arc::clone(&flows.sending);
    let (sender, mut events) = mpsc::channel(EVENTS);
    let first = desired.borrow_and_update().clone();
    let mut driver = Driver::new(first, options, sender, flows, clock());
    driver.heard = heard;
    driver.apply(clock());
    driver.say_changes(clock());
    let (mut happened, mut said) = (Vec::with_capacity(EVENTS), Vec::with_capacity(EVENTS));
    loop {
        driver.tell_flows();
        driver.tell_echoes();
        driver.act();
        driver.tell(&observed, clock());
        tokio::select! {
            changed = desired.changed() => {
                if changed.is_err() {
                    break;
                }
                let wanted = desired.borrow_and_update().clone();
                driver.handle_desired(wanted, clock());
            }
            _ = events.recv_many(&mut happened, EVENTS) => {
                happened.drain(..).for_each(|event| driver.handle_event(event, clock()));
                driver.tell_arrived();
            }
            // What can't be sent yet waits where it comes from.
            Some((bytes, permit)) = next_flows(&mut to_peers, &room) => driver.say_flows(&bytes, permit),
            () = next_heartbeats(&mut to_send, &mut said) => {
                said.iter().for_each(|bytes| driver.say_heartbeat(bytes));
                driver.said_last = std::mem::take(&mut said);
            }
            () = tokio::time::sleep_until(driver.poll_timeout().into()) => driver.handle_timeout(clock()),
        }
    }
    driver.end().await;
}

/// The next that the data plane has to say, once there is room for it on its way.
async fn next_flows(
    to_peers: &mut mpsc::Receiver<Arc<[u8]>>,
    room: &Arc<Semaphore>,
) -> Option<(Arc<[u8]>, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    Some((to_peers.recv().await?, permit))
}

/// What is to be said next of elected groups, if that is ever told.
async fn next_heartbeats(to_send: &mut Option<mpsc::Receiver<Arc<[u8]>>>, said: &mut Vec<Arc<[u8]>>) {
    if let Some(to_send) = to_send
        && to_send.recv_many(said, EVENTS).await > 0
    {
        return;
    }
    std::future::pending().await
}

/// Where what is heard of elected groups goes.
struct Heard {
    from_peers: mpsc::Sender<(NodeName, Arc<[u8]>)>,
    arrived: Arc<Notify>,
}

/// Between the data plane and the links.
struct Flows {
    peers: watch::Sender<BTreeMap<NodeName, u64>>,
    from_peers: mpsc::Sender<(NodeName, Arc<[u8]>)>,
    sending: Arc<Semaphore>,
    /// Peers of which something was missed.
    missed: BTreeSet<NodeName>,
}

struct Driver {
    desired: Desired,
    options: Options,
    instance: u64,
    events: mpsc::Sender<Event>,
    flows: Flows,
    heard: Option<Heard>,
    /// Something came for it.
    is_heard: bool,
    key: Option<Key>,
    errors: Vec<String>,
    endpoints: Endpoints,
    links: BTreeMap<NodeName, Link>,
    connections: BTreeMap<Id, Held>,
    next: Id,
    counters: Counters,
    tell_at: Instant,
    again_at: Option<Instant>,
    told: BTreeMap<NodeName, Told>,
    /// What was said last of elected groups: whoever can be reached from now on hears it at once.
    said_last: Vec<Arc<[u8]>>,
    /// As they were told last.
    echoes: BTreeMap<NodeName, Echoed>,
    is_news: bool,
}

/// What is told at once when it changes.
type Told = (
    PeerState,
    Option<PeerConfig>,
    Option<Arc<Word>>,
    Option<Arc<Offer>>,
    Option<Arc<Answer>>,
    Option<Arc<Text>>,
    Arc<Services>,
);

/// A connection that shook hands.
struct Held {
    peer: NodeName,
    pin: KeyPin,
    connection: Connection,
    /// What may be long, and goes one after the other.
    bulk: mpsc::Sender<Message>,
    /// Messages of flows that were said on it.
    flows: u64,
}

/// Time between heartbeats to each of so many peers, if it is `beat` to two of them: the more there are, the less each needs
/// to say, for any one's echo does.
fn among(peers: usize, beat: Duration) -> Duration {
    let peers = u32::try_from(peers).unwrap_or(u32::MAX);
    let spread = beat.saturating_mul(peers.max(2)).checked_div(2).unwrap_or(beat);
    spread.min(BEAT_AT_MOST).max(beat)
}

impl Driver {
    fn new(
        desired: Desired,
        options: Options,
        events: mpsc::Sender<Event>,
        flows: Flows,
        now: Instant,
    ) -> Self {
        let sockets = options.sockets.clone();
        Self {
            desired,
            options,
            instance: fastrand::u64(..),
            events: events.clone(),
            flows,
            heard: None,
            is_heard: false,
            key: None,
            errors: Vec::new(),
            endpoints: Endpoints::new(events, sockets),
            links: BTreeMap::new(),
            connections: BTreeMap::new(),
            next: 0,
            counters: Counters::default(),
            tell_at: now,
            again_at: None,
            told: BTreeMap::new(),
            said_last: Vec::new(),
            echoes: BTreeMap::new(),
            is_news: true,
        }
    }

    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.desired.config)
    }

    fn handle_desired(&mut self, desired: Desired, now: Instant) {
        let same = self.desired.generation == desired.generation;
        self.desired = desired;
        if same {
            // The configuration was applied before; only this node's adverts are others.
            self.say_words();
        } else {
            self.apply(now);
        }
        self.say_changes(now);
        self.say_serving(now);
    }

    /// Tells the peers what there is to say of forwarded services.
    fn say_serving(&mut self, now: Instant) {
        for link in self.links.values_mut() {
            link.handle_serving(Arc::clone(&self.desired.serving), now);
        }
    }

    /// Tells the peers what there is to say of changes of the configuration.
    fn say_changes(&mut self, now: Instant) {
        let Changes { offer, answers, text } = &self.desired.changes;
        for (name, link) in &mut self.links {
            link.handle_changes(offer.clone(), answers.get(name).cloned(), text.clone(), now);
        }
    }

    /// Tells the peers what there is to say of this node's adverts.
    fn say_words(&mut self) {
        let Desired { word, answers, .. } = &self.desired;
        for (name, link) in &mut self.links {
            let answers = answers.get(name).cloned().unwrap_or_default();
            link.handle_word(Word { answers, ..word.clone() });
        }
    }

    /// Does what is desired, as a difference.
    fn apply(&mut self, now: Instant) {
        self.is_news = true;
        self.errors.clear();
        self.again_at = None;
        let config = self.config();
        let new_key = self.read_key(&config);
        let peers = peers(&config);
        let is_on = state(&config) == LinkState::On;
        self.links.retain(|name, _| is_on && peers.contains_key(name));
        if is_on {
            self.keep_links(&config, &peers, now);
            self.say_words();
            self.say_serving(now);
        }
        self.drop_withdrawn(&peers);
        match self.key.clone().filter(|_| is_on) {
            Some(key) => {
                let pins = peers.values().flatten().copied().collect();
                match tls::server(&key, pins) {
                    Ok(server) => self.errors.extend(self.endpoints.keep(&config, &server)),
                    Err(error) => self.errors.push(format!("the key can't be used: {error}")),
                }
            }
            None => self.endpoints.close(),
        }
        if new_key {
            self.links.values_mut().for_each(|link| link.handle_new_key(now));
        }
        if !self.errors.is_empty() {
            self.again_at = now.checked_add(AGAIN);
        }
    }

    /// Reads the private key; one that can't be read does not replace one that could. Says whether it is another.
    fn read_key(&mut self, config: &Config) -> bool {
        if state(config) == LinkState::NoKeys {
            self.key = None;
            return false;
        }
        match key::load(&config.peer.key) {
            Ok(key) => {
                let is_new = self.key.as_ref().is_some_and(|old| old.pin != key.pin);
                self.key = Some(key);
                is_new
            }
            Err(error) => {
                self.errors.push(error.to_string());
                false
            }
        }
    }

    fn keep_links(&mut self, config: &Config, peers: &BTreeMap<NodeName, BTreeSet<KeyPin>>, now: Instant) {
        let runs = PeerConfig {
            generation: self.desired.generation,
            serial: self.desired.serial,
            digest: config.shared,
        };
        // A change of leader is to be known here no later than by adverts.
        let intervals = config.groups.values().map(|group| group.advert_interval.duration());
        let beat = among(peers.len(), intervals.fold(config.peer.heartbeat, Duration::min));
        for name in peers.keys() {
            let settings = Settings { own: config.node.clone(), peer: name.clone(), beat };
            if let Some(link) = self.links.get_mut(name) {
                link.handle_settings(settings, now);
                link.handle_config(runs);
            } else {
                let mut link = Link::new(settings, &self.options.version, self.instance, runs, now);
                if self.options.sockets.are_inherited() {
                    link.handle_inherited(now);
                }
                self.links.insert(name.clone(), link);
            }
        }
    }

    /// Closes what was connected with a key that is not listed any more.
    fn drop_withdrawn(&mut self, peers: &BTreeMap<NodeName, BTreeSet<KeyPin>>) {
        let links = &self.links;
        let is_good = |held: &Held| {
            links.contains_key(&held.peer)
                && peers.get(&held.peer).is_some_and(|pins| pins.contains(&held.pin))
        };
        for held in self.connections.values().filter(|held| !is_good(held)) {
            self.counters.keys_withdrawn = self.counters.keys_withdrawn.saturating_add(1);
            close(&held.connection, Code::KeyWithdrawn);
        }
    }

    fn handle_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Connected { connection, dialed } => self.handle_connected(connection, dialed, now),
            Event::DialFailed { peer, failure } => {
                if let Some(link) = self.links.get_mut(&peer) {
                    link.handle_dial_failed(failure, now);
                }
            }
            Event::Stranger => self.counters.strangers = self.counters.strangers.saturating_add(1),
            Event::TooMany => self.counters.too_many = self.counters.too_many.saturating_add(1),
            Event::HandshakeFailed => {
                self.counters.handshakes_refused = self.counters.handshakes_refused.saturating_add(1);
            }
            Event::Message { id, message } => {
                if let Some(link) = self.link_of(id) {
                    link.handle_message(id, message, now);
                }
            }
            Event::Unreadable { id } => {
                if let Some(link) = self.link_of(id) {
                    link.handle_unreadable();
                }
            }
            Event::Datagram { id, bytes } => {
                if let Some((&ELECTION, said)) = bytes.split_first() {
                    self.hand_heartbeat(id, said);
                    if let Some(link) = self.link_of(id) {
                        link.handle_alive(id, now);
                    }
                } else if let Some(link) = self.link_of(id) {
                    link.handle_datagram(id, Datagram::decode(&bytes), now);
                }
            }
            Event::Closed { id, failure } => {
                if let Some(link) = self.link_of(id) {
                    link.handle_closed(id, failure, now);
                }
                self.connections.remove(&id);
            }
        }
    }

    fn link_of(&mut self, id: Id) -> Option<&mut Link> {
        self.links.get_mut(&self.connections.get(&id)?.peer)
    }

    fn handle_connected(&mut self, connection: Connection, dialed: Option<NodeName>, now: Instant) {
        let pin = pin_of_peer(&connection);
        let config = self.config();
        let owner = pin.and_then(|pin| {
            let owner = config.peer.pins.iter().find(|(_, pins)| pins.contains(&pin))?;
            Some((owner.0.clone(), pin))
        });
        // The list may have changed while hands were shaken.
        let good = owner.filter(|(peer, _)| dialed.as_ref().is_none_or(|dialed| dialed == peer));
        let Some((peer, pin)) = good.filter(|(peer, _)| self.links.contains_key(peer)) else {
            self.counters.handshakes_refused = self.counters.handshakes_refused.saturating_add(1);
            close(&connection, Code::KeyWithdrawn);
            if let Some(link) = dialed.and_then(|peer| self.links.get_mut(&peer)) {
                link.handle_dial_failed(Failure::Refused(connection::unknown_key()), now);
            }
            return;
        };
        let id = self.next;
        self.next = id.wrapping_add(1);
        let address = connection.remote_address();
        tokio::spawn(carry(id, connection.clone(), self.events.clone()));
        if let Some(link) = self.links.get_mut(&peer) {
            link.handle_connected(id, dialed.is_some(), address, now);
        }
        let (bulk, messages) = mpsc::channel(PORTIONS);
        tokio::spawn(say_all(connection.clone(), messages));
        self.connections.insert(id, Held { peer, pin, connection, bulk, flows: 0 });
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.again_at.is_some_and(|at| at <= now) {
            self.apply(now);
        }
        self.links.values_mut().for_each(|link| link.handle_timeout(now));
    }

    fn poll_timeout(&self) -> Instant {
        let links = self.links.values().filter_map(Link::poll_timeout);
        links.chain(self.again_at).fold(self.tell_at, Instant::min)
    }

    /// Does what the links want.
    fn act(&mut self) {
        let names: Vec<NodeName> = self.links.keys().cloned().collect();
        for name in names {
            while let Some(action) = self.links.get_mut(&name).and_then(Link::poll_action) {
                self.do_action(&name, action);
            }
        }
    }

    fn do_action(&mut self, peer: &NodeName, action: Action) {
        match action {
            Action::Dial { attempt } => self.dial(peer, attempt),
            Action::Say(id, message @ Message::Serving(_)) => {
                if let Some(held) = self.connections.get(&id)
                    && held.bulk.try_send(message).is_err()
                {
                    // It is far too slow. On the next one all is said anew.
                    close(&held.connection, Code::Silent);
                }
            }
            Action::Say(id, message) => {
                if let Some(held) = self.connections.get(&id) {
                    tokio::spawn(say(held.connection.clone(), message));
                }
            }
            Action::Hand(bytes) => self.hand_flows(peer, bytes),
            Action::Send(id, datagram) => {
                if let Some(held) = self.connections.get(&id) {
                    // What can't be sent now is not worth sending later.
                    let _ = held.connection.send_datagram(datagram.encode().into());
                }
            }
            Action::Close(id, code) => {
                if let Some(held) = self.connections.get(&id) {
                    close(&held.connection, code);
                }
            }
        }
    }

    /// To every peer; the permit is given back once all have it.
    fn say_flows(&mut self, bytes: &Arc<[u8]>, permit: OwnedSemaphorePermit) {
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

    /// To every peer. What can't be sent now is not worth sending later.
    fn say_heartbeat(&mut self, bytes: &[u8]) {
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
    fn hand_heartbeat(&mut self, id: Id, said: &[u8]) {
        let (Some(held), Some(heard)) = (self.connections.get(&id), &self.heard) else { return };
        if heard.from_peers.try_send((held.peer.clone(), said.into())).is_err() {
            self.counters.heartbeats_lost = self.counters.heartbeats_lost.saturating_add(1);
        }
        self.is_heard = true;
    }

    /// Wakes whoever elects leaders, once for all that came.
    fn tell_arrived(&mut self) {
        if let Some(heard) = self.heard.as_ref().filter(|_| std::mem::take(&mut self.is_heard)) {
            heard.arrived.notify_one();
        }
    }

    /// From a peer to the data plane; what does not fit is said to be missing as soon as there is room.
    fn hand_flows(&mut self, peer: &NodeName, bytes: Arc<[u8]>) {
        if self.flows.from_peers.try_send((peer.clone(), bytes)).is_err() {
            self.counters.flows_lost = self.counters.flows_lost.saturating_add(1);
            self.flows.missed.insert(peer.clone());
        }
    }

    /// Tells the data plane who hears it, and what it has missed.
    fn tell_flows(&mut self) {
        let sender = &self.flows.from_peers;
        self.flows.missed.retain(|peer| sender.try_send((peer.clone(), Arc::default())).is_err());
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

    fn dial(&mut self, peer: &NodeName, attempt: u32) {
        let config = self.config();
        let pins: BTreeSet<KeyPin> = config.peer.pins.get(peer).into_iter().flatten().copied().collect();
        let client = self.key.as_ref().ok_or_else(|| "this node's private key could not be read".to_owned());
        let client = client.and_then(|key| tls::client(key, pins));
        let endpoint = self.endpoints.towards(&config, peer, attempt);
        let events = self.events.clone();
        let peer = peer.clone();
        tokio::spawn(async move {
            let event = match (client, endpoint) {
                (Ok(client), Ok((endpoint, address))) => dial(peer, endpoint, client, address).await,
                (Err(error), _) | (_, Err(error)) => {
                    Event::DialFailed { peer, failure: Failure::Lost(error) }
                }
            };
            // The engine may have ended meanwhile.
            let _ = events.send(event).await;
        });
    }

    /// Tells whoever wants to know which heartbeats were echoed.
    fn tell_echoes(&mut self) {
        let Some(tell) = &mut self.options.echoes else { return };
        let echoes = self.links.iter().filter_map(|(name, link)| Some((name.clone(), link.echoed()?)));
        let echoes: BTreeMap<_, _> = echoes.collect();
        if self.echoes != echoes {
            self.echoes.clone_from(&echoes);
            tell(echoes);
        }
    }

    /// Tells what is known, at once if a state changed.
    fn tell(&mut self, observed: &watch::Sender<Observed>, now: Instant) {
        let states = self.links.iter().map(|(name, link)| {
            let it = link.observed();
            (name.clone(), (it.state, it.config, it.word, it.offer, it.answer, it.text, it.serving))
        });
        let states: BTreeMap<_, _> = states.collect();
        if states == self.told && now < self.tell_at && !self.is_news {
            return;
        }
        self.log(&states);
        self.told = states;
        self.is_news = false;
        self.tell_at = now.checked_add(TELL).unwrap_or(now);
        observed.send_replace(self.observed());
    }

    fn log(&self, states: &BTreeMap<NodeName, Told>) {
        for (name, (state, ..)) in states {
            if self.told.get(name).map(|(state, ..)| state) == Some(state) {
                continue;
            }
            let reason = self.links.get(name).map(|link| link.observed().reason);
            let reason = reason.as_deref().unwrap_or_default();
            match state {
                PeerState::Up => tracing::info!(target: "peer", peer = %name, "the peer link is up"),
                PeerState::Down => {
                    tracing::warn!(target: "peer", peer = %name, reason, "the peer link is down")
                }
                PeerState::Refused => {
                    tracing::error!(target: "peer", peer = %name, reason, "the peer link is refused");
                }
            }
        }
    }

    fn observed(&self) -> Observed {
        let config = &self.desired.config;
        let own_pin = self.key.as_ref().map(|key| key.pin);
        let listed = config.peer.pins.get(&config.node);
        Observed {
            state: state(config),
            own_pin,
            own_pin_listed: own_pin.is_none_or(|pin| listed.is_some_and(|listed| listed.contains(&pin))),
            errors: self.errors.clone(),
            peers: self.links.iter().map(|(name, link)| (name.clone(), link.observed())).collect(),
            counters: self.counters,
        }
    }

    /// Tells the peers that this node ends.
    async fn end(mut self) {
        if self.options.sockets.is_wanted() {
            // Another process of this node goes on with its own connections, which take the place of these.
            return self.endpoints.leave();
        }
        for held in self.connections.values() {
            close(&held.connection, Code::Ending);
        }
        let _ = tokio::time::timeout(END, self.endpoints.end()).await;
    }
}

/// Whether the configuration asks for links.
fn state(config: &Config) -> LinkState {
    let pins = &config.peer.pins;
    if pins.is_empty() {
        LinkState::NoKeys
    } else if !pins.contains_key(&config.node) {
        LinkState::NoOwnKey
    } else if pins.len() == 1 {
        LinkState::NoPeerKey
    } else {
        LinkState::On
    }
}

/// The keys of each node but this one.
fn peers(config: &Config) -> BTreeMap<NodeName, BTreeSet<KeyPin>> {
    let others = config.peer.pins.iter().filter(|(name, _)| **name != config.node);
    others.map(|(name, pins)| (name.clone(), pins.iter().copied().collect())).collect()
}

pub(crate) fn pin_of_peer(connection: &Connection) -> Option<KeyPin> {
    let identity = connection.peer_identity()?;
    let keys = identity.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().ok()?;
    keys.first().map(|public| pin_of(public))
}

fn close(connection: &Connection, code: Code) {
    connection.close(VarInt::from_u32(code as u32), format!("{code:?}").as_bytes());
}

/// The only clock of this room.
#[allow(clippy::disallowed_methods)] // The links take the time as an argument; it comes from here.
fn clock() -> Instant {
    Instant::now()
}
