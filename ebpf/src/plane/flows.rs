//! The flows that are known one by one: those whose slot changed hands, and all of mode fullnat.

use super::layout::{Backend, Event, Flow, MAX_FLOWS, Pin, Returned};
use crate::error::KernelError;
use crate::loader::{Hash, take_map};
use crate::walk::entries;
use aya::Ebpf;
use aya::maps::{IterableMap, MapData, MapError, RingBuf};
use std::os::fd::{AsFd, BorrowedFd};

/// BPF_NOEXIST: only if there is none.
const NO_EXIST: u64 = 1;

/// Their tables.
pub(super) struct Flows {
    flows: Hash<Flow, Pin>,
    entries: u32,
    returns: Hash<Flow, Returned>,
    opening: Hash<Flow, Pin>,
    opening_returns: Hash<Flow, Returned>,
    events: RingBuf<MapData>,
}

impl Flows {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        let flows: Hash<Flow, Pin> = take_map(ebpf, "flows")?;
        Ok(Self {
            entries: flows.map().info().map_or(MAX_FLOWS, |info| info.max_entries()),
            flows,
            returns: take_map(ebpf, "returns")?,
            opening: take_map(ebpf, "opening")?,
            opening_returns: take_map(ebpf, "opening_returns")?,
            events: take_map(ebpf, "events")?,
        })
    }

    /// Of the table of those that were answered.
    pub(super) fn entries(&self) -> u32 {
        self.entries
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Flow, Pin)> + '_ {
        entries(&self.flows)
    }

    pub(super) fn opening(&self) -> impl Iterator<Item = (Flow, Pin)> + '_ {
        entries(&self.opening)
    }

    pub(super) fn get(&self, flow: &Flow) -> Option<Pin> {
        self.flows.get(flow, 0).ok()
    }

    /// The way back comes first: a packet that finds the flow finds all of it.
    pub(super) fn insert(
        &mut self,
        flow: &Flow,
        pin: &Pin,
        service: u32,
        backend: &Backend,
    ) -> Result<(), MapError> {
        if let Some(replies) = pin.replies(flow, backend) {
            let backend = u16::try_from(pin.backend()).unwrap_or(0);
            let way = Returned { flow: *flow, service, backend, answered: 1, reserved: 0, seen: pin.seen };
            self.returns.insert(replies, way, 0)?;
        }
        self.flows.insert(flow, pin, 0)
    }

    /// A flow that an earlier layout's plane knows, and maybe this one too. What does not fit in is left out.
    pub(super) fn take_over(&mut self, opening: bool, flow: &Flow, pin: &Pin) {
        let table = if opening { &mut self.opening } else { &mut self.flows };
        let known = table.get(flow, 0).ok();
        let joined = known.map_or(Some(*pin), |known| known.joined(pin));
        if let Some(joined) = joined.filter(|joined| known != Some(*joined)) {
            let _ = table.insert(flow, joined, 0);
        }
    }

    /// The same of its replies.
    pub(super) fn take_over_way(&mut self, opening: bool, replies: &Flow, way: &Returned) {
        let table = if opening { &mut self.opening_returns } else { &mut self.returns };
        // Its port may have been given to another meanwhile.
        let _ = table.insert(replies, way, NO_EXIST);
    }

    #[cfg(test)]
    pub(super) fn way(&self, replies: &Flow) -> Option<Returned> {
        let of = |table: &Hash<Flow, Returned>| table.get(replies, 0).ok();
        of(&self.returns).or_else(|| of(&self.opening_returns))
    }

    #[cfg(test)]
    pub(super) fn put(&mut self, flow: &Flow, pin: &Pin) {
        self.flows.insert(flow, pin, 0).unwrap();
    }

    /// One that is gone already is no error.
    pub(super) fn remove(&mut self, flow: &Flow, pin: &Pin, backend: Option<&Backend>) {
        let replies = backend.and_then(|backend| pin.replies(flow, backend));
        // Its port may have been given to another meanwhile.
        let is_its = |known: &Returned| known.flow == *flow;
        if let Some(replies) = &replies {
            for table in [&mut self.returns, &mut self.opening_returns] {
                if table.get(replies, 0).as_ref().is_ok_and(is_its) {
                    let _ = table.remove(replies);
                }
            }
        }
        let _ = self.flows.remove(flow);
        if replies.is_some() {
            let _ = self.opening.remove(flow);
        }
    }

    pub(super) fn next_event(&mut self) -> Option<Event> {
        while let Some(bytes) = self.events.next() {
            if let Some(event) = Event::read(&bytes) {
                return Some(event);
            }
        }
        None
    }
}

impl AsFd for Flows {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}
