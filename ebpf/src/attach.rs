//! Programs at an interface: by tcx, or by clsact where the kernel is older than 6.6.

use crate::error::{KernelError, system_error};
use crate::pins::remove;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact,
    qdisc_detach_program,
};
use aya::programs::xdp::XdpLink;
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType, Xdp, XdpMode};
use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;

/// Where a classifier of ours stands in clsact: before others, and always in the same place, so that a later
/// life of this process replaces it in one step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    priority: u16,
    handle: TcHandle,
    /// By tcx it stands behind all others that are there, not before them.
    last: bool,
}

impl Place {
    pub(crate) const FENCE: Self = Self { priority: 1, handle: TcHandle::new(0, 0xf01c), last: false };
    pub(crate) const PLANE: Self = Self { priority: 2, handle: TcHandle::new(0, 0xf01d), last: false };
    pub(crate) const SECOND_CHANCE: Self = Self { priority: 3, handle: TcHandle::new(0, 0xf01e), last: true };
    pub(crate) const CHECKS: Self = Self { priority: 4, handle: TcHandle::new(0, 0xf01f), last: false };
    /// Of one priority the last that was attached comes first: before the fence.
    pub(crate) const CUT: Self = Self { priority: 1, handle: TcHandle::new(0, 0xf020), last: false };
}

/// One end of an interface.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) interface: &'a str,
    pub(crate) direction: TcAttachType,
    pub(crate) place: Place,
}

/// Which way of attaching to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// tcx, or clsact where the kernel has no tcx.
    #[default]
    Auto,
    /// clsact, although there may be tcx.
    Clsact,
}

/// How programs are attached to an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachment {
    /// tcx; pinned, so that it outlives the process.
    Tcx,
    /// tcx, for as long as the process lives.
    TcxUnpinned,
    /// A classifier of clsact; it outlives the process.
    Clsact,
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcx => "tcx",
            Self::TcxUnpinned => "tcx, not pinned",
            Self::Clsact => "clsact",
        })
    }
}

/// One program at one interface. Dropped, it goes, unless it is pinned.
#[derive(Debug)]
pub(crate) enum Attached {
    Link(#[allow(dead_code, reason = "the descriptor keeps the link")] FdLink),
    Pinned(PinnedLink),
    Clsact(SchedClassifierLink),
}

impl Attached {
    pub(crate) fn attachment(&self) -> Attachment {
        match self {
            Self::Link(_) => Attachment::TcxUnpinned,
            Self::Pinned(_) => Attachment::Tcx,
            Self::Clsact(_) => Attachment::Clsact,
        }
    }

    /// Takes the program off the interface.
    pub(crate) fn detach(self) {
        match self {
            Self::Link(link) => drop(link),
            // One that went with its interface is gone already.
            Self::Clsact(link) => drop(link),
            Self::Pinned(link) => drop(link.unpin()),
        }
    }

