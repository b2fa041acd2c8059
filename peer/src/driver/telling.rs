//! Telling what is known of the peers: changes of state at once, counters and round trips now and then.

use super::{Driver, state};
use crate::border::{Answer, Observed, Offer, PeerConfig, PeerState, Text, Word};
use crate::serving::Services;
use fulcrum_config::NodeName;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often counters and round trips are told; changes of state are told at once.
const TELL: Duration = Duration::from_millis(500);

/// What is told at once when it changes.
pub(super) type Told = (
    PeerState,
    Option<PeerConfig>,
    Option<Arc<Word>>,
    Option<Arc<Offer>>,
    Option<Arc<Answer>>,
    Option<Arc<Text>>,
    Arc<Services>,
);

impl Driver {
    /// Tells what is known, at once if a state changed.
    pub(super) fn tell(&mut self, observed: &watch::Sender<Observed>, now: Instant) {
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

    /// Tells whoever wants to know which heartbeats were echoed.
    pub(super) fn tell_echoes(&mut self) {
        let Some(tell) = &mut self.options.echoes else { return };
        let echoes = self.links.iter().filter_map(|(name, link)| Some((name.clone(), link.echoed()?)));
        let echoes: BTreeMap<_, _> = echoes.collect();
        if self.echoes != echoes {
            self.echoes.clone_from(&echoes);
            tell(echoes);
        }
    }
}
