//! Which of several connections is kept, and what becomes of the others.

use super::connection::Connection;
use super::{Action, Code, Failure, Id, Link, after};
use crate::border::PeerState;
use crate::message::{Hello, Message};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Connections of one peer at a time.
pub(super) const CONNECTIONS_AT_MOST: usize = 4;
/// How long a connection that was replaced stays.
const RETIRE: Duration = Duration::from_secs(1);

impl Link {
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

    pub(super) fn end(&mut self, id: Id, code: Code, now: Instant) {
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

    pub(super) fn close(&mut self, id: Id, code: Code) {
        if self.forget(id).is_some() {
            self.actions.push_back(Action::Close(id, code));
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
        self.dial.anew = false;
        self.dial.at = self.first_dial(now);
        self.note(failure, now);
    }

    /// The peer has said who it is on this one: it carries the link from now on, or goes.
    pub(super) fn choose(&mut self, id: Id, now: Instant) {
        match self.current {
            Some(current) if !self.is_better(id, current) => self.retire(id, now),
            Some(current) => {
                self.counters.replaced = self.counters.replaced.saturating_add(1);
                self.retire(current, now);
                self.adopt(id, now);
            }
            None => self.adopt(id, now),
        }
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
        // What is still on its way on another one may not be heard any more.
        self.session = self.session.wrapping_add(1);
        // What a message said meanwhile is newer than the hello.
        let known = self.remote.take();
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
        self.say_changes(true, true);
        self.push(now);
    }
}
