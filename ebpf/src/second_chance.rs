//! The second chance: packets of connections that another node finishes are passed on to it.

use crate::attach::{Attachment, Mode, Place};
use crate::error::KernelError;
use crate::interfaces::{Hook, Interfaces};
use crate::layout::{Address, Finisher, SECOND};
use crate::loader::{Array, Hash, PerCpuArray, counted, load_classifier, open, take_map, tell};
use crate::plane::{Tried, try_frame};
use aya::Ebpf;
use aya::programs::TcAttachType;
use std::collections::BTreeMap;
use std::net::IpAddr;

const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/second_chance.o"));
const PROGRAM: &str = "fulcrum_second";
const HOOKS: [Hook; 1] = [Hook { program: PROGRAM, direction: TcAttachType::Ingress }];

/// The program, loaded into the kernel. Nothing of it is pinned: without this process nobody knows whether the other
/// node still finishes anything.
pub struct SecondChance {
    ebpf: Ebpf,
    finishers: Hash<Address, Finisher>,
    finishing: Array<u32>,
    counters: PerCpuArray<u64>,
    interfaces: Interfaces,
    told: BTreeMap<IpAddr, Finisher>,
}

impl SecondChance {
    /// Loads it. Nothing is attached yet.
    ///
    /// # Errors
    /// The kernel does not take it.
    pub fn load(mode: Mode) -> Result<Self, KernelError> {
        let mut ebpf = open("second chance", OBJECT, None)?;
        load_classifier(&mut ebpf, PROGRAM)?;
        Ok(Self {
            finishers: take_map(&mut ebpf, "finishers")?,
            finishing: take_map(&mut ebpf, "finishing")?,
            counters: take_map(&mut ebpf, "second_counters")?,
            interfaces: Interfaces::new(&HOOKS, Place::SECOND_CHANCE, mode, None),
            told: BTreeMap::new(),
            ebpf,
        })
    }

    /// Attaches it to an interface, unless it is.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn attach(&mut self, interface: &str, index: u32) -> Result<Attachment, KernelError> {
        self.interfaces.attach(&mut self.ebpf, interface, index)
    }

    /// Another process may have put its own in place of it: the next [`SecondChance::attach`] attaches it anew.
    pub fn forget_attached(&mut self) {
        self.interfaces.forget();
    }

    /// Takes it off all interfaces but these, also off those of an earlier life. `others` are the names of those that
    /// an earlier life may have used.
    pub fn retain(&mut self, keep: impl Fn(u32) -> bool, others: &[String]) {
        self.interfaces.retain(keep, others);
    }

    /// Who finishes connections to which VIP: all of them, as a difference to what was said before.
    ///
    /// # Errors
    /// There is no room for more than [`crate::layout::MAX_VIPS`].
    pub fn set_finishers(&mut self, wanted: &BTreeMap<IpAddr, Finisher>) -> Result<(), KernelError> {
        let failed = |error: &(dyn std::error::Error + 'static)| {
            KernelError::of("the second chance can't be told who finishes connections", error)
        };
        if self.told == *wanted {
            return Ok(());
        }
        // First, so that nothing stands in the table that is not looked up.
        let count = u32::try_from(wanted.len()).unwrap_or(u32::MAX);
        self.finishing.set(0, count, 0).map_err(|error| failed(&error))?;
        let told = tell(&mut self.finishers, &mut self.told, wanted, Address::from, |finisher| finisher);
        told.map_err(|error| failed(&error))
    }

    /// Packets by what became of them, by the names in [`SECOND`].
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        counted(&self.counters, &SECOND)
    }

    /// What would become of a frame that came in by the interface `index` now.
    ///
    /// # Errors
    /// The kernel can't run it: a frame must have an Ethernet header.
    pub fn try_frame(&mut self, index: u32, frame: &[u8]) -> Result<Tried, KernelError> {
        try_frame(&mut self.ebpf, PROGRAM, index, frame, 1)
    }

    /// Takes it off every interface.
    pub fn stop(mut self) {
        self.retain(|_| false, &[]);
    }
}

impl std::fmt::Debug for SecondChance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecondChance")
            .field("interfaces", &self.interfaces)
            .field("told", &self.told)
            .finish_non_exhaustive()
    }
}
