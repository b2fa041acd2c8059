//! The link to one peer: which of several connections is kept, when the peer counts as silent, when to dial.
//!
//! Both sides dial, the one of the lower name first. Where two connections meet, both sides keep the same: that to the
//! peer's present process, then that which the lower name dialed, then the newer one. The other is closed a second
//! later, so that no moment is without any.

use crate::border::{Answer, Echoed, Offer, PeerConfig, PeerCounters, PeerObserved, PeerState, Text, Word};
use crate::message::{Datagram, Hello, Message, Misfit, PROTOCOL, Said};
use crate::serving::Services;
use connection::Connection;
use fulcrum_config::NodeName;
use serving::{Hearer, Teller};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

mod connection;
mod in_order;
mod serving;
#[cfg(test)]
mod tests;

/// A connection that stands.
pub(crate) type Id = u64;

/// Connections of one peer at a time.
const CONNECTIONS_AT_MOST: usize = 4;
/// Heartbeats that may be missing before the peer counts as silent,
const BEATS_MISSED: u32 = 10;
/// but not sooner than this.
const SILENCE_AT_LEAST: Duration = Duration::from_millis(300);
/// How long a connection may be without the peer's hello.
const HELLO: Duration = Duration::from_secs(3);
/// How long a connection that was replaced stays.
const RETIRE: Duration = Duration::from_secs(1);
/// How long the one of the higher name waits for the other to dial.
const SECOND: Duration = Duration::from_secs(1);
/// Time until a peer that is behind is sent again what runs here.
const PUSH: Duration = Duration::from_secs(5);
/// Time between dials that nobody answers.
const PAUSE: Duration = Duration::from_millis(100);
/// Time between dials that are refused.
const PAUSE_REFUSED: Duration = Duration::from_millis(500);

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
    theirs: Theirs,
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

/// What the peer said of them on the present connection.
#[derive(Debug, Default)]
struct Theirs {
    offer: Option<Arc<Offer>>,
    answer: Option<Arc<Answer>>,
    text: Option<Arc<Text>>,
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
            theirs: Theirs::default(),
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

    pub(crate) fn observed(&self) -> PeerObserved {
        PeerObserved {
            state: self.state,
            since: self.since,
            reason: Arc::clone(&self.reason),
            address: self.address,
            round_trip: self.round_trip.filter(|_| self.state == PeerState::Up),
            version: self.remote.as_ref().map(|remote| Arc::clone(&remote.version)),
            config: self.remote.as_ref().map(|remote| remote.config),
            word: self.word(),
            offer: self.theirs.offer.clone(),
            answer: self.theirs.answer.clone(),
            text: self.theirs.text.clone().filter(|text| text.serial > self.hello.config.serial),
            serving: self.serving(),
            counters: self.counters,
        }
    }

    /// What the peer says of its adverts, unless that has changed since.
    fn word(&self) -> Option<Arc<Word>> {
        let instance = self.remote.as_ref().filter(|_| self.state == PeerState::Up)?.instance;
        let said = self.heard.as_ref().filter(|said| said.instance == instance)?;
        let newer = |(of, change): (u64, u64)| of == instance && change > said.change;
        (!self.heard_change.is_some_and(newer)).then(|| Arc::clone(&said.word))
    }

    /// What the peer says of forwarded services.
    fn serving(&self) -> Arc<Services> {
        let remote = self.remote.as_ref().filter(|_| self.state == PeerState::Up);
        remote.map(|remote| self.hearer.services(remote.instance)).unwrap_or_default()
    }

    #[cfg(test)]
    fn teller_wants(&self) -> Arc<Services> {
        self.teller.wanted()
    }

    /// This node says something else of forwarded services.
    pub(crate) fn handle_serving(&mut self, services: Arc<Services>, now: Instant) {
        self.teller.handle(services);
        let Some(id) = self.current else { return };
        let say = self.teller.poll_changes(now).into_iter().map(|it| Action::Say(id, Message::Serving(it)));
        self.actions.extend(say);
    }

    /// This node says something else of changes of the configuration.
    pub(crate) fn handle_changes(
        &mut self,
        offer: Option<Arc<Offer>>,
        answer: Option<Arc<Answer>>,
        text: Option<Arc<Text>>,
        now: Instant,
    ) {
        let (new_offer, new_answer) = (offer != self.own.offer, answer != self.own.answer);
        let pushed = self.own.pushed;
        self.own = Own { offer, answer, text, pushed };
        self.say_changes(new_offer, new_answer);
        self.push(now);
    }

