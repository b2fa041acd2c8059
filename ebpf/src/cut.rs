//! A node that is cut off from its networks for a drill, for a time that the kernel itself ends.

use crate::attach::{Mode, Place};
use crate::error::KernelError;
use crate::interfaces::{Hook, Interfaces};
use crate::loader::{Array, load_classifier, open, take_map};
use aya::Ebpf;
use aya::programs::TcAttachType;
use std::time::Duration;

const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/cut.o"));
const IN: &str = "fulcrum_cut_in";
const OUT: &str = "fulcrum_cut_out";
const HOOKS: [Hook; 2] = [
    Hook { program: IN, direction: TcAttachType::Ingress },
    Hook { program: OUT, direction: TcAttachType::Egress },
];
/// No drill needs longer.
pub const LONGEST: Duration = Duration::from_secs(60);

/// The programs, loaded into the kernel; nothing of them is pinned. Dropped, they are taken off.
///
/// Frames that a program of XDP sends on are not seen by them.
pub struct Cut {
    ebpf: Ebpf,
    until: Array<u64>,
    interfaces: Interfaces,
    names: Vec<String>,
}

impl Cut {
    /// Loads them. Nothing is attached yet.
    ///
    /// # Errors
    /// The kernel does not take them.
    pub fn load(mode: Mode) -> Result<Self, KernelError> {
        let mut ebpf = open("cut", OBJECT, None)?;
        load_classifier(&mut ebpf, IN)?;
        load_classifier(&mut ebpf, OUT)?;
        Ok(Self {
            until: take_map(&mut ebpf, "cut_until")?,
            interfaces: Interfaces::new(&HOOKS, Place::CUT, mode, None),
            names: Vec::new(),
            ebpf,
        })
    }

    /// Attaches them to an interface, before what else is attached there. They drop nothing yet.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn attach(&mut self, interface: &str, index: u32) -> Result<(), KernelError> {
        self.names.push(interface.to_owned());
        self.interfaces.attach(&mut self.ebpf, interface, index).map(drop)
    }

    /// Drops every frame from `now` of the monotonic clock on, for so long, [`LONGEST`] at most.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn begin(&mut self, now: Duration, lasts: Duration) -> Result<(), KernelError> {
        let until = now.saturating_add(lasts.min(LONGEST)).as_nanos();
        let until = u64::try_from(until).unwrap_or_default();
        self.until.set(0, until, 0).map_err(|error| KernelError::of("the node can't be cut off", &error))
    }
}

impl std::fmt::Debug for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cut").field("interfaces", &self.names).finish_non_exhaustive()
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.interfaces.retain(|_| false, &self.names);
    }
}
