//! Doing what the links want: dialing, saying, closing.

use super::connection::{Event, dial, say};
use super::{Driver, close};
use crate::link::{Action, Code, Failure, Link};
use crate::message::Message;
use crate::tls;
use fulcrum_config::{KeyPin, NodeName};
use std::collections::BTreeSet;

impl Driver {
    /// Does what the links want.
    pub(super) fn act(&mut self) {
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
}
