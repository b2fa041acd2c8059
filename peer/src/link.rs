//! The link to one peer: which of several connections is kept, when the peer counts as silent, when to dial.
//!
//! Both sides dial, the one of the lower name first. Where two connections meet, both sides keep the same: that to the
//! peer's present process, then that which the lower name dialed, then the newer one. The other is closed a second
//! later, so that no moment is without any.

use crate::border::{Answer, Offer, PeerConfig, PeerCounters, PeerObserved, PeerState, Text};
use crate::message::{Datagram, Hello, Message, PROTOCOL, Said};
use connection::Connection;
use fulcrum_config::NodeName;
use serving::{Hearer, Teller};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

mod choosing;
mod connection;
mod dialing;
mod hearing;
mod in_order;
mod saying;
mod serving;
#[cfg(test)]
mod tests;

/// A connection that stands.
pub(crate) type Id = u64;

/// Heartbeats that may be missing before the peer counts as silent,
const BEATS_MISSED: u32 = 10;
/// but not sooner than this.
const SILENCE_AT_LEAST: Duration = Duration::from_millis(300);
/// How long a connection may be without the peer's hello.
const HELLO: Duration = Duration::from_secs(3);

/// Why a connection is closed, as the other side is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Ending = 0,
    KeyWithdrawn = 1,
    WrongName = 2,
    Silent = 3,
    Replaced = 4,
    TooMany = 5,
}

/// Why a connection ended, or was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// One side refused the other's key.
    Refused(String),
    /// Anything else.
    Lost(String),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Connect, by the next of the peer's addresses for each attempt.
    Dial {
        attempt: u32,
    },
    Say(Id, Message),
    /// For the data plane, from this peer.
    Hand(Arc<[u8]>),
    Send(Id, Datagram),
    Close(Id, Code),
}

/// What a link is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) own: NodeName,
    pub(crate) peer: NodeName,
    pub(crate) beat: Duration,
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Link {
    settings: Settings,
    hello: Hello,
    /// What the peer is told of this node's adverts.
    said: Said,
    /// What the peer said of its own, and the last change of them that its heartbeats told of.
    heard: Option<Said>,
    heard_change: Option<(u64, u64)>,
    echo: Option<LastEcho>,
    own: Own,
    teller: Teller,
    hearer: Hearer,
    connections: Vec<Connection>,
    current: Option<Id>,
    state: PeerState,
    since: Instant,
    reason: Arc<str>,
    dial: Dial,
    actions: VecDeque<Action>,
    /// Grows whenever something of what the peer said may have been missed.
    session: u64,
    remote: Option<Hello>,
    address: Option<SocketAddr>,
    round_trip: Option<Duration>,
    counters: PeerCounters,
}

/// The last heartbeat that a life of the peer's has echoed.
#[derive(Debug)]
struct LastEcho {
    instance: u64,
    sent: Instant,
}

/// What the peer is told of changes of the configuration.
#[derive(Debug, Default)]
struct Own {
    offer: Option<Arc<Offer>>,
    answer: Option<Arc<Answer>>,
    text: Option<Arc<Text>>,
    /// The serial number that it was sent, and when to send it again.
    pushed: Option<(u64, Instant)>,
}

#[derive(Debug)]
struct Dial {
    at: Option<Instant>,
    pending: bool,
    attempt: u32,
    /// A connection with our new key is wanted, although one stands.
    anew: bool,
}

impl Link {
    pub(crate) fn new(
        settings: Settings,
        version: &str,
        instance: u64,
        config: PeerConfig,
        now: Instant,
    ) -> Self {
        let hello = Hello {
            node: settings.own.as_str().into(),
            version: version.into(),
            protocol: PROTOCOL,
            instance,
            config,
            linked: None,
        };
        let mut link = Self {
            settings,
            said: Said { instance, sequence: 0, change: 0, word: Arc::default() },
            heard: None,
            heard_change: None,
            echo: None,
            hello,
            own: Own::default(),
            teller: Teller::new(instance),
            hearer: Hearer::default(),
            connections: Vec::new(),
            current: None,
            state: PeerState::Down,
            since: now,
            reason: "no connection was made yet".into(),
            dial: Dial { at: None, pending: false, attempt: 0, anew: false },
            actions: VecDeque::new(),
            session: 0,
            remote: None,
            address: None,
            round_trip: None,
            counters: PeerCounters::default(),
        };
        link.dial.at = link.first_dial(now);
        link
    }

