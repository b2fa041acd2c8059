//! The interfaces that one set of programs is attached to.

use crate::attach::{self, Attached, Attachment, Mode, Place};
use crate::error::KernelError;
use crate::loader::classifier;
use crate::pins::Pins;
use aya::Ebpf;
use aya::programs::TcAttachType;
use std::collections::BTreeMap;

/// One program of a set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hook {
    /// Its name in the object.
    pub(crate) program: &'static str,
    /// Where it is attached.
    pub(crate) direction: TcAttachType,
}

/// Where a set of programs is attached. Dropped, it leaves them there.
#[derive(Debug)]
pub(crate) struct Interfaces {
    hooks: &'static [Hook],
    place: Place,
    mode: Mode,
    pins: Option<Pins>,
    attached: BTreeMap<u32, Vec<Attached>>,
}

impl Interfaces {
    pub(crate) fn new(hooks: &'static [Hook], place: Place, mode: Mode, pins: Option<Pins>) -> Self {
        Self { hooks, place, mode, pins, attached: BTreeMap::new() }
    }

    /// Attaches all of them, unless they are. What an earlier life attached is replaced without a moment in between.
    pub(crate) fn attach(
        &mut self,
        ebpf: &mut Ebpf,
        interface: &str,
        index: u32,
    ) -> Result<Attachment, KernelError> {
        if let Some(attachment) = self.attachment(index) {
            return Ok(attachment);
        }
        let mut attached = Vec::new();
        for hook in self.hooks {
            let pin = self.pins.as_ref().map(|pins| pins.path(index, hook.program));
            let program = classifier(ebpf, hook.program)?;
            let at = attach::At { interface, direction: hook.direction, place: self.place };
            attached.push(attach::attach(program, hook.program, at, self.mode, pin.as_deref())?);
        }
        self.attached.insert(index, attached);
        self.attachment(index).ok_or_else(|| KernelError::Failed {
            what: format!("nothing can be attached to {interface}"),
            why: "there is no program".to_owned(),
        })
    }

    fn attachment(&self, index: u32) -> Option<Attachment> {
        self.attached.get(&index)?.last().map(Attached::attachment)
    }

    /// Leaves them where they are, and takes them for attached no more.
    pub(crate) fn forget(&mut self) {
        std::mem::take(&mut self.attached).into_values().flatten().for_each(Attached::leave);
    }

    /// Takes them off all interfaces but these, also off those of an earlier life. `others` are the names of those
    /// that an earlier life may have used.
    pub(crate) fn retain(&mut self, keep: impl Fn(u32) -> bool, others: &[String]) {
        let gone: Vec<u32> = self.attached.keys().copied().filter(|index| !keep(*index)).collect();
        for index in gone {
            self.attached.remove(&index).into_iter().flatten().for_each(Attached::detach);
        }
        for hook in self.hooks {
            if let Some(pins) = &self.pins {
                pins.retain(hook.program, &keep);
            }
            for interface in others {
                attach::detach_by_name(interface, hook.direction, hook.program);
            }
        }
    }
}

impl Drop for Interfaces {
    fn drop(&mut self) {
        self.forget();
        if let Some(pins) = &self.pins {
            pins.close();
        }
    }
}
