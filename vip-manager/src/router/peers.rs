//! Who sent an advert, and which of two nodes a tie is for.

use super::spec::{RouterSpec, is_link_local};
use super::{Peer, Router, State};
use crate::advert::{Advert, Refusal};
use crate::border::PeerSeen;
use fulcrum_config::{Adverts, Link, NodeKind, NodeName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

/// What an accepted advert had that it should not: to be counted and logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Noted {
    /// Its addresses are not ours (RFC 9568 section 7.1: not a reason to drop it).
    pub addresses_differ: bool,
    /// Its interval is not ours (a standby learns the leader's).
    pub interval_differs: bool,
    /// Its source is no configured node.
    pub unknown_source: bool,
}

/// Whether a node of ours may send from `source`: it is a configured node's, or one that nobody configures.
pub(super) fn is_peers_own(spec: &RouterSpec, source: IpAddr) -> bool {
    is_link_local(source) || spec.peers.iter().any(|peer| peer.addresses.contains(&source))
}

/// The leader that a standby follows.
#[derive(Debug)]
pub(super) struct Following {
    pub(super) peer: PeerSeen,
    /// Its source address on each link where it was heard.
    sources: BTreeMap<Link, IpAddr>,
}

impl Following {
    fn is(&self, node: Option<&NodeName>, link: &Link, source: IpAddr) -> bool {
        match (&self.peer.node, node) {
            (Some(known), Some(node)) => known == node,
            (Some(_), None) | (None, Some(_)) | (None, None) => {
                self.sources.get(link).is_none_or(|known| *known == source)
            }
        }
    }
}

/// The last resignation that was accepted.
#[derive(Debug)]
pub(super) struct Resigned {
    by: Following,
    pub(super) at: Instant,
}

impl Router {
    /// The checks of RFC 9568 section 7.1 that need to know the group.
    pub(super) fn admit(
        &mut self,
        link: &Link,
        source: IpAddr,
        advert: &Advert,
        now: Instant,
    ) -> Result<Noted, Refusal> {
        let Some(spec) = self.spec.link(link).filter(|_| advert.vrid == self.spec.vrid) else {
            return Err(Refusal::UnknownVrid(advert.vrid.get()));
        };
        if self.links.get(link).copied().flatten() == Some(source) {
            return Err(Refusal::OwnAddress);
        }
        let peer = self.peer(source);
        if peer.is_none() && self.spec.adverts == Adverts::Unicast {
            return Err(Refusal::NotAPeer);
        }
        let theirs: BTreeSet<&IpAddr> = advert.addresses.iter().collect();
        let noted = Noted {
            addresses_differ: theirs != spec.listed.iter().collect(),
            interval_differs: advert.interval != self.spec.interval,
            unknown_source: peer.is_none(),
        };
        let foreign = peer.is_some_and(|peer| peer.kind == NodeKind::Foreign);
        if self.is_stale(link, source, advert, now) {
            return Err(Refusal::AfterResignation);
        }
        if foreign {
            self.checksums.insert(link.clone(), advert.checksum);
        }
        Ok(noted)
    }

    /// The configured node that sends from `source`. A link-local address that nobody configured is, in a
    /// pair, the other node's; not with unicast adverts, which leave from configured addresses.
    pub(super) fn peer(&self, source: IpAddr) -> Option<&Peer> {
        let by_address = self.spec.peers.iter().find(|peer| peer.addresses.contains(&source));
        match (by_address, self.spec.peers.as_slice()) {
            (Some(peer), _) => Some(peer),
            (None, [only]) if self.spec.adverts == Adverts::Multicast && is_link_local(source) => Some(only),
            (None, _) => None,
        }
    }

    pub(super) fn seen(&self, source: IpAddr, advert: &Advert) -> PeerSeen {
        PeerSeen {
            node: self.peer(source).map(|peer| peer.node.clone()),
            address: source,
            priority: advert.priority,
        }
    }

