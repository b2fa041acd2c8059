//! Flows between the kernel's tables, where backends have indexes, and the words of other nodes, where they don't.

use super::{Kernel, monotonic};
use crate::plane::book::{Places, transport};
use crate::plane::live::Change;
use crate::plane::telling::All;
use crate::plane::told::Told;
use fulcrum_config::Protocol;
use fulcrum_ebpf::plane::layout::{Endpoint, Flow, MAX_SERVICES, Pin};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// What became of a flow that another node told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It is here now, of the service of this index.
    Of(u32),
    /// As much or more was known here.
    Known,
    /// Its service, backend or source is not here, or the kernel refuses.
    Misfit,
}

/// News of a flow that began or ended.
#[derive(Debug)]
pub(crate) struct News {
    /// The index of its backend.
    pub(crate) backend: u32,
    pub(crate) change: Change,
    /// The same for other nodes; nothing of a backend that was never told.
    pub(crate) told: Option<Told>,
}

impl Kernel {
    /// Is readable once there is news.
    pub(crate) fn news_file(&self) -> io::Result<OwnedFd> {
        self.plane.events().try_clone_to_owned()
    }

    /// Whether anybody, here or elsewhere, is to be told of flows; the kernel hears of it by the next [`Kernel::tell`].
    pub(crate) fn set_heard(&mut self, heard: bool) {
        self.heard = heard;
    }

    /// Flows that began or ended, `most` at a time.
    pub(crate) fn news(&mut self, most: usize) -> Vec<News> {
        let now = monotonic();
        let mut news = Vec::new();
        while news.len() < most
            && let Some(event) = self.plane.next_event()
        {
            let change = if event.pin.begins() {
                Change::Begun
            } else if event.pin.has_just_ended() {
                Change::Ended
            } else {
                Change::Other
            };
            let told = self.in_words(&event.flow, &event.pin, now);
            news.push(News { backend: event.pin.backend(), change, told });
        }
        news
    }

    /// The flows that are here.
    pub(crate) fn all(&self, which: All) -> impl Iterator<Item = Told> + '_ {
        let now = monotonic();
        let flows = self.plane.flows().filter(move |(_, pin)| which == All::Known || pin.is_seen());
        flows.filter_map(move |(flow, pin)| self.in_words(&flow, &pin, now))
    }

    fn in_words(&self, flow: &Flow, pin: &Pin, now: Duration) -> Option<Told> {
        let (client, vip) = flow.ends();
        let (ip, port) = self.told.backends.get(&pin.backend())?.address();
        Some(Told {
            protocol: if flow.is_tcp() { Protocol::Tcp } else { Protocol::Udp },
            client,
            vip,
            backend: SocketAddr::new(ip, port),
            source: pin.source(),
            ended: pin.ended(),
            silent: now.saturating_sub(Duration::from_nanos(pin.seen)),
        })
    }

    /// Another node told of a flow.
    pub(crate) fn hear(&mut self, told: &Told, places: &Places) -> Heard {
        let transport = transport(told.protocol);
        let service = self.told.endpoints.get(&Endpoint::new(told.vip, transport)).copied();
        let Some(service) = service.filter(|service| *service < MAX_SERVICES) else { return Heard::Misfit };
        let Some(backend) = places.backend(service, told.backend, told.source) else { return Heard::Misfit };
        let flow = Flow::new(told.client, told.vip, transport);
        let seen = monotonic().saturating_sub(told.silent);
        let seen = u64::try_from(seen.as_nanos()).unwrap_or(u64::MAX);
        let pin = Pin::heard_of(backend, told.source, told.ended, seen);
        let known = self.plane.flow(&flow);
        if known.is_some_and(|known| known == pin || (known.is_seen() && known.seen > seen)) {
            return Heard::Known;
        }
        match self.plane.set_flow(&flow, &pin, service) {
            Ok(()) => Heard::Of(service),
            Err(_) => Heard::Misfit,
        }
    }
}
