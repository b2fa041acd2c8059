//! The plane before the kernel makes a packet of a frame: native XDP, in front of the same plane at tcx.
//!
//! A program at an interface passes everything on until it is told that interface's own address with [`Xdp::open`]: it can be
//! tried there before anything depends on it.

use super::{Tried, Verdict};
use crate::attach::{Attached, attach_xdp};
use crate::error::KernelError;
use crate::loader::{Hash, Pinned, load, open, program, take_map};
use crate::pins::Pins;
use crate::trial::{Trial, context, run};
use aya::Ebpf;
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp as Program};
use std::collections::BTreeMap;

const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/forward_xdp.o"));
pub(super) const PROGRAM: &str = "fulcrum_xdp";
const SENDER: &str = "fulcrum_send";

/// Of struct xdp_md: where the frame's end, its beginning and its interface stand.
const CONTEXT_BYTES: usize = 24;
const DATA_END: usize = 4;
const INTERFACE: usize = 12;

/// The hardware address of an interface, as the program compares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Link {
    mac: [u8; 6],
    reserved: [u8; 2],
}

const _: () = assert!(size_of::<Link>() == 8);

/// Loaded, and where it stands.
pub(super) struct Xdp {
    ebpf: Ebpf,
    links: Hash<u32, Link>,
    pins: Option<Pins>,
    attached: BTreeMap<u32, Attached>,
}

impl Xdp {
    /// With the same tables as the plane's own.
    pub(super) fn load(
        maps: &[(&'static [&'static str], u32)],
        pins: Option<Pins>,
    ) -> Result<Self, KernelError> {
        let pinned = pins.as_ref().map(|pins| Pinned { pins, maps, sizes: &[] });
        let mut ebpf = open("forwarding plane by XDP", OBJECT, pinned)?;
        for name in [PROGRAM, SENDER] {
            load::<Program>(&mut ebpf, name)?;
        }
        Ok(Self { links: take_map(&mut ebpf, "links")?, ebpf, pins, attached: BTreeMap::new() })
    }

    /// Whether an earlier life of this process left the program at this interface, where it forwards.
    pub(super) fn is_left(pins: Option<&Pins>, index: u32) -> bool {
        pins.is_some_and(|pins| pins.path(index, PROGRAM).exists())
    }

    pub(super) fn attach(&mut self, interface: &str, index: u32) -> Result<(), KernelError> {
        if !self.attached.contains_key(&index) {
            let pin = self.pins.as_ref().map(|pins| pins.path(index, PROGRAM));
            let program = program::<Program>(&mut self.ebpf, PROGRAM)?;
            self.attached.insert(index, attach_xdp(program, PROGRAM, interface, pin.as_deref())?);
        }
        Ok(())
    }

    pub(super) fn open(&mut self, index: u32, mac: [u8; 6]) -> Result<(), KernelError> {
        let link = Link { mac, reserved: [0; 2] };
        self.links.insert(index, link, 0).map_err(|error| {
            KernelError::of(
                format!("the forwarding plane by XDP can't be opened at interface {index}"),
                &error,
            )
        })
    }

    pub(super) fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        let gone: Vec<u32> = self.attached.keys().copied().filter(|index| !keep(*index)).collect();
        for index in gone {
            // One that was never opened is not there.
            let _ = self.links.remove(&index);
            self.attached.remove(&index).into_iter().for_each(Attached::detach);
        }
    }

    /// Sends a frame out of an interface as the program does: past the kernel's own ways.
    pub(super) fn send(&mut self, index: u32, frame: &[u8]) -> Result<(), KernelError> {
        let context = context_of(index, frame.len());
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            attrs: TestRunAttrs::new().xdp_live_frames(1),
            ..TestRunOptions::default()
        };
        let program = program::<Program>(&mut self.ebpf, SENDER)?;
        let sent = program.test_run(options);
        sent.map(|_| ()).map_err(|error| KernelError::of("a frame can't be sent by XDP", &error))
    }

    pub(super) fn try_frame(&mut self, index: u32, frame: &[u8], repeat: u32) -> Result<Tried, KernelError> {
        let context = context_of(index, frame.len());
        let program = program::<Program>(&mut self.ebpf, PROGRAM)?;
        let Trial { value, frame, time } = run(program, &context, frame, repeat)?;
        Ok(Tried { verdict: verdict(value), frame, time })
    }
}

impl Drop for Xdp {
    fn drop(&mut self) {
        std::mem::take(&mut self.attached).into_values().for_each(Attached::leave);
    }
}

/// XDP_DROP, XDP_TX and XDP_REDIRECT.
fn verdict(value: u32) -> Verdict {
    match value {
        1 => Verdict::Drop,
        3 | 4 => Verdict::Redirect,
        _ => Verdict::Pass,
    }
}

fn context_of(index: u32, length: usize) -> [u8; CONTEXT_BYTES] {
    context(&[(DATA_END, u32::try_from(length).unwrap_or(u32::MAX)), (INTERFACE, index)])
}
