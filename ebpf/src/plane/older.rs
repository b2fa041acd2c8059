//! What a new life takes over of a plane whose maps were laid out differently.
//!
//! Maps that are laid out as before go on under the new version's name. Flows of a map that is not are put into the new one, each as
//! [`Older`] says, while the earlier program goes on: once as the plane is loaded, so that the caller knows them, again just before
//! its programs are replaced, and for the last time once they are.

use super::flows::Flows;
use super::layout::{Flow, MAPS, Pin, RESIZED, Returned, VERSION};
use crate::layout::Address;
use crate::loader::Hash;
use crate::pins::Pins;
use crate::walk::entries;
use aya::Pod;
use aya::maps::{Map, MapData, MapError};
use std::collections::HashMap;

#[cfg(test)]
mod tests;

/// One of the layouts that there were before.
pub(super) struct Older {
    pub(super) version: u32,
    /// The maps that are laid out as they are now.
    pub(super) same: &'static [&'static str],
    /// How flows are read, if that map is not.
    pub(super) pins: Option<Read<Pin>>,
    /// The same of replies of mode fullnat.
    pub(super) returns: Option<Read<Returned>>,
}

/// Opens an older map to be read, as often as is wanted.
pub(super) type Read<V> = fn(MapData) -> Result<Reader<V>, MapError>;
/// All that stands in it now, as it is laid out now.
pub(super) type Reader<V> = Box<dyn Fn() -> Vec<(Flow, V)> + Send>;

/// The layouts that can be taken over, the newest first.
pub(super) const LAYOUTS: &[Older] = &[
    OTHER_SIZE,
    Older {
        version: 2,
        same: &["endpoints", "backends", "replies", "returns", "opening_returns", "current", "previous"],
        pins: Some(|map| reader(map, |flow, pin: &Pin2| (flow, pin.now()))),
        returns: None,
    },
];

/// This layout, but that the tables of flows were of another size.
const OTHER_SIZE: Older = Older {
    version: RESIZED,
    same: &[],
    pins: Some(|map| reader(map, |flow: Flow, pin: &Pin| (flow, *pin))),
    returns: Some(|map| reader(map, |replies: Flow, way: &Returned| (replies, *way))),
};

/// Tables of flows that have not so many entries are not adopted, but taken over as those of another layout are. To be
/// called before they are looked for.
pub(super) fn set_aside(pins: &Pins, entries: u32) {
    let _held = Pins::lock();
    let size = MapData::from_pin(pins.map("flows", VERSION)).and_then(|map| Ok(map.info()?.max_entries()));
    if size.is_ok_and(|size| size != entries) {
        pins.rename_maps(&["flows", "returns", "opening", "opening_returns"], VERSION, RESIZED);
    }
}

/// A flow in version 2.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Pin2 {
    /// Two bytes are the index; the third one came to say that another node told of the flow.
    backend: u32,
    source_port: [u8; 2],
    closed: u8,
    answered: u8,
    seen: u64,
    source: Address,
}

const _: () = assert!(size_of::<Pin2>() == 32);
const _: () = assert!(std::mem::offset_of!(Pin2, source_port) == 4);
const _: () = assert!(std::mem::offset_of!(Pin2, seen) == 8);
const _: () = assert!(std::mem::offset_of!(Pin2, source) == 16);

impl Pin2 {
    fn now(&self) -> Pin {
        let [low, high, heard_of, _] = self.backend.to_le_bytes();
        Pin {
            backend: u16::from_le_bytes([low, high]),
            heard_of,
            reserved: 0,
            source_port: self.source_port,
            closed: self.closed,
            answered: self.answered,
            seen: self.seen,
            source: self.source,
        }
    }
}

/// Reads a map of these types, and says of each entry what it is now.
pub(super) fn reader<K, V, N>(map: MapData, now: fn(K, &V) -> (Flow, N)) -> Result<Reader<N>, MapError>
where
    K: Pod + Send,
    V: Pod + Send,
    N: 'static,
{
    let map: Hash<K, V> = Map::from_map_data(map)?.try_into()?;
    Ok(Box::new(move || entries(&map).map(|(key, value)| now(key, &value)).collect()))
}

/// The maps of an earlier layout whose flows are still being taken over.
pub(super) struct Migration {
    returns: Vec<Source<Returned>>,
    pins: Vec<Source<Pin>>,
}

struct Source<V> {
    /// Among those that are opening.
    opening: bool,
    reader: Reader<V>,
    /// As they were read the last time.
    known: HashMap<Flow, V>,
}

impl<V: Copy + PartialEq> Source<V> {
    /// Those that are new since the last time, or another.
    fn news(&mut self) -> Vec<(Flow, V)> {
        let read = (self.reader)();
        let known = &mut self.known;
        read.into_iter().filter(|(flow, value)| known.insert(*flow, *value) != Some(*value)).collect()
    }
}

impl Migration {
    /// Finds the newest of `layouts` that is pinned, and takes what is laid out alike. All other versions go. To be called
    /// before maps are made.
    pub(super) fn begin(pins: &Pins, layouts: &[Older]) -> Option<Self> {
        let _held = Pins::lock();
        let found = layouts.iter().find(|older| pins.has_maps(MAPS, older.version));
        pins.remove_maps_but(MAPS, |version| {
            version == VERSION || found.is_some_and(|older| older.version == version)
        });
        let older = found?;
        pins.rename_maps(older.same, older.version, VERSION);
        tracing::info!(
            "the forwarding plane's tables of an earlier version ({}) are taken over (by version {VERSION})",
            older.version
        );
        Some(Self {
            returns: sources(pins, older.version, ["returns", "opening_returns"], older.returns),
            pins: sources(pins, older.version, ["flows", "opening"], older.pins),
        })
    }

    /// Puts what is new there since the last time into `flows`.
    pub(super) fn copy(&mut self, flows: &mut Flows) {
        // The way back comes first: a packet that finds the flow finds all of it.
        for source in &mut self.returns {
            for (replies, way) in source.news() {
                flows.take_over_way(source.opening, &replies, &way);
            }
        }
        for source in &mut self.pins {
            for (flow, pin) in source.news() {
                flows.take_over(source.opening, &flow, &pin);
            }
        }
    }
}

fn sources<V>(pins: &Pins, version: u32, maps: [&str; 2], read: Option<Read<V>>) -> Vec<Source<V>> {
    let Some(read) = read else { return Vec::new() };
    let open = |name: &str| match MapData::from_pin(pins.map(name, version)).and_then(read) {
        Ok(reader) => Some(reader),
        Err(error) => {
            tracing::warn!(
                %error,
                "the forwarding plane's map {name} of version {version} can't be read: flows that were noted there are forgotten"
            );
            None
        }
    };
    let source = |(opening, name)| Some(Source { opening, reader: open(name)?, known: HashMap::new() });
    [false, true].into_iter().zip(maps).filter_map(source).collect()
}