    /// Remembers who leads.
    pub(super) fn follow(&mut self, link: &Link, source: IpAddr, advert: &Advert) {
        let seen = self.seen(source, advert);
        match &mut self.following {
            Some(following) if following.is(seen.node.as_ref(), link, source) => {
                following.sources.insert(link.clone(), source);
                if seen.node.is_some() || following.peer.node.is_none() {
                    following.peer = seen;
                }
            }
            Some(_) | None => {
                let sources = BTreeMap::from([(link.clone(), source)]);
                self.following = Some(Following { peer: seen, sources });
                self.saw_new_leader();
            }
        }
    }

    /// Forgets the leader that resigned.
    ///
    /// # Errors
    /// Another one leads.
    pub(super) fn unfollow(
        &mut self,
        link: &Link,
        source: IpAddr,
        advert: &Advert,
        now: Instant,
    ) -> Result<(), Refusal> {
        let seen = self.seen(source, advert);
        match self.following.take() {
            Some(following) if !following.is(seen.node.as_ref(), link, source) => {
                self.following = Some(following);
                return Err(Refusal::NotTheLeader);
            }
            Some(by) => self.resigned = Some(Resigned { by, at: now }),
            None => {
                let sources = BTreeMap::from([(link.clone(), source)]);
                self.resigned = Some(Resigned { by: Following { peer: seen, sources }, at: now });
            }
        }
        Ok(())
    }

    /// Whether an advert was sent before its sender's resignation, which overtook it on the way.
    fn is_stale(&self, link: &Link, source: IpAddr, advert: &Advert, now: Instant) -> bool {
        let Some(resigned) = &self.resigned else { return false };
        let node = self.peer(source).map(|peer| &peer.node);
        advert.priority != 0
            && now.saturating_duration_since(resigned.at) < advert.interval.duration()
            && resigned.by.is(node, link, source)
            && resigned.by.sources.contains_key(link)
    }

    /// Whether a sender of equal priority has the better claim.
    pub(super) fn loses_tie(&self, link: &Link, source: IpAddr) -> bool {
        let ours = self.links.get(link).copied().flatten();
        let by_link = ours.is_none_or(|ours| source > ours);
        let deciding = self.spec.links.first().is_some_and(|first| first.link == *link);
        match self.peer(source) {
            Some(peer) if peer.kind == NodeKind::Foreign => by_link,
            Some(peer) => match (peer.deciding_address, self.spec.deciding_address) {
                (Some(theirs), Some(ours)) => theirs > ours,
                (Some(_), None) | (None, Some(_)) | (None, None) => by_link,
            },
            // An IPv6 link-local address that nobody configured, among three nodes or more.
            None if !deciding && is_link_local(source) => self.unknown_wins(by_link),
            None => by_link,
        }
    }

    /// A tie with one of several nodes: if all of them are on one side of ours, so is it. Otherwise the
    /// deciding link decides, as long as a rival is heard there.
    fn unknown_wins(&self, by_link: bool) -> bool {
        let Some(ours) = self.spec.deciding_address else { return by_link };
        let theirs: Vec<IpAddr> = self.spec.peers.iter().filter_map(|peer| peer.deciding_address).collect();
        if theirs.iter().all(|address| *address > ours) {
            return true;
        }
        if theirs.iter().all(|address| *address < ours) {
            return false;
        }
        match &self.state {
            State::Leader(leader) if leader.has_known_rival() => false,
            State::Init | State::Standby(_) | State::Leader(_) => by_link,
        }
    }

    /// Whether this node is the one that takes over at once when the sender resigns: the sender is a node of
    /// ours, and of the others this one has the highest configured priority.
    pub(super) fn is_successor_of(&self, source: IpAddr) -> bool {
        let Some(resigner) = self.peer(source).filter(|peer| peer.kind == NodeKind::Fulcrum) else {
            return false;
        };
        let ours = (self.spec.priority, self.spec.deciding_address);
        let mut others = self.spec.peers.iter().filter(|peer| peer.node != resigner.node);
        others.all(|peer| (peer.priority, peer.deciding_address) < ours)
    }
}
