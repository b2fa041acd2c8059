//! One link: a few questions, and all that is heard in answer and of adverts.
#![allow(clippy::disallowed_methods, reason = "a driver: it asks, waits and listens")]

use crate::arp::{self, Arp};
use crate::driver::Identity;
use crate::frame::Mac;
use crate::ndp::{self, Ndp, Solicitation};
use crate::sockets::{NeighbourSocket, SenderSocket, VrrpSocket};
use crate::sys;
use fulcrum_config::Link;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Adverts of others come every second unless somebody chose otherwise: three of those.
const LISTEN: Duration = Duration::from_millis(3200);
/// An address that does not answer is asked again after this time,
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// as often as this in all.
const QUESTIONS: u32 = 3;
/// Frames that are sent at once; more wait for the next look.
const AT_ONCE: usize = 64;
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(5);
const FRAME_BYTES: usize = 2048;

/// Who is asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Questions {
    pub(super) vips: BTreeSet<IpAddr>,
    /// Addresses of the other nodes.
    pub(super) nodes: BTreeSet<IpAddr>,
    pub(super) gateways: BTreeSet<IpAddr>,
    /// Addresses that nobody should have.
    pub(super) free: BTreeSet<IpAddr>,
    /// Whether frames from a MAC that is not the interface's must come back.
    pub(super) foreign_mac: bool,
}

impl Questions {
    fn all(&self) -> BTreeSet<IpAddr> {
        [&self.vips, &self.nodes, &self.gateways, &self.free].into_iter().flatten().copied().collect()
    }
}

/// What was heard.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Who has each address.
    pub(super) answers: BTreeMap<IpAddr, BTreeSet<Mac>>,
    /// Source, VRID and MAC of adverts.
    pub(super) adverts: BTreeSet<(IpAddr, u8, Mac)>,
    /// Source and VRID of those that speak VRRPv2.
    pub(super) version_2: BTreeSet<(IpAddr, u8)>,
    /// The MAC that was borrowed, and whether an answer came to it; none if nobody was there to answer.
    pub(super) foreign: Option<(Mac, bool)>,
}

/// Asks and listens.
pub(super) fn sweep(link: &Link, identity: &Identity, questions: &Questions) -> io::Result<Heard> {
    let mut sweep = Sweep::open(link, identity, questions)?;
    let begun = Instant::now();
    let mut round = 0;
    let mut waiting: Vec<IpAddr> = Vec::new();
    while begun.elapsed() < LISTEN {
        if waiting.is_empty() && round < QUESTIONS && begun.elapsed() >= ASK_AGAIN.saturating_mul(round) {
            round = round.saturating_add(1);
            let all = sweep.all.iter().copied();
            waiting = all.filter(|address| !sweep.heard.answers.contains_key(address)).collect();
        }
        let now = waiting.split_off(waiting.len().saturating_sub(AT_ONCE));
        for address in now {
            sweep.ask(address)?;
        }
        sweep.borrow_mac()?;
        sweep.read()?;
        std::thread::sleep(LOOK);
    }
    Ok(sweep.heard)
}

struct Sweep<'a> {
    identity: &'a Identity,
    questions: &'a Questions,
    all: BTreeSet<IpAddr>,
    neighbour: NeighbourSocket,
    senders: SenderSocket,
    /// Holds the membership of the group that adverts go to.
    _group: VrrpSocket,
    heard: Heard,
    /// When it was last asked from the foreign MAC.
    asked: Option<Instant>,
}

impl<'a> Sweep<'a> {
    fn open(link: &Link, identity: &'a Identity, questions: &'a Questions) -> io::Result<Self> {
        let mut neighbour = NeighbourSocket::open(link.family, identity.index)?;
        let all = questions.all();
        neighbour.hear(&all.iter().copied().collect::<Vec<_>>())?;
        let mut senders = SenderSocket::open(link.family, identity.index)?;
        senders.listen(true)?;
        let group = VrrpSocket::open(link.interface.as_str(), identity.index, identity.source, None)?;
        let heard = Heard::default();
        Ok(Self { identity, questions, all, neighbour, senders, _group: group, heard, asked: None })
    }

    fn mac(&self) -> Mac {
        Mac::from(self.identity.mac)
    }

    /// Without claiming anything: by a probe (RFC 5227), or from this node's own address.
    fn ask(&self, address: IpAddr) -> io::Result<()> {
        let is_machine =
            self.questions.nodes.contains(&address) || self.questions.gateways.contains(&address);
        let frame = match (address, self.identity.source) {
            (IpAddr::V4(address), IpAddr::V4(source)) if is_machine => {
                Arp::request(self.mac(), source, address).encode()
            }
            (IpAddr::V4(address), _) => Arp::probe(self.mac(), address).encode(),
            (IpAddr::V6(address), IpAddr::V6(source)) => {
                Solicitation::new(self.mac(), source, address).encode()
            }
            (IpAddr::V6(_), IpAddr::V4(_)) => return Ok(()),
        };
        self.neighbour.send(&frame)
    }

    /// Asks a neighbour that is there, from a MAC that nobody has.
    fn borrow_mac(&mut self) -> io::Result<()> {
        if !self.questions.foreign_mac || self.heard.foreign.is_some_and(|(_, came)| came) {
            return Ok(());
        }
        let others = || self.questions.nodes.iter().chain(&self.questions.gateways);
        let there = others().find(|address| self.heard.answers.contains_key(address));
        let Some(IpAddr::V4(neighbour)) = there else { return Ok(()) };
        if self.asked.is_some_and(|asked| asked.elapsed() < ASK_AGAIN.saturating_mul(2)) {
            return Ok(());
        }
        let mac = match self.heard.foreign {
            Some((mac, _)) => mac,
            None => {
                // Administered locally, for one station.
                let [a, b, c, d, ..] = fastrand::u64(..).to_be_bytes();
                let mac = Mac::new(0x02, 0xfc, a, b, c, d);
                sys::hear_mac(self.neighbour.as_fd(), self.identity.index, mac.octets())?;
                mac
            }
        };
        self.heard.foreign = Some((mac, false));
        self.asked = Some(Instant::now());
        self.neighbour.send(&Arp::probe(mac, *neighbour).encode())
    }

    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; FRAME_BYTES];
        while let Some(length) = self.neighbour.receive(&mut buffer)? {
            let frame = buffer.get(..length).unwrap_or_default();
            if self.identity.source.is_ipv4() {
                if let Ok(arp) = arp::decode(frame) {
                    self.handle_arp(&arp);
                }
            } else if let Ok(Ndp::Advertisement(answer)) = ndp::decode(frame) {
                self.handle_claim(answer.target.into(), answer.target_mac);
            }
        }
        self.senders.read();
        self.heard.adverts.extend(self.senders.seen().copied());
        self.heard.version_2.extend(self.senders.version_2().copied());
        Ok(())
    }

    fn handle_arp(&mut self, arp: &Arp) {
        if let Some((mac, came)) = &mut self.heard.foreign
            && arp.operation == arp::Operation::Reply
            && arp.target_mac == *mac
        {
            *came = true;
        }
        if let Some((address, mac)) = arp.claim() {
            self.handle_claim(address.into(), mac);
        }
    }

    fn handle_claim(&mut self, address: IpAddr, mac: Mac) {
        if self.all.contains(&address) {
            self.heard.answers.entry(address).or_default().insert(mac);
        }
    }
}
