//! The loop: owns the sockets and connections, tells the links what happens and when, and does what they want.

pub(crate) mod connection;

mod acting;
mod applying;
mod endpoints;
mod events;
mod passing;
mod telling;
#[cfg(test)]
mod tests;

use crate::border::{Counters, Desired, Echoed, FlowLink, LinkState, Observed, Options};
use crate::error::StartError;
use crate::key::{Key, pin_of};
use crate::link::{Code, Id, Link};
use crate::message::Message;
use connection::Event;
use endpoints::Endpoints;
use fulcrum_config::{Config, KeyPin, NodeName};
use passing::{Flows, Heard, next_flows, next_heartbeats, room_for};
use quinn::{Connection, VarInt};
use rustix::process::setpriority_process;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use telling::Told;
use tokio::sync::{mpsc, watch};

/// Events that wait to be handled; whoever makes more waits.
const EVENTS: usize = 256;
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
    let flows = Flows::new(peers, from_peers);
    let room = flows.room();
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
        driver.flows.hand();
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
            () = room_for(driver.flows.overdue()) => {}
            () = next_heartbeats(&mut to_send, &mut said) => {
                said.iter().for_each(|bytes| driver.say_heartbeat(bytes));
                driver.said_last = std::mem::take(&mut said);
            }
            () = tokio::time::sleep_until(driver.poll_timeout().into()) => driver.handle_timeout(clock()),
        }
    }
    driver.end().await;
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