    /// Leaves the program where it is when this process ends.
    pub(crate) fn leave(self) {
        match self {
            Self::Link(link) => drop(link),
            Self::Pinned(link) => drop(link),
            Self::Clsact(link) => std::mem::forget(link),
        }
    }
}

/// Attaches `program` to `interface`. What an earlier life of this process attached there is replaced in one step,
/// or goes only once the new one stands.
pub(crate) fn attach(
    program: &mut SchedClassifier,
    name: &str,
    at: At<'_>,
    mode: Mode,
    pin: Option<&Path>,
) -> Result<Attached, KernelError> {
    let At { interface, direction, .. } = at;
    let failed = |error: &(dyn Error + 'static)| {
        KernelError::of(format!("{name} can't be attached to {interface}"), error)
    };
    if mode == Mode::Auto {
        match tcx(program, at, pin) {
            Ok(attached) => {
                // One of clsact is of an earlier life; mostly there is none.
                let _ = qdisc_detach_program(interface, direction, name);
                return Ok(attached);
            }
            Err(error) if !is_unknown(error.as_ref()) => return Err(failed(error.as_ref())),
            Err(_) => {}
        }
    }
    let attached = clsact(program, at).map_err(|error| failed(error.as_ref()))?;
    if let Some(pin) = pin {
        remove(pin);
    }
    Ok(attached)
}

type Failure = Box<dyn Error + 'static>;

fn tcx(program: &mut SchedClassifier, at: At<'_>, pin: Option<&Path>) -> Result<Attached, Failure> {
    if let Some(pin) = pin
        && let Ok(attached) = replace(program, pin)
    {
        return Ok(attached);
    }
    // First: a program before it that passes a packet for good would pass it by the fence.
    let order = if at.place.last { LinkOrder::last() } else { LinkOrder::first() };
    let id = program.attach_with_options(at.interface, at.direction, TcAttachOptions::TcxOrder(order))?;
    let link = FdLink::try_from(program.take_link(id)?)?;
    let Some(pin) = pin else { return Ok(Attached::Link(link)) };
    // Of an interface that is gone, or not a link at all.
    remove(pin);
    // Another process may have swept the directory: the kernel gives a namespace the number of one that is gone.
    pin.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    Ok(Attached::Pinned(link.pin(pin)?))
}

/// The program of an earlier life is exchanged for ours in one step.
fn replace(program: &mut SchedClassifier, pin: &Path) -> Result<Attached, Failure> {
    let earlier = FdLink::from(PinnedLink::from_pin(pin)?);
    let id = program.attach_to_link(SchedClassifierLink::try_from(earlier)?)?;
    drop(program.take_link(id)?);
    Ok(Attached::Pinned(PinnedLink::from_pin(pin)?))
}

/// Attaches `program` to `interface` in the driver itself, never in the kernel's place of the driver. What an earlier life
/// attached there is replaced in one step.
pub(crate) fn attach_xdp(
    program: &mut Xdp,
    name: &str,
    interface: &str,
    pin: Option<&Path>,
) -> Result<Attached, KernelError> {
    let attached = native(program, interface, pin);
    attached
        .map_err(|error| KernelError::of(format!("{name} can't be attached to {interface}"), error.as_ref()))
}

fn native(program: &mut Xdp, interface: &str, pin: Option<&Path>) -> Result<Attached, Failure> {
    let left = pin.map(|pin| PinnedLink::from_pin(pin).map(|link| (pin, link)));
    if let Some(Ok((pin, left))) = left
        && let Ok(link) = XdpLink::try_from(FdLink::from(left))
        && let Ok(id) = program.attach_to_link(link)
    {
        drop(program.take_link(id)?);
        return Ok(Attached::Pinned(PinnedLink::from_pin(pin)?));
    }
    let id = program.attach(interface, XdpMode::Driver)?;
    let link = FdLink::try_from(program.take_link(id)?)?;
    let Some(pin) = pin else { return Ok(Attached::Link(link)) };
    remove(pin);
    pin.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    Ok(Attached::Pinned(link.pin(pin)?))
}

fn clsact(program: &mut SchedClassifier, at: At<'_>) -> Result<Attached, Failure> {
    let At { interface, direction, place: Place { priority, handle, .. } } = at;
    if let Err(error) = qdisc_add_clsact(interface)
        && system_error_of_tc(&error) != Some(io::ErrorKind::AlreadyExists)
    {
        return Err(error.into());
    }
    let earlier = SchedClassifierLink::attached(interface, direction, priority, handle, None)?;
    let id = match program.attach_to_link(earlier) {
        Ok(id) => id,
        Err(_) => {
            let options = NlOptions { priority, handle, classid: None };
            program.attach_with_options(interface, direction, TcAttachOptions::Netlink(options))?
        }
    };
    Ok(Attached::Clsact(program.take_link(id)?))
}

/// Removes what an earlier life attached to another interface by clsact.
pub(crate) fn detach_by_name(interface: &str, direction: TcAttachType, name: &str) {
    let _ = qdisc_detach_program(interface, direction, name);
}

/// Whether the kernel does not know tcx: it says that the argument is invalid.
fn is_unknown(error: &(dyn Error + 'static)) -> bool {
    system_error(error).and_then(io::Error::raw_os_error) == Some(rustix::io::Errno::INVAL.raw_os_error())
}

fn system_error_of_tc(error: &TcError) -> Option<io::ErrorKind> {
    let TcError::NetlinkError(error) = error else { return None };
    error.raw_os_error().map(|number| io::Error::from_raw_os_error(number).kind())
}
