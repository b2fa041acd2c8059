//! Who is to apply what, as far as this node knows: pure functions of what the peers say.
//!
//! A change is offered to every peer whose link is up. Each checks it as if it were its own; only when all would apply
//! it is it applied here, with a serial number above all others, and every peer whose number is lower then is sent it
//! and applies it, too. So whatever is lost on the way, or dies: what nobody applied is nowhere, and what somebody
//! applied comes to all who can be reached, now or later.

use fulcrum_config::NodeName;
use fulcrum_peer::{Offer, PeerObserved, PeerState, Text};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[cfg(test)]
mod tests;

type Peers = BTreeMap<NodeName, PeerObserved>;

/// How an offer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Vote {
    /// Somebody has not answered yet.
    Waiting,
    /// All would apply it; its serial number.
    Agreed(u64),
    /// Some would not, each with the reasons.
    Refused(Vec<(NodeName, Vec<String>)>),
    /// The link to one ended.
    Lost(NodeName),
    /// Another node offers something else at the same time, and goes first.
    Second(NodeName),
}

/// What a node does for its peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Task {
    /// Nothing now.
    Nothing,
    /// Answer whether this would be applied.
    Check(NodeName, Arc<Offer>),
    /// Apply what a peer runs.
    CatchUp(NodeName, Arc<Text>),
}

/// Those who are asked: their links are up, and their version knows the question.
pub(crate) fn voters(peers: &Peers) -> BTreeSet<NodeName> {
    let asked = |peer: &PeerObserved| {
        peer.state == PeerState::Up && peer.config.is_some_and(|config| config.serial > 0)
    };
    peers.iter().filter(|(_, peer)| asked(peer)).map(|(name, _)| name.clone()).collect()
}

/// The number of a change that comes after all that is known.
pub(crate) fn next_serial(own: u64, peers: &Peers) -> u64 {
    let configs = peers.values().filter_map(|peer| Some(peer.config?.serial));
    let answers = peers.values().filter_map(|peer| Some(peer.answer.as_ref()?.serial));
    configs.chain(answers).fold(own, u64::max).saturating_add(1)
}

/// How the offer `number` of the node `own`, which runs `serial`, stands.
pub(crate) fn vote(
    own: &NodeName,
    serial: u64,
    number: u64,
    voters: &BTreeSet<NodeName>,
    peers: &Peers,
) -> Vote {
    let offers = peers.iter().filter(|(_, peer)| peer.state == PeerState::Up && peer.offer.is_some());
    if let Some(first) = offers.map(|(name, _)| name).find(|name| *name < own) {
        return Vote::Second(first.clone());
    }
    let mut refused = Vec::new();
    let mut waiting = false;
    for name in voters {
        let Some(peer) = peers.get(name).filter(|peer| peer.state == PeerState::Up) else {
            return Vote::Lost(name.clone());
        };
        match peer.answer.as_ref().filter(|answer| answer.number == number) {
            Some(answer) if answer.errors.is_empty() => {}
            Some(answer) => refused.push((name.clone(), answer.errors.clone())),
            None => waiting = true,
        }
    }
    match (refused.is_empty(), waiting) {
        (false, _) => Vote::Refused(refused),
        (true, true) => Vote::Waiting,
        (true, false) => Vote::Agreed(next_serial(serial, peers)),
    }
}

/// What is to be done for the peers by a node that runs `serial` and has answered these offers. What could not be
/// applied is not tried again while it is `refused`.
pub(crate) fn task(
    serial: u64,
    answered: &BTreeMap<NodeName, u64>,
    refused: Option<u64>,
    peers: &Peers,
) -> Task {
    let newer = peers.iter().filter_map(|(name, peer)| Some((name, peer.text.as_ref()?)));
    let newer = newer.filter(|(_, text)| text.serial > serial && Some(text.serial) != refused);
    // Of two that are equally new, that of the lower name.
    if let Some((name, text)) = newer.rev().max_by_key(|(_, text)| text.serial) {
        return Task::CatchUp(name.clone(), Arc::clone(text));
    }
    let offers = peers.iter().filter_map(|(name, peer)| Some((name, peer.offer.as_ref()?)));
    let mut unanswered = offers.filter(|(name, offer)| answered.get(*name) != Some(&offer.number));
    match unanswered.next() {
        Some((name, offer)) => Task::Check(name.clone(), Arc::clone(offer)),
        None => Task::Nothing,
    }
}