    fn say_changes(&mut self, offer: bool, answer: bool) {
        let Some(id) = self.current else { return };
        let offer = offer.then(|| Message::Offer(self.own.offer.clone()));
        let answer = self.own.answer.clone().filter(|_| answer).map(Message::Answer);
        self.actions.extend(offer.into_iter().chain(answer).map(|message| Action::Say(id, message)));
    }

    /// Sends a peer that is behind what runs here.
    fn push(&mut self, now: Instant) {
        let Some((id, text)) = self.current.zip(self.behind()) else { return };
        if self.own.pushed.is_some_and(|(serial, again)| serial == text.serial && now < again) {
            return;
        }
        self.own.pushed = Some((text.serial, after(now, PUSH)));
        self.actions.push_back(Action::Say(id, Message::Text(text)));
    }

    /// What the peer is to be sent, if it is behind.
    fn behind(&self) -> Option<Arc<Text>> {
        let serial = self.remote.as_ref().filter(|_| self.state == PeerState::Up)?.config.serial;
        // An older version has no number.
        let is_behind =
            |text: &Arc<Text>| serial > 0 && text.serial > serial && text.serial == self.hello.config.serial;
        self.own.text.clone().filter(is_behind)
    }

    /// This node says something else of its adverts.
    pub(crate) fn handle_word(&mut self, word: Word) {
        if *self.said.word == word {
            return;
        }
        if self.said.word.leads != word.leads {
            self.said.change = self.said.change.saturating_add(1);
        }
        self.said.sequence = self.said.sequence.saturating_add(1);
        self.said.word = Arc::new(word);
        let say = self.connections.iter().map(|it| Action::Say(it.id, Message::Word(self.said.clone())));
        self.actions.extend(say);
    }

    /// What it is about has changed.
    pub(crate) fn handle_settings(&mut self, settings: Settings, now: Instant) {
        self.settings = settings;
        for connection in &mut self.connections {
            connection.beat_at = connection.beat_at.min(after(now, self.settings.beat));
        }
    }

    /// This node runs another configuration.
    pub(crate) fn handle_config(&mut self, config: PeerConfig) {
        if self.hello.config != config {
            self.hello.config = config;
            let say = self.connections.iter().map(|it| Action::Say(it.id, Message::Config(config)));
            self.actions.extend(say);
        }
    }

    /// This node has another key: the peer must see it before the old one is taken off its list. Whoever dialed the
    /// connection that stands dials again.
    pub(crate) fn handle_new_key(&mut self, now: Instant) {
        match self.current() {
            Some(current) if !current.ours => {
                self.actions.push_back(Action::Say(current.id, Message::Redial));
            }
            Some(_) | None => self.dial_anew(now),
        }
    }

    /// Another process of this node had a link a moment ago: the peer knows of nothing, and so does not dial.
    pub(crate) fn handle_inherited(&mut self, now: Instant) {
        self.dial.at = Some(now);
    }

    fn dial_anew(&mut self, now: Instant) {
        self.dial.anew = self.current.is_some();
        self.dial.at = Some(now);
    }

    /// A connection stands; `ours` if it was dialed from here.
    pub(crate) fn handle_connected(&mut self, id: Id, ours: bool, address: SocketAddr, now: Instant) {
        if ours {
            self.dial.pending = false;
        }
        if self.connections.len() >= CONNECTIONS_AT_MOST {
            self.counters.too_many = self.counters.too_many.saturating_add(1);
            self.actions.push_back(Action::Close(id, Code::TooMany));
            return;
        }
        self.connections.push(Connection::new(id, ours, address, now));
        // Whoever asks for a node that is to be restored learns from it that the node lives.
        let linked = Some(self.state == PeerState::Up);
        let hello = Hello { linked, ..self.hello.clone() };
        self.actions.push_back(Action::Say(id, Message::Hello(hello)));
        self.actions.push_back(Action::Say(id, Message::Word(self.said.clone())));
    }

