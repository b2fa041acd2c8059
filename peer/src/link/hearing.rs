//! What comes from the peer: messages, heartbeats and their echoes.

use super::connection::Connection;
use super::{Action, Code, Failure, Id, LastEcho, Link};
use crate::border::{Echoed, PeerState, Word};
use crate::message::{Datagram, Hello, Message, Misfit, Said};
use crate::serving::Services;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Link {
    /// A message came, on this stream of the connection: those with higher numbers were said later.
    pub(crate) fn handle_message(
        &mut self,
        id: Id,
        stream: u64,
        message: Result<Message, Misfit>,
        now: Instant,
    ) {
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
                    Message::Offer(offer) => connection.theirs.offer.handle(stream, offer),
                    Message::Answer(answer) => connection.theirs.answer.handle(stream, Some(answer)),
                    Message::Text(text) => connection.theirs.text.handle(stream, Some(text)),
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
        self.choose(id, now);
        self.hand_flows(id);
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

    /// What came before the hello waits for it.
    fn hand_flows(&mut self, id: Id) {
        let greeted = |it: &&mut Connection| it.id == id && it.hello.is_some();
        let Some(connection) = self.connections.iter_mut().find(greeted) else { return };
        while let Some(bytes) = connection.flows.poll() {
            self.actions.push_back(Action::Hand(bytes));
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

    fn handle_change(&mut self, instance: u64, change: u64) {
        let known = self.heard_change.filter(|(of, _)| *of == instance);
        self.heard_change = Some((instance, known.map_or(change, |(_, known)| known.max(change))));
    }

    /// Something came that is for somebody else: the peer lives.
    pub(crate) fn handle_alive(&mut self, id: Id, now: Instant) {
        if let Some(connection) = self.connections.iter_mut().find(|it| it.id == id) {
            connection.heard_at = now;
        }
    }

    /// A message that was too long to be read, or did not end in time.
    pub(crate) fn handle_unreadable(&mut self) {
        self.count(Misfit::Malformed);
    }

    fn count(&mut self, misfit: Misfit) {
        let counter = match misfit {
            Misfit::Unknown => &mut self.counters.unknown,
            Misfit::Malformed => &mut self.counters.malformed,
        };
        *counter = counter.saturating_add(1);
    }

    /// What the peer says of its adverts, unless that has changed since.
    pub(super) fn word(&self) -> Option<Arc<Word>> {
        let instance = self.remote.as_ref().filter(|_| self.state == PeerState::Up)?.instance;
        let said = self.heard.as_ref().filter(|said| said.instance == instance)?;
        let newer = |(of, change): (u64, u64)| of == instance && change > said.change;
        (!self.heard_change.is_some_and(newer)).then(|| Arc::clone(&said.word))
    }

    /// What the peer says of forwarded services.
    pub(super) fn serving(&self) -> Arc<Services> {
        let remote = self.remote.as_ref().filter(|_| self.state == PeerState::Up);
        remote.map(|remote| self.hearer.services(remote.instance)).unwrap_or_default()
    }

    /// The last heartbeat of this node's that the peer has echoed, and what it leads.
    pub(crate) fn echoed(&self) -> Option<Echoed> {
        let instance = self.remote.as_ref().filter(|_| self.state == PeerState::Up)?.instance;
        let echo = self.echo.as_ref().filter(|echo| echo.instance == instance)?;
        let leads = self.word().map(|word| word.leads.keys().cloned().collect());
        Some(Echoed { sent: echo.sent, leads })
    }
}

/// An eighth of the newest.
fn smoothed(old: Option<Duration>, new: Duration) -> Duration {
    old.map_or(new, |old| old.saturating_mul(7).saturating_add(new).checked_div(8).unwrap_or(new))
}
