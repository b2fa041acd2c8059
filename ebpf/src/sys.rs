//! The promises that sharing memory with the kernel's programs takes, and a question that no wrapper offers.
#![allow(unsafe_code)]

use crate::capture::{Asked, State};
use crate::layout::{Address, Checked, Finisher, Group};
use crate::plane::layout::{
    Backend, Counters, Endpoint, Flow, Limit, Pin, PortsInUse, Reply, Returned, Room, Service, Settings,
    Slots,
};
use crate::plane::older::Pin2;
use crate::plane::xdp::Link;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

// SAFETY: plain integers in a C layout without padding (asserted in layout.rs), valid for any bytes.
unsafe impl aya::Pod for Address {}
// SAFETY: the same.
unsafe impl aya::Pod for Group {}
// SAFETY: the same.
unsafe impl aya::Pod for Finisher {}
// SAFETY: the same.
unsafe impl aya::Pod for Checked {}
// SAFETY: the same, for all that follow (asserted in plane/layout.rs).
unsafe impl aya::Pod for Endpoint {}
// SAFETY: the same.
unsafe impl aya::Pod for Service {}
// SAFETY: the same.
unsafe impl aya::Pod for Backend {}
// SAFETY: the same.
unsafe impl aya::Pod for Reply {}
// SAFETY: the same.
unsafe impl aya::Pod for Flow {}
// SAFETY: the same.
unsafe impl aya::Pod for Pin {}
// SAFETY: the same (asserted in plane/older.rs).
unsafe impl aya::Pod for Pin2 {}
// SAFETY: the same.
unsafe impl aya::Pod for Returned {}
// SAFETY: the same.
unsafe impl aya::Pod for PortsInUse {}
// SAFETY: the same.
unsafe impl aya::Pod for Settings {}
// SAFETY: the same.
unsafe impl aya::Pod for Room {}
// SAFETY: the same.
unsafe impl aya::Pod for Limit {}
// SAFETY: the same.
unsafe impl aya::Pod for Asked {}
// SAFETY: the same.
unsafe impl aya::Pod for State {}
// SAFETY: the same.
unsafe impl aya::Pod for Counters {}
// SAFETY: the same.
unsafe impl aya::Pod for Slots {}
// SAFETY: the same (asserted in plane/xdp.rs).
unsafe impl aya::Pod for Link {}

/// Gives memory that was freed back to the system, where the allocator does not by itself.
pub(crate) fn return_free_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer, and touches only memory that is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Commands of bpf(2), and the type of links by tcx, as in linux/bpf.h.
const OBJ_GET: i32 = 7;
const OBJ_GET_INFO_BY_FD: i32 = 15;
const MAP_LOOKUP_BATCH: i32 = 24;
const LINK_TYPE_XDP: u32 = 6;
const LINK_TYPE_TCX: u32 = 11;

/// The attributes of OBJ_GET.
#[repr(C)]
struct Get {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// The attributes of OBJ_GET_INFO_BY_FD.
#[repr(C)]
struct GetInfo {
    descriptor: u32,
    length: u32,
    info: u64,
}

/// The beginning of struct bpf_link_info, as it is for links by tcx, and, but for the last field, by XDP.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    interface: u32,
    attach_type: u32,
}

/// Whether the link that is pinned at `path` is at an interface that is gone.
pub(crate) fn has_lost_its_interface(path: &Path) -> io::Result<bool> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut get = Get { path: name.as_ptr() as u64, descriptor: 0, flags: 0 };
    let descriptor = bpf(OBJ_GET, &mut get)?;
    // SAFETY: the kernel has just opened it for this call alone.
    let link = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let mut info = LinkInfo::default();
    let descriptor = u32::try_from(link.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let length = u32::try_from(size_of::<LinkInfo>()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut get_info = GetInfo { descriptor, length, info: (&raw mut info) as u64 };
    bpf(OBJ_GET_INFO_BY_FD, &mut get_info)?;
    Ok(matches!(info.kind, LINK_TYPE_TCX | LINK_TYPE_XDP) && info.interface == 0)
}

/// The attributes of MAP_LOOKUP_BATCH.
#[repr(C)]
struct Batch {
    from: u64,
    next: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    entry_flags: u64,
    flags: u64,
}

/// Fills both lists with entries of a hash table, as far as they have room. `from` is what the call before gave. Gives
/// where to go on, or nothing if these were the last.
pub(crate) fn lookup_batch<K: aya::Pod, V: aya::Pod>(
    map: BorrowedFd<'_>,
    from: Option<u32>,
    keys: &mut Vec<K>,
    values: &mut Vec<V>,
) -> io::Result<Option<u32>> {
    keys.clear();
    values.clear();
    let room = keys.capacity().min(values.capacity());
    let mut next = 0_u32;
    let mut batch = Batch {
        from: from.as_ref().map_or(0, |from| std::ptr::from_ref(from) as u64),
        next: (&raw mut next) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: u32::try_from(room).unwrap_or(u32::MAX),
        map: u32::try_from(map.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)?,
        entry_flags: 0,
        flags: 0,
    };
    let result = bpf(MAP_LOOKUP_BATCH, &mut batch);
    let is_last = match result {
        Ok(_) => false,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
        Err(error) => return Err(error),
    };
    let count = usize::try_from(batch.count).unwrap_or(0).min(room);
    // SAFETY: the kernel has written so many keys and values, of the sizes that the map was made with, which are those of
    // `K` and `V` (aya checks that when it opens the map); any bytes are valid for them.
    unsafe {
        keys.set_len(count);
        values.set_len(count);
    }
    Ok((!is_last).then_some(next))
}

/// One call of bpf(2) with the attributes of `command`.
fn bpf<A>(command: i32, attributes: &mut A) -> io::Result<i32> {
    // SAFETY: the pointer and the length describe `attributes`, in which only pointers to live memory of the callers
    // stand; the commands write no more than what is described there.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<A>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(|_| io::ErrorKind::InvalidData.into())
}
