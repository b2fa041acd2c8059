//! Checks of backends in mode dsr go to the VIP, at the backend's MAC: the kernel's programs, and what they are told.

use super::kernel::other_interfaces;
use super::routes::Way;
use fulcrum_config::priority_of_checks;
use fulcrum_ebpf::layout::Checked;
use fulcrum_ebpf::{Checks as Programs, Mode};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// How often the kernel is asked again, if it refused.
const TRY_EVERY: Duration = Duration::from_secs(10);

/// A backend, and the VIP that it is asked for.
pub(crate) type Asked = (IpAddr, IpAddr);

/// The programs, once there is a backend that is checked so.
#[derive(Debug)]
pub(crate) struct Checks {
    mode: Mode,
    programs: Option<Programs>,
    attached: BTreeSet<u32>,
    /// Those that are asked for their VIP; the others are asked at their own address.
    rewritten: BTreeSet<Asked>,
    /// Why not all are.
    error: Option<String>,
    /// When the kernel is asked again, if it refused.
    next_try: Duration,
    /// Whether what an earlier life left was looked for.
    swept: bool,
}

impl Checks {
    pub(crate) fn new(mode: Mode) -> Self {
        Self {
            mode,
            programs: None,
            attached: BTreeSet::new(),
            rewritten: BTreeSet::new(),
            error: None,
            next_try: Duration::ZERO,
            swept: false,
        }
    }

    /// Tells the kernel who is to be asked for which VIP, as far as it is a neighbour.
    pub(crate) fn tell(
        &mut self,
        wanted: &BTreeSet<Asked>,
        ways: &BTreeMap<IpAddr, Way>,
        name_of: impl Fn(u32) -> Option<String>,
        now: Duration,
    ) {
        let reachable = neighbours(wanted, ways);
        if reachable.is_empty() {
            return self.stop();
        }
        if self.error.is_some() && now < self.next_try {
            return;
        }
        self.next_try = now.saturating_add(TRY_EVERY);
        let error = self.try_tell(&reachable, name_of).err();
        if error.is_some() {
            self.rewritten.clear();
        }
        if let Some(error) = error.as_ref().filter(|error| self.error.as_ref() != Some(error)) {
            tracing::warn!(
                "backends in mode dsr are checked at their own addresses, not at the VIP: {error}"
            );
        }
        self.error = error;
    }

    fn try_tell(
        &mut self,
        reachable: &BTreeMap<Asked, u32>,
        name_of: impl Fn(u32) -> Option<String>,
    ) -> Result<(), String> {
        let interfaces: BTreeSet<u32> = reachable.values().copied().collect();
        let wanted: BTreeSet<Asked> = reachable.keys().copied().collect();
        if self.programs.is_some() && self.attached == interfaces && self.rewritten == wanted {
            return Ok(());
        }
        if self.programs.is_none() {
            self.programs = Some(Programs::load(self.mode).map_err(|error| error.to_string())?);
        }
        let Some(programs) = &mut self.programs else { return Ok(()) };
        for index in &interfaces {
            let name = name_of(*index).ok_or_else(|| format!("interface {index} is gone"))?;
            programs.attach(&name, *index).map_err(|error| error.to_string())?;
        }
        let others = if self.swept { Vec::new() } else { other_interfaces(&interfaces) };
        self.swept = true;
        programs.retain(|index| interfaces.contains(&index), &others);
        self.attached = interfaces;
        let checked = wanted.iter().map(|(ip, vip)| (Checked::new(*ip, priority_of_checks(*vip)), *vip));
        programs.set_checked(&checked.collect()).map_err(|error| error.to_string())?;
        self.rewritten = wanted;
        Ok(())
    }

    /// Whether a backend is asked for this VIP.
    pub(crate) fn is_rewritten(&self, asked: &Asked) -> bool {
        self.rewritten.contains(asked)
    }

    /// Why a backend is asked at its own address, if the kernel said so.
    pub(crate) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// What became of the packets.
    pub(crate) fn counters(&self) -> Vec<(&'static str, u64)> {
        self.programs.as_ref().map(Programs::counters).unwrap_or_default()
    }

    /// Takes them out of the kernel.
    pub(crate) fn stop(&mut self) {
        if let Some(programs) = self.programs.take() {
            programs.stop();
        }
        if !std::mem::replace(&mut self.swept, true) {
            remove_left();
        }
        self.attached.clear();
        self.rewritten.clear();
        self.error = None;
    }
}

/// Removes what an earlier life has left.
pub(crate) fn remove_left() {
    Programs::remove_left(&other_interfaces(&BTreeSet::new()));
}

/// Those that are on a link of this node, with its interface: the VIP leads nowhere else.
fn neighbours(wanted: &BTreeSet<Asked>, ways: &BTreeMap<IpAddr, Way>) -> BTreeMap<Asked, u32> {
    let interface = |asked: &Asked| match ways.get(&asked.0) {
        Some(Way::Hop(hop)) if hop.address == asked.0 => Some(hop.interface),
        Some(Way::Hop(_) | Way::Local | Way::None) | None => None,
    };
    wanted.iter().filter_map(|asked| Some((*asked, interface(asked)?))).collect()
}
