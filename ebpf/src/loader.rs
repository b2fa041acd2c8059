//! Objects into the kernel.

use crate::error::FenceError;
use crate::sys;
use aya::Ebpf;
use aya::maps::{Map, MapData, MapError};
use aya::programs::SchedClassifier;

/// Creates the maps of an object; its programs are loaded one by one.
pub(crate) fn open(what: &str, object: &[u8]) -> Result<Ebpf, FenceError> {
    let loaded = Ebpf::load(object);
    // The loader reads all of the kernel's own types, 30 MB of memory for a moment, although none is asked for here.
    sys::return_free_memory();
    loaded.map_err(|error| FenceError::of(format!("the maps of the {what} can't be made"), &error))
}

/// Takes a map out.
pub(crate) fn take_map<M>(ebpf: &mut Ebpf, name: &str) -> Result<M, FenceError>
where
    M: TryFrom<Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or_else(|| missing("map", name))?;
    M::try_from(map).map_err(|error| FenceError::of(format!("the map {name} is not as expected"), &error))
}

/// Loads one program: here the verifier has its say.
pub(crate) fn load_classifier(ebpf: &mut Ebpf, name: &str) -> Result<(), FenceError> {
    classifier(ebpf, name)?
        .load()
        .map_err(|error| FenceError::of(format!("the kernel does not take the program {name}"), &error))
}

/// A program by its name.
pub(crate) fn classifier<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier, FenceError> {
    let program = ebpf.program_mut(name).ok_or_else(|| missing("program", name))?;
    program
        .try_into()
        .map_err(|error| FenceError::of(format!("the program {name} is not as expected"), &error))
}

fn missing(kind: &str, name: &str) -> FenceError {
    FenceError::Failed {
        what: format!("no {kind} {name}"),
        why: "the object was built from other sources".into(),
    }
}

/// The maps as this room uses them.
pub(crate) type Hash<K, V> = aya::maps::HashMap<MapData, K, V>;
pub(crate) type Array<V> = aya::maps::Array<MapData, V>;
pub(crate) type PerCpuArray<V> = aya::maps::PerCpuArray<MapData, V>;
