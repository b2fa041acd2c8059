//! Doing what is desired, as a difference: keys, sockets, links to the peers there are, and what they are to be told.

use super::{Driver, Held, close, state};
use crate::border::{Changes, Desired, LinkState, PeerConfig, Word};
use crate::key;
use crate::link::{Code, Link, Settings};
use crate::tls;
use fulcrum_config::{Config, KeyPin, NodeName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time between heartbeats to a peer at most, however many there are.
const BEAT_AT_MOST: Duration = Duration::from_millis(400);
/// Time between tries of what could not be had: a key, a port.
const AGAIN: Duration = Duration::from_secs(5);

impl Driver {
    pub(super) fn handle_desired(&mut self, desired: Desired, now: Instant) {
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

    /// Does what is desired, as a difference.
    pub(super) fn apply(&mut self, now: Instant) {
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

    /// Tells the peers what there is to say of this node's adverts.
    fn say_words(&mut self) {
        let Desired { word, answers, .. } = &self.desired;
        for (name, link) in &mut self.links {
            let answers = answers.get(name).cloned().unwrap_or_default();
            link.handle_word(Word { answers, ..word.clone() });
        }
    }

    /// Tells the peers what there is to say of changes of the configuration.
    pub(super) fn say_changes(&mut self, now: Instant) {
        let Changes { offer, answers, text } = &self.desired.changes;
        for (name, link) in &mut self.links {
            link.handle_changes(offer.clone(), answers.get(name).cloned(), text.clone(), now);
        }
    }

    /// Tells the peers what there is to say of forwarded services.
    fn say_serving(&mut self, now: Instant) {
        for link in self.links.values_mut() {
            link.handle_serving(Arc::clone(&self.desired.serving), now);
        }
    }
}

/// Time between heartbeats to each of so many peers, if it is `beat` to two of them: the more there are, the less each needs
/// to say, for any one's echo does.
pub(super) fn among(peers: usize, beat: Duration) -> Duration {
    let peers = u32::try_from(peers).unwrap_or(u32::MAX);
    let spread = beat.saturating_mul(peers.max(2)).checked_div(2).unwrap_or(beat);
    spread.min(BEAT_AT_MOST).max(beat)
}

/// The keys of each node but this one.
fn peers(config: &Config) -> BTreeMap<NodeName, BTreeSet<KeyPin>> {
    let others = config.peer.pins.iter().filter(|(name, _)| **name != config.node);
    others.map(|(name, pins)| (name.clone(), pins.iter().copied().collect())).collect()
}
