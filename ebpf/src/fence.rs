//! The fence as the rest of the node uses it.

use crate::attach::{Attachment, Mode, Place};
use crate::error::KernelError;
use crate::interfaces::{Hook, Interfaces};
use crate::layout::{Address, DROPPED, Group, MAX_GROUPS, SHARED, SHARED_MAPS};
use crate::loader::{Array, Hash, PerCpuArray, Pinned, classifier, counted, load_classifier, open, take_map};
use crate::pins::Pins;
use aya::Ebpf;
use aya::programs::{TcAttachType, TestRun, TestRunOptions};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/fence.o"));

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the network to this node.
    Ingress,
    /// From this node to the network.
    Egress,
}

impl Direction {
    fn program(self) -> &'static str {
        match self {
            Self::Ingress => "fulcrum_ingress",
            Self::Egress => "fulcrum_egress",
        }
    }
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// It ends here.
    Drop,
}

/// The fence, loaded into the kernel. Every VIP is silent until its group is said to lead.
///
/// Dropped without [`Fence::stop`], it stays at the interfaces, and what leads runs out there.
pub struct Fence {
    ebpf: Ebpf,
    vips: Hash<Address, u32>,
    groups: Array<Group>,
    dropped: PerCpuArray<u64>,
    interfaces: Interfaces,
    /// Why nothing is pinned.
    unpinned: Option<String>,
    /// Where the tables are shared.
    shared: Option<Pins>,
}

const HOOKS: [Hook; 2] = [
    Hook { program: "fulcrum_ingress", direction: TcAttachType::Ingress },
    Hook { program: "fulcrum_egress", direction: TcAttachType::Egress },
];

impl Fence {
    /// Loads it, with tables of its own. Nothing is attached yet.
    ///
    /// # Errors
    /// The kernel does not take it.
    pub fn load(mode: Mode) -> Result<Self, KernelError> {
        Self::load_with(mode, false, true)
    }

    /// Loads it with tables that the forwarding plane of this network namespace reads too, and that outlive the
    /// process. Every group is silent, whatever an earlier life said. Where nothing can be pinned, the tables are
    /// its own.
    ///
    /// # Errors
    /// The kernel does not take it.
    pub fn load_shared(mode: Mode) -> Result<Self, KernelError> {
        Self::load_with(mode, true, true)
    }

    /// The same for a process that takes over from one that lives still: what that one said holds, and it goes on saying it.
    ///
    /// # Errors
    /// The kernel does not take it.
    pub fn load_beside(mode: Mode) -> Result<Self, KernelError> {
        Self::load_with(mode, true, false)
    }

    /// Whether the kernel takes it; nothing of it is left there.
    ///
    /// # Errors
    /// It does not.
    pub fn try_load() -> Result<(), KernelError> {
        let mut ebpf = open("fence", OBJECT, None)?;
        HOOKS.iter().try_for_each(|hook| load_classifier(&mut ebpf, hook.program))
    }

    fn load_with(mode: Mode, share: bool, anew: bool) -> Result<Self, KernelError> {
        let (pins, unpinned) = match Pins::open() {
            Ok(pins) => (Some(pins), None),
            Err(reason) => (None, Some(reason)),
        };
        let shared = pins.clone().filter(|_| share);
        if let Some(pins) = &shared {
            remove_others(pins);
        }
        let pinned = shared.as_ref().map(|pins| Pinned { pins, maps: &SHARED, sizes: &[] });
        let mut ebpf = open("fence", OBJECT, pinned)?;
        let vips = take_map(&mut ebpf, "vips")?;
        let mut groups: Array<Group> = take_map(&mut ebpf, "groups")?;
        let dropped = take_map(&mut ebpf, "dropped")?;
        for hook in HOOKS {
            load_classifier(&mut ebpf, hook.program)?;
        }
        if shared.is_some() && anew {
            silence(&mut groups)?;
        }
        let interfaces = Interfaces::new(&HOOKS, Place::FENCE, mode, pins);
        Ok(Self { ebpf, vips, groups, dropped, interfaces, unpinned, shared })
    }