    /// What it is about has changed.
    pub(crate) fn handle_settings(&mut self, settings: Settings, now: Instant) {
        self.settings = settings;
        for connection in &mut self.connections {
            connection.beat_at = connection.beat_at.min(after(now, self.settings.beat));
        }
    }

    pub(crate) fn observed(&self) -> PeerObserved {
        let theirs = self.current().map(|connection| &connection.theirs);
        PeerObserved {
            state: self.state,
            since: self.since,
            reason: Arc::clone(&self.reason),
            address: self.address,
            round_trip: self.round_trip.filter(|_| self.state == PeerState::Up),
            version: self.remote.as_ref().map(|remote| Arc::clone(&remote.version)),
            config: self.remote.as_ref().map(|remote| remote.config),
            word: self.word(),
            offer: theirs.and_then(|theirs| theirs.offer.said.clone()),
            answer: theirs.and_then(|theirs| theirs.answer.said.clone()),
            text: theirs
                .and_then(|theirs| theirs.text.said.clone())
                .filter(|text| text.serial > self.hello.config.serial),
            serving: self.serving(),
            counters: self.counters,
        }
    }

    /// What the data plane says goes by this connection; the number is another whenever something may have been missed.
    pub(crate) fn carrier(&self) -> Option<(Id, u64)> {
        let current = self.current.filter(|_| self.state == PeerState::Up)?;
        Some((current, self.session))
    }

    fn current(&self) -> Option<&Connection> {
        self.connections.iter().find(|connection| Some(connection.id) == self.current)
    }

    fn set_state(&mut self, state: PeerState, reason: &str, now: Instant) {
        if self.state != state {
            self.since = now;
            let counter = match (self.state, state) {
                (_, PeerState::Up) => Some(&mut self.counters.up),
                (PeerState::Up, PeerState::Down | PeerState::Refused) => Some(&mut self.counters.down),
                (PeerState::Down | PeerState::Refused, PeerState::Down | PeerState::Refused) => None,
            };
            if let Some(counter) = counter {
                *counter = counter.saturating_add(1);
            }
        }
        self.state = state;
        if *self.reason != *reason {
            self.reason = reason.into();
        }
    }

    fn silence(&self) -> Duration {
        self.settings.beat.saturating_mul(BEATS_MISSED).max(SILENCE_AT_LEAST)
    }

    /// The time has come.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let silence = self.silence();
        let ended: Vec<(Id, Code)> =
            self.connections.iter().filter_map(|it| Some((it.id, it.ends(silence, HELLO, now)?))).collect();
        for (id, code) in ended {
            self.end(id, code, now);
        }
        let (beat, change) = (self.settings.beat, Some(self.said.change));
        for connection in &mut self.connections {
            if let Some(number) = connection.poll_beat(beat, now) {
                self.counters.beats_sent = self.counters.beats_sent.saturating_add(1);
                self.actions.push_back(Action::Send(connection.id, Datagram::Beat(number, change)));
            }
        }
        self.push(now);
        self.dial_if_due(now);
    }

    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let silence = self.silence();
        let dial = self.dial.at.filter(|_| !self.dial.pending);
        let push = self.behind().and(self.own.pushed).map(|(_, again)| again);
        let connections = self.connections.iter().map(|connection| connection.timeout(silence, HELLO));
        connections.chain(dial).chain(push).min()
    }
}

fn after(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait).unwrap_or(now)
}
