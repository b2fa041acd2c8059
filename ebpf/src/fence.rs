//! The fence as the rest of the node uses it.

use crate::attach::{self, Attached, Attachment, Mode};
use crate::error::FenceError;
use crate::layout::{Address, DROPPED, Group};
use crate::loader::{Array, Hash, PerCpuArray, classifier, load_classifier, open, take_map};
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
    const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    fn program(self) -> &'static str {
        match self {
            Self::Ingress => "fulcrum_ingress",
            Self::Egress => "fulcrum_egress",
        }
    }

    fn attach_type(self) -> TcAttachType {
        match self {
            Self::Ingress => TcAttachType::Ingress,
            Self::Egress => TcAttachType::Egress,
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
    mode: Mode,
    pins: Option<Pins>,
    /// Why nothing is pinned.
    unpinned: Option<String>,
    attached: BTreeMap<u32, Vec<Attached>>,
}

impl Fence {
    /// Loads it. Nothing is attached yet.
    ///
    /// # Errors
    /// The kernel does not take it.
    pub fn load(mode: Mode) -> Result<Self, FenceError> {
        let mut ebpf = open("fence", OBJECT)?;
        let vips = take_map(&mut ebpf, "vips")?;
        let groups = take_map(&mut ebpf, "groups")?;
        let dropped = take_map(&mut ebpf, "dropped")?;
        for direction in Direction::ALL {
            load_classifier(&mut ebpf, direction.program())?;
        }
        let (pins, unpinned) = match Pins::open() {
            Ok(pins) => (Some(pins), None),
            Err(reason) => (None, Some(reason)),
        };
        Ok(Self { ebpf, vips, groups, dropped, mode, pins, unpinned, attached: BTreeMap::new() })
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
    pub fn attach(&mut self, interface: &str, index: u32) -> Result<Attachment, FenceError> {
        if let Some(attachment) = self.attachment(index) {
            return Ok(attachment);
        }
        let mut attached = Vec::new();
        for direction in Direction::ALL {
            let name = direction.program();
            let pin = self.pins.as_ref().map(|pins| pins.path(index, name));
            let program = classifier(&mut self.ebpf, name)?;
            let pin = pin.as_deref();
            attached.push(attach::attach(program, name, interface, direction.attach_type(), self.mode, pin)?);
        }
        self.attached.insert(index, attached);
        self.attachment(index).ok_or_else(|| FenceError::Failed {
            what: format!("the fence can't be attached to {interface}"),
            why: "nothing was attached".to_owned(),
        })
    }

    fn attachment(&self, index: u32) -> Option<Attachment> {
        self.attached.get(&index)?.last().map(Attached::attachment)
    }

    /// Takes it off all interfaces but these, also off those of an earlier life. `others` are the names of those that
    /// an earlier life may have used.
    pub fn retain(&mut self, keep: impl Fn(u32) -> bool, others: &[String]) {
        let gone: Vec<u32> = self.attached.keys().copied().filter(|index| !keep(*index)).collect();
        for index in gone {
            self.attached.remove(&index).into_iter().flatten().for_each(Attached::detach);
        }
        if let Some(pins) = &self.pins {
            pins.retain(&keep);
        }
        for interface in others {
            for direction in Direction::ALL {
                attach::detach_by_name(interface, direction.attach_type(), direction.program());
            }
        }
    }

    /// A VIP and the index of its group.
    ///
    /// # Errors
    /// There is no room for more than [`crate::layout::MAX_VIPS`].
    pub fn set_vip(&mut self, vip: IpAddr, group: u32) -> Result<(), FenceError> {
        self.vips
            .insert(Address::from(vip), group, 0)
            .map_err(|error| FenceError::of(format!("the fence can't take {vip}"), &error))
    }

    /// The fence has nothing more to do with an address.
    ///
    /// # Errors
    /// It was not known.
    pub fn remove_vip(&mut self, vip: IpAddr) -> Result<(), FenceError> {
        self.vips
            .remove(&Address::from(vip))
            .map_err(|error| FenceError::of(format!("the fence can't forget {vip}"), &error))
    }

    /// What a group may do here, and until when.
    ///
    /// # Errors
    /// There are no more than [`crate::layout::MAX_GROUPS`].
    pub fn set_group(&mut self, index: u32, group: Group) -> Result<(), FenceError> {
        self.groups
            .set(index, group, 0)
            .map_err(|error| FenceError::of("the fence can't take the state of a group", &error))
    }

    /// Frames that were dropped, by the names in [`DROPPED`].
    #[must_use]
    pub fn dropped(&self) -> Vec<(&'static str, u64)> {
        let count = |index: u32| {
            let values = self.dropped.get(&index, 0);
            values.map_or(0, |values| values.iter().fold(0, |sum: u64, value| sum.saturating_add(*value)))
        };
        DROPPED.into_iter().zip(0..).map(|(name, index)| (name, count(index))).collect()
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
    ) -> Result<(Verdict, Duration), FenceError> {
        let program = classifier(&mut self.ebpf, direction.program())?;
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        let result =
            program.test_run(options).map_err(|error| FenceError::of("the frame can't be tried", &error))?;
        let verdict = if result.return_value == DROP { Verdict::Drop } else { Verdict::Pass };
        Ok((verdict, result.duration))
    }

    /// Takes it off every interface: nothing holds the node back any more.
    pub fn stop(mut self) {
        self.retain(|_| false, &[]);
    }
}

/// TC_ACT_SHOT, which is TCX_DROP too.
const DROP: u32 = 2;

impl Drop for Fence {
    fn drop(&mut self) {
        std::mem::take(&mut self.attached).into_values().flatten().for_each(Attached::leave);
        if let Some(pins) = &self.pins {
            pins.close();
        }
    }
}

impl std::fmt::Debug for Fence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fence")
            .field("mode", &self.mode)
            .field("attached", &self.attached)
            .finish_non_exhaustive()
    }
}
