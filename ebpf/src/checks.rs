//! Checks that go to a VIP at the MAC of the backend that is asked.

use crate::attach::{Attachment, Mode, Place};
use crate::error::KernelError;
use crate::interfaces::{Hook, Interfaces};
use crate::layout::{Address, CHECKS, Checked};
use crate::loader::{Hash, PerCpuArray, classifier, counted, load_classifier, open, take_map, tell};
use crate::plane::Verdict;
use crate::trial::{SKB_BYTES, SKB_INTERFACE, SKB_PRIORITY, Trial, context, run};
use aya::Ebpf;
use aya::programs::TcAttachType;
use std::collections::BTreeMap;
use std::net::IpAddr;

const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/checks.o"));
const ASK: &str = "fulcrum_ask";
const ANSWER: &str = "fulcrum_answer";
/// What comes back is understood before anything is sent.
const HOOKS: [Hook; 2] = [
    Hook { program: ANSWER, direction: TcAttachType::Ingress },
    Hook { program: ASK, direction: TcAttachType::Egress },
];

/// The programs, loaded into the kernel. Nothing of them is pinned: without this process nobody checks anything.
pub struct Checks {
    ebpf: Ebpf,
    checked: Hash<Checked, Address>,
    counters: PerCpuArray<u64>,
    interfaces: Interfaces,
    told: BTreeMap<Checked, IpAddr>,
}

impl Checks {
    /// Loads them. Nothing is attached yet.
    ///
    /// # Errors
    /// The kernel does not take them.
    pub fn load(mode: Mode) -> Result<Self, KernelError> {
        let mut ebpf = open("checks", OBJECT, None)?;
        load_classifier(&mut ebpf, ASK)?;
        load_classifier(&mut ebpf, ANSWER)?;
        Ok(Self {
            checked: take_map(&mut ebpf, "checked")?,
            counters: take_map(&mut ebpf, "check_counters")?,
            interfaces: Interfaces::new(&HOOKS, Place::CHECKS, mode, None),
            told: BTreeMap::new(),
            ebpf,
        })
    }

    /// Attaches them to both directions of an interface, unless they are.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn attach(&mut self, interface: &str, index: u32) -> Result<Attachment, KernelError> {
        self.interfaces.attach(&mut self.ebpf, interface, index)
    }

    /// Takes them off all interfaces but these, also off those of an earlier life. `others` are the names of those
    /// that an earlier life may have used.
    pub fn retain(&mut self, keep: impl Fn(u32) -> bool, others: &[String]) {
        self.interfaces.retain(keep, others);
    }

    /// For which VIP each backend is asked: all of them, as a difference to what was said before.
    ///
    /// # Errors
    /// There is no room for more than [`crate::layout::MAX_CHECKED`].
    pub fn set_checked(&mut self, wanted: &BTreeMap<Checked, IpAddr>) -> Result<(), KernelError> {
        let result = tell(&mut self.checked, &mut self.told, wanted, |check| check, Address::from);
        result.map_err(|error| {
            KernelError::of("the kernel can't be told which backends are checked at a VIP", &error)
        })
    }

    /// Packets by what became of them, by the names in [`CHECKS`].
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        counted(&self.counters, &CHECKS)
    }

    /// What would become of a frame that a socket of this priority sends by the interface `index`.
    ///
    /// # Errors
    /// The kernel can't run it: a frame must have an Ethernet header.
    pub fn try_ask(
        &mut self,
        index: u32,
        priority: u32,
        frame: &[u8],
    ) -> Result<(Verdict, Vec<u8>), KernelError> {
        self.try_frame(ASK, index, priority, frame)
    }

    /// What would become of a frame that comes in by the interface `index`.
    ///
    /// # Errors
    /// The kernel can't run it: a frame must have an Ethernet header.
    pub fn try_answer(&mut self, index: u32, frame: &[u8]) -> Result<(Verdict, Vec<u8>), KernelError> {
        self.try_frame(ANSWER, index, 0, frame)
    }

    fn try_frame(
        &mut self,
        program: &str,
        index: u32,
        priority: u32,
        frame: &[u8],
    ) -> Result<(Verdict, Vec<u8>), KernelError> {
        let program = classifier(&mut self.ebpf, program)?;
        let context: [u8; SKB_BYTES] = context(&[(SKB_PRIORITY, priority), (SKB_INTERFACE, index)]);
        let Trial { value, frame, .. } = run(program, &context, frame, 1)?;
        Ok((Verdict::of(value), frame))
    }

    /// Removes what an earlier life has left at `interfaces`, if it is not wanted any more.
    pub fn remove_left(interfaces: &[String]) {
        Interfaces::new(&HOOKS, Place::CHECKS, Mode::Auto, None).retain(|_| false, interfaces);
    }

    /// Takes them off every interface.
    pub fn stop(mut self) {
        self.retain(|_| false, &[]);
    }
}

impl std::fmt::Debug for Checks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checks")
            .field("interfaces", &self.interfaces)
            .field("told", &self.told)
            .finish_non_exhaustive()
    }
}