    /// The VIPs that are known, each with the index of its group: of an earlier life, in shared tables.
    #[must_use]
    pub fn vips(&self) -> BTreeMap<IpAddr, u32> {
        self.vips.iter().flatten().map(|(vip, group)| (vip.into(), group)).collect()
    }

    /// Why attachments by tcx do not outlive this process, if they don't.
    #[must_use]
    pub fn unpinned(&self) -> Option<&str> {
        self.unpinned.as_deref()
    }

    /// Attaches it to both directions of an interface, unless it is. What an earlier life attached there is replaced
    /// without a moment in between, so the VIPs must be known before.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn attach(&mut self, interface: &str, index: u32) -> Result<Attachment, KernelError> {
        self.interfaces.attach(&mut self.ebpf, interface, index)
    }

    /// Takes it off all interfaces but these, also off those of an earlier life. `others` are the names of those that
    /// an earlier life may have used.
    pub fn retain(&mut self, keep: impl Fn(u32) -> bool, others: &[String]) {
        self.interfaces.retain(keep, others);
    }

    /// Another process may have put its own in place of these: the next [`Fence::attach`] attaches them anew.
    pub fn forget_attached(&mut self) {
        self.interfaces.forget();
    }

    /// A VIP and the index of its group.
    ///
    /// # Errors
    /// There is no room for more than [`crate::layout::MAX_VIPS`].
    pub fn set_vip(&mut self, vip: IpAddr, group: u32) -> Result<(), KernelError> {
        self.vips
            .insert(Address::from(vip), group, 0)
            .map_err(|error| KernelError::of(format!("the fence can't take {vip}"), &error))
    }

    /// The fence has nothing more to do with an address.
    ///
    /// # Errors
    /// It was not known.
    pub fn remove_vip(&mut self, vip: IpAddr) -> Result<(), KernelError> {
        self.vips
            .remove(&Address::from(vip))
            .map_err(|error| KernelError::of(format!("the fence can't forget {vip}"), &error))
    }

    /// What a group may do here, and until when.
    ///
    /// # Errors
    /// There are no more than [`crate::layout::MAX_GROUPS`].
    pub fn set_group(&mut self, index: u32, group: Group) -> Result<(), KernelError> {
        self.groups
            .set(index, group, 0)
            .map_err(|error| KernelError::of("the fence can't take the state of a group", &error))
    }

    /// Frames that were dropped, by the names in [`DROPPED`].
    #[must_use]
    pub fn dropped(&self) -> Vec<(&'static str, u64)> {
        counted(&self.dropped, &DROPPED)
    }

    /// What would become of a frame now, and how long that takes: the mean of `repeat` runs.
    ///
    /// # Errors
    /// The kernel can't run it: a frame must have an Ethernet header.
    pub fn try_frame(
        &mut self,
        direction: Direction,
        frame: &[u8],
        repeat: u32,
    ) -> Result<(Verdict, Duration), KernelError> {
        let program = classifier(&mut self.ebpf, direction.program())?;
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        let result =
            program.test_run(options).map_err(|error| KernelError::of("the frame can't be tried", &error))?;
        let verdict = if result.return_value == DROP { Verdict::Drop } else { Verdict::Pass };
        Ok((verdict, result.duration))
    }

    /// Takes it off every interface: nothing holds the node back any more.
    pub fn stop(mut self) {
        self.retain(|_| false, &[]);
        if let Some(pins) = &self.shared {
            pins.remove_maps(SHARED_MAPS);
        }
    }
}

/// Nobody reads the shared tables of another layout: what they hold is said anew in each life.
pub(crate) fn remove_others(pins: &Pins) {
    let _held = Pins::lock();
    for (maps, version) in SHARED {
        pins.remove_maps_but(maps, |other| other == version);
    }
}

/// TC_ACT_SHOT, which is TCX_DROP too.
const DROP: u32 = 2;

/// What an earlier life said does not hold.
fn silence(groups: &mut Array<Group>) -> Result<(), KernelError> {
    for index in 0..MAX_GROUPS {
        groups
            .set(index, Group::SILENT, 0)
            .map_err(|error| KernelError::of("the fence's groups can't be silenced", &error))?;
    }
    Ok(())
}

impl std::fmt::Debug for Fence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fence").field("interfaces", &self.interfaces).finish_non_exhaustive()
    }
}
