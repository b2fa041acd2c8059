//! What happens on the connections: each event goes to the link of its peer.

use super::connection::{self, Event, carry, say_all};
use super::{Driver, Held, close, pin_of_peer};
use crate::link::{Code, Failure, Id, Link};
use crate::message::{Datagram, ELECTION};
use fulcrum_config::NodeName;
use quinn::Connection;
use std::time::Instant;
use tokio::sync::mpsc;

/// Portions of what is said of forwarded services that wait to be sent: more than all of them together.
const PORTIONS: usize = 4096;

impl Driver {
    pub(super) fn handle_event(&mut self, event: Event, now: Instant) {
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
            Event::Message { id, stream, message } => {
                if let Some(link) = self.link_of(id) {
                    link.handle_message(id, stream, message, now);
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
        tokio::spawn(carry(id, connection.clone(), self.events.clone(), self.flows.full()));
        if let Some(link) = self.links.get_mut(&peer) {
            link.handle_connected(id, dialed.is_some(), address, now);
        }
        let (bulk, messages) = mpsc::channel(PORTIONS);
        tokio::spawn(say_all(connection.clone(), messages));
        self.connections.insert(id, Held { peer, pin, connection, bulk, flows: 0 });
    }
}
