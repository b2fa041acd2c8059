//! Objects into the kernel.

use crate::error::KernelError;
use crate::pins::Pins;
use crate::sys;
use aya::maps::{Map, MapData, MapError};
use aya::programs::{Program, ProgramError, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader, Pod};
use std::collections::BTreeMap;
use std::io;

/// Maps that outlive the process, and that others share.
#[derive(Clone, Copy)]
pub(crate) struct Pinned<'a> {
    /// Where.
    pub(crate) pins: &'a Pins,
    /// Which, each with the version of its layout.
    pub(crate) maps: &'a [(&'static [&'static str], u32)],
    /// How many entries some of them have, if they are made.
    pub(crate) sizes: &'a [(&'static str, u32)],
}

/// Creates the maps of an object, or adopts those that are pinned; its programs are loaded one by one.
pub(crate) fn open(what: &str, object: &[u8], pinned: Option<Pinned<'_>>) -> Result<Ebpf, KernelError> {
    // Two that share maps must not both find that there are none.
    let _held = Pins::lock();
    let mut loader = EbpfLoader::new();
    if let Some(Pinned { pins, maps, sizes }) = pinned {
        pins.make();
        for (names, version) in maps {
            for name in *names {
                loader.map_pin_path(name, pins.map(name, *version));
            }
        }
        for (name, entries) in sizes {
            loader.map_max_entries(name, *entries);
        }
    }
    let loaded = loader.load(object);
    // The loader reads all of the kernel's own types, 30 MB of memory for a moment, although none is asked for here.
    sys::return_free_memory();
    loaded.map_err(|error| KernelError::of(format!("the maps of the {what} can't be made"), &error))
}

/// Takes a map out.
pub(crate) fn take_map<M>(ebpf: &mut Ebpf, name: &str) -> Result<M, KernelError>
where
    M: TryFrom<Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or_else(|| missing("map", name))?;
    M::try_from(map).map_err(|error| KernelError::of(format!("the map {name} is not as expected"), &error))
}

/// A signal to the process interrupts the verifier; then it is asked again, as often as this.
const ATTEMPTS: u32 = 10;

/// Loads one program: here the verifier has its say.
pub(crate) fn load<P: Load>(ebpf: &mut Ebpf, name: &str) -> Result<(), KernelError>
where
    for<'a> &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program = program::<P>(ebpf, name)?;
    let mut result = program.load();
    for _ in 1..ATTEMPTS {
        if !result.as_ref().is_err_and(is_interrupted) {
            break;
        }
        result = program.load();
    }
    result.map_err(|error| KernelError::of(format!("the kernel does not take the program {name}"), &error))
}

/// The same for one of tcx or clsact.
pub(crate) fn load_classifier(ebpf: &mut Ebpf, name: &str) -> Result<(), KernelError> {
    load::<SchedClassifier>(ebpf, name)
}

/// One of tcx or clsact by its name.
pub(crate) fn classifier<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier, KernelError> {
    program(ebpf, name)
}

fn is_interrupted(error: &ProgramError) -> bool {
    matches!(error, ProgramError::LoadError { io_error, .. } if io_error.kind() == io::ErrorKind::WouldBlock)
}

/// A kind of program that is loaded.
pub(crate) trait Load {
    /// The verifier's word.
    fn load(&mut self) -> Result<(), ProgramError>;
}

impl Load for SchedClassifier {
    fn load(&mut self) -> Result<(), ProgramError> {
        Self::load(self)
    }
}

impl Load for Xdp {
    fn load(&mut self) -> Result<(), ProgramError> {
        Self::load(self)
    }
}

/// A program by its name.
pub(crate) fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, KernelError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or_else(|| missing("program", name))?;
    program
        .try_into()
        .map_err(|error| KernelError::of(format!("the program {name} is not as expected"), &error))
}

fn missing(kind: &str, name: &str) -> KernelError {
    KernelError::Failed {
        what: format!("no {kind} {name}"),
        why: "the object was built from other sources".into(),
    }
}

/// The maps as this room uses them.
pub(crate) type Hash<K, V> = aya::maps::HashMap<MapData, K, V>;
pub(crate) type Array<V> = aya::maps::Array<MapData, V>;
pub(crate) type PerCpuArray<V> = aya::maps::PerCpuArray<MapData, V>;
/// From an index to a map of one value that is replaced whole.
pub(crate) type Tables<V> = aya::maps::ArrayOfMaps<MapData, Array<V>>;

/// Brings a table up to date: what is not wanted any more goes, then what is new or another is told, as `key` and `value`
/// say it. `told` is what stands there, also after an error.
pub(crate) fn tell<K: Copy + Ord, V: Copy + PartialEq, TableKey: Pod, TableValue: Pod>(
    table: &mut Hash<TableKey, TableValue>,
    told: &mut BTreeMap<K, V>,
    wanted: &BTreeMap<K, V>,
    key: impl Fn(K) -> TableKey,
    value: impl Fn(V) -> TableValue,
) -> Result<(), MapError> {
    let gone: Vec<K> = told.keys().filter(|known| !wanted.contains_key(*known)).copied().collect();
    for known in gone {
        table.remove(&key(known))?;
        told.remove(&known);
    }
    for (new, it) in wanted {
        if told.get(new) != Some(it) {
            table.insert(key(*new), value(*it), 0)?;
            told.insert(*new, *it);
        }
    }
    Ok(())
}

/// The counters of all processors together, by their names.
pub(crate) fn counted(counters: &PerCpuArray<u64>, names: &[&'static str]) -> Vec<(&'static str, u64)> {
    let count = |index: u32| {
        let values = counters.get(&index, 0);
        values.map_or(0, |values| values.iter().fold(0, |sum: u64, value| sum.saturating_add(*value)))
    };
    names.iter().copied().zip(0..).map(|(name, index)| (name, count(index))).collect()
}
