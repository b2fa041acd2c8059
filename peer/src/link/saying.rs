//! What this node says: of its configuration and changes of it, of its adverts, of forwarded services.

use super::{Action, Link, Own, after};
use crate::border::{Answer, Offer, PeerConfig, PeerState, Text, Word};
use crate::message::Message;
use crate::serving::Services;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time until a peer that is behind is sent again what runs here.
const PUSH: Duration = Duration::from_secs(5);

impl Link {
    /// This node runs another configuration.
    pub(crate) fn handle_config(&mut self, config: PeerConfig) {
        if self.hello.config != config {
            self.hello.config = config;
            let say = self.connections.iter().map(|it| Action::Say(it.id, Message::Config(config)));
            self.actions.extend(say);
        }
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

    /// This node says something else of forwarded services.
    pub(crate) fn handle_serving(&mut self, services: Arc<Services>, now: Instant) {
        self.teller.handle(services);
        let Some(id) = self.current else { return };
        let say = self.teller.poll_changes(now).into_iter().map(|it| Action::Say(id, Message::Serving(it)));
        self.actions.extend(say);
    }

    #[cfg(test)]
    pub(super) fn teller_wants(&self) -> Arc<Services> {
        self.teller.wanted()
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

    pub(super) fn say_changes(&mut self, offer: bool, answer: bool) {
        let Some(id) = self.current else { return };
        let offer = offer.then(|| Message::Offer(self.own.offer.clone()));
        let answer = self.own.answer.clone().filter(|_| answer).map(Message::Answer);
        self.actions.extend(offer.into_iter().chain(answer).map(|message| Action::Say(id, message)));
    }

    /// Sends a peer that is behind what runs here.
    pub(super) fn push(&mut self, now: Instant) {
        let Some((id, text)) = self.current.zip(self.behind()) else { return };
        if self.own.pushed.is_some_and(|(serial, again)| serial == text.serial && now < again) {
            return;
        }
        self.own.pushed = Some((text.serial, after(now, PUSH)));
        self.actions.push_back(Action::Say(id, Message::Text(text)));
    }

    /// What the peer is to be sent, if it is behind.
    pub(super) fn behind(&self) -> Option<Arc<Text>> {
        let serial = self.remote.as_ref().filter(|_| self.state == PeerState::Up)?.config.serial;
        // An older version has no number.
        let is_behind =
            |text: &Arc<Text>| serial > 0 && text.serial > serial && text.serial == self.hello.config.serial;
        self.own.text.clone().filter(is_behind)
    }
}