    /// A connection could not be made.
    pub(crate) fn handle_dial_failed(&mut self, failure: Failure, now: Instant) {
        self.dial.pending = false;
        self.dial_failed(failure, now);
    }

    fn dial_failed(&mut self, failure: Failure, now: Instant) {
        self.counters.dials_failed = self.counters.dials_failed.saturating_add(1);
        let pause = match failure {
            Failure::Refused(_) => PAUSE_REFUSED,
            Failure::Lost(_) => PAUSE,
        };
        self.dial.at = (self.current.is_none() || self.dial.anew).then(|| after(now, pause));
        self.note(failure, now);
    }

    /// Why there is no link, if there is none.
    fn note(&mut self, failure: Failure, now: Instant) {
        let (state, reason) = match failure {
            Failure::Refused(reason) => {
                self.counters.keys_refused = self.counters.keys_refused.saturating_add(1);
                (PeerState::Refused, reason)
            }
            Failure::Lost(reason) => (PeerState::Down, reason),
        };
        if self.current.is_none() {
            self.set_state(state, &reason, now);
        }
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

    /// A connection ended.
    pub(crate) fn handle_closed(&mut self, id: Id, failure: Failure, now: Instant) {
        let Some(closed) = self.forget(id) else { return };
        if self.current == Some(id) {
            self.lost(failure, now);
        } else if closed.ours && closed.hello.is_none() {
            self.dial_failed(failure, now);
        } else if closed.hello.is_none() {
            self.note(failure, now);
        }
    }

    fn forget(&mut self, id: Id) -> Option<Connection> {
        let index = self.connections.iter().position(|connection| connection.id == id)?;
        Some(self.connections.swap_remove(index))
    }

    /// The connection that carried the link is gone: another carries it, or none.
    fn lost(&mut self, failure: Failure, now: Instant) {
        let best =
            self.connections.iter().filter(|it| it.hello.is_some() && it.heard).max_by_key(|it| it.opened);
        if let Some(best) = best.map(|best| best.id) {
            self.adopt(best, now);
            return;
        }
        self.current = None;
        self.theirs = Theirs::default();
        self.dial.anew = false;
        self.dial.at = self.first_dial(now);
        self.note(failure, now);
    }

    fn first_dial(&self, now: Instant) -> Option<Instant> {
        Some(if self.dials_first() { now } else { after(now, SECOND) })
    }

    fn dials_first(&self) -> bool {
        self.settings.own < self.settings.peer
    }

    /// A message came.
    pub(crate) fn handle_message(&mut self, id: Id, message: Result<Message, Misfit>, now: Instant) {
        let Some(connection) = self.connections.iter_mut().find(|it| it.id == id) else { return };
        connection.heard_at = now;
        match message {
            Ok(message) => {
                self.counters.messages = self.counters.messages.saturating_add(1);
                match message {
                    Message::Hello(hello) => self.handle_hello(id, hello, now),
                    Message::Config(config) => {
                        let instance = connection.hello.as_ref().map(|hello| hello.instance);
                        // Of another process of the peer it would be old.
                        if let Some(remote) = self.remote.as_mut().filter(|it| {
                            Some(it.instance) == instance && it.config.generation <= config.generation
                        }) {
                            remote.config = config;
                        }
                    }
                    Message::Offer(offer) => self.theirs.offer = offer,
                    Message::Answer(answer) => self.theirs.answer = Some(answer),
                    Message::Text(text) => self.theirs.text = Some(text),
                    Message::Word(said) => self.handle_said(said),
                    Message::Serving(portion) => {
                        let present = self.remote.as_ref().map(|remote| remote.instance);
                        if self.hearer.handle(portion, present, now) {
                            self.count(Misfit::Malformed);
                        }
                    }
                    Message::Flows { number, bytes } => {
                        if connection.flows.handle(number, bytes) {
                            self.hand_flows(id);
                        } else {
                            self.count(Misfit::Malformed);
                            self.close(id, Code::Silent);
                        }
                    }
                    Message::Redial if self.dial.anew => {}
                    Message::Redial => self.dial_anew(now),
                }
            }
            Err(misfit) => self.count(misfit),
        }
    }

    /// Each message travels by itself: what was said later may come earlier.
    fn handle_said(&mut self, said: Said) {
        let present = self.remote.as_ref().map(|remote| remote.instance);
        let is_old = |known: &Said| {
            if known.instance == said.instance {
                known.sequence >= said.sequence
            } else {
                Some(known.instance) == present
            }
        };
        if !self.heard.as_ref().is_some_and(is_old) {
            self.heard = Some(said);
        }
    }

    /// A heartbeat told of the last change of what the peer leads.
    fn handle_echoed(&mut self, instance: u64, sent: Instant, change: Option<u64>) {
        if let Some(change) = change {
            self.handle_change(instance, change);
        }
        let is_older = |known: &LastEcho| known.instance == instance && known.sent > sent;
        if !self.echo.as_ref().is_some_and(is_older) {
            self.echo = Some(LastEcho { instance, sent });
        }
    }

    /// The last heartbeat of this node's that the peer has echoed, and what it leads.
    pub(crate) fn echoed(&self) -> Option<Echoed> {
        let instance = self.remote.as_ref().filter(|_| self.state == PeerState::Up)?.instance;
        let echo = self.echo.as_ref().filter(|echo| echo.instance == instance)?;
        let leads = self.word().map(|word| word.leads.keys().cloned().collect());
        Some(Echoed { sent: echo.sent, leads })
    }

    fn handle_change(&mut self, instance: u64, change: u64) {
        let known = self.heard_change.filter(|(of, _)| *of == instance);
        self.heard_change = Some((instance, known.map_or(change, |(_, known)| known.max(change))));
    }

    /// What the data plane says goes by this connection; the number is another whenever something may have been missed.
    pub(crate) fn carrier(&self) -> Option<(Id, u64)> {
        let current = self.current.filter(|_| self.state == PeerState::Up)?;
        Some((current, self.session))
    }

    /// What came before the hello waits for it.
    fn hand_flows(&mut self, id: Id) {
        let greeted = |it: &&mut Connection| it.id == id && it.hello.is_some();
        let Some(connection) = self.connections.iter_mut().find(greeted) else { return };
        while let Some(bytes) = connection.flows.poll() {
            self.actions.push_back(Action::Hand(bytes));
        }
    }

    fn count(&mut self, misfit: Misfit) {
        let counter = match misfit {
            Misfit::Unknown => &mut self.counters.unknown,
            Misfit::Malformed => &mut self.counters.malformed,
        };
        *counter = counter.saturating_add(1);
    }

    fn handle_hello(&mut self, id: Id, hello: Hello, now: Instant) {
        if *hello.node != *self.settings.peer.as_str() {
            let reason = format!(
                "whoever has a key of {} says that it is {}: compare `node` and `keys` in both files",
                self.settings.peer, hello.node
            );
            self.close(id, Code::WrongName);
            self.dial_failed(Failure::Refused(reason), now);
            return;
        }
        let Some(connection) = self.connections.iter_mut().find(|it| it.id == id) else { return };
        if connection.hello.is_some() {
            return;
        }
        connection.hello = Some(hello);
        connection.heard = true;
        match self.current {
            Some(current) if !self.is_better(id, current) => self.retire(id, now),
            Some(current) => {
                self.counters.replaced = self.counters.replaced.saturating_add(1);
                self.retire(current, now);
                self.adopt(id, now);
            }
            None => self.adopt(id, now),
        }
        self.hand_flows(id);
    }

    /// Whether `new` is to carry the link rather than `old`; the peer judges alike.
    fn is_better(&self, new: Id, old: Id) -> bool {
        let find = |id| self.connections.iter().find(|connection| connection.id == id);
        let (Some(new), Some(old)) = (find(new), find(old)) else { return true };
        let instance = |connection: &Connection| connection.hello.as_ref().map(|hello| hello.instance);
        let by_lower = |connection: &Connection| connection.ours == self.dials_first();
        instance(new) != instance(old) || by_lower(new) >= by_lower(old)
    }

    fn retire(&mut self, id: Id, now: Instant) {
        if let Some(connection) = self.connections.iter_mut().find(|it| it.id == id) {
            connection.retire_at = Some(after(now, RETIRE));
        }
    }

    fn adopt(&mut self, id: Id, now: Instant) {
        let Some(connection) = self.connections.iter_mut().find(|it| it.id == id) else { return };
        connection.retire_at = None;
        self.current = Some(id);
        self.address = Some(connection.address);
        // What a message said meanwhile is newer than the hello.
        let known = self.remote.take();
        let instance = |hello: &Hello| hello.instance;
        if self.state != PeerState::Up
            || known.as_ref().map(instance) != connection.hello.as_ref().map(instance)
        {
            self.session = self.session.wrapping_add(1);
        }
        self.remote = connection.hello.clone().map(|mut hello| {
            if let Some(known) = known.filter(|known| known.instance == hello.instance)
                && known.config.generation > hello.config.generation
            {
                hello.config = known.config;
            }
            hello
        });
        if connection.ours || !self.dial.anew {
            self.dial.anew = false;
            self.dial.at = None;
        }
        self.set_state(PeerState::Up, "heartbeats come", now);
        self.own.pushed = None;
        let say = self.teller.poll_all(now).into_iter().map(|it| Action::Say(id, Message::Serving(it)));
        self.actions.extend(say);
        self.say_changes(self.own.offer.is_some(), true);
        self.push(now);
    }

    fn current(&self) -> Option<&Connection> {
        self.connections.iter().find(|connection| Some(connection.id) == self.current)
    }

    fn close(&mut self, id: Id, code: Code) {
        if self.forget(id).is_some() {
            self.actions.push_back(Action::Close(id, code));
        }
    }

    /// Something came that is for somebody else: the peer lives.
    pub(crate) fn handle_alive(&mut self, id: Id, now: Instant) {
        if let Some(connection) = self.connections.iter_mut().find(|it| it.id == id) {
            connection.heard_at = now;
        }
    }

    /// A datagram came.
    pub(crate) fn handle_datagram(&mut self, id: Id, datagram: Result<Datagram, Misfit>, now: Instant) {
        let Some(connection) = self.connections.iter_mut().find(|it| it.id == id) else { return };
        match datagram {
            Ok(Datagram::Beat(number, change)) => {
                if connection.handle_beat(number, now) {
                    let instance = connection.hello.as_ref().map(|hello| hello.instance);
                    if let Some((instance, change)) = instance.zip(change) {
                        self.handle_change(instance, change);
                    }
                    self.counters.beats_received = self.counters.beats_received.saturating_add(1);
                    let change = Some(self.said.change);
                    self.actions.push_back(Action::Send(id, Datagram::Echo(number, change)));
                } else {
                    self.counters.stale = self.counters.stale.saturating_add(1);
                }
            }
            Ok(Datagram::Echo(number, change)) => match connection.handle_echo(number, now) {
                Some(sent) => {
                    self.counters.echoes = self.counters.echoes.saturating_add(1);
                    if let Some(hello) = &connection.hello {
                        let instance = hello.instance;
                        self.handle_echoed(instance, sent, change);
                    }
                    if self.current == Some(id) {
                        let round_trip = now.saturating_duration_since(sent);
                        self.round_trip = Some(smoothed(self.round_trip, round_trip));
                    }
                }
                None => self.counters.stale = self.counters.stale.saturating_add(1),
            },
            Err(misfit) => self.count(misfit),
        }
    }

    /// A message that was too long to be read, or did not end in time.
    pub(crate) fn handle_unreadable(&mut self) {
        self.count(Misfit::Malformed);
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
        if !self.dial.pending && self.dial.at.is_some_and(|at| at <= now) {
            self.dial.at = None;
            self.dial.pending = true;
            self.counters.dials = self.counters.dials.saturating_add(1);
            self.actions.push_back(Action::Dial { attempt: self.dial.attempt });
            self.dial.attempt = self.dial.attempt.wrapping_add(1);
        }
    }

    fn end(&mut self, id: Id, code: Code, now: Instant) {
        let is_current = self.current == Some(id);
        self.close(id, code);
        if code == Code::Silent {
            self.counters.silent = self.counters.silent.saturating_add(1);
            let failure =
                Failure::Lost(format!("nothing was heard of it for {} ms", self.silence().as_millis()));
            if is_current {
                self.lost(failure, now);
            } else if self.current.is_none() {
                self.dial_failed(failure, now);
            }
        }
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

/// An eighth of the newest.
fn smoothed(old: Option<Duration>, new: Duration) -> Duration {
    old.map_or(new, |old| old.saturating_mul(7).saturating_add(new).checked_div(8).unwrap_or(new))
}
