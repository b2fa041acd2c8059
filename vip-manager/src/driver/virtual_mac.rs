//! The devices that receive for virtual MACs: a macvlan for each group and link that wants one.
//!
//! Adverts, ARP and ND leave as whole frames by the interface itself; the device is there so that the
//! network card takes frames for the virtual MAC, and the kernel what is in them. It is up only while this
//! node leads, and removed when it stops.

use super::group::GroupDriver;
use super::link::{Identity, LinkDriver};
use crate::frame::Mac;
use crate::netlink::{Netlink, Request, View, add_address, device_delete, device_set_up, macvlan_add};
use crate::poller::Poller;
use crate::settings::{self, Settings};
use crate::sockets::NeighbourSocket;
use fulcrum_config::{Family, GroupName, Link};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Time before a device that could not be made is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// One device.
pub(super) struct Device {
    group: GroupName,
    link: Link,
    name: String,
    /// Its index, once the kernel told it.
    pub(super) index: Option<u32>,
    /// Hears requests that are sent to the virtual MAC alone.
    pub(super) neighbour: Option<NeighbourSocket>,
    listening_for: Vec<IpAddr>,
}

/// All of them, by their numbers for the poller.
#[derive(Default)]
pub(super) struct Devices {
    pub(super) devices: BTreeMap<u64, Device>,
    retry_at: Option<Instant>,
    pub(super) errors: BTreeMap<String, String>,
}

/// What making and removing devices takes.
pub(super) struct Kernel<'a> {
    pub(super) view: &'a View,
    pub(super) netlink: &'a mut Netlink,
    pub(super) settings: &'a mut Settings,
    pub(super) poller: &'a Poller,
}

impl Devices {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.retry_at
    }

    /// The link whose requests the device `number` hears.
    pub(super) fn link_of(&self, number: u64) -> Option<&Link> {
        self.devices.get(&number).map(|device| &device.link)
    }

    /// The indexes of a group's devices.
    pub(super) fn of_group(&self, group: &GroupName) -> Vec<u32> {
        self.devices
            .values()
            .filter(|device| device.group == *group)
            .filter_map(|device| device.index)
            .collect()
    }

    /// Makes, enables, disables and removes devices until they are what the groups want.
    pub(super) fn reconcile(
        &mut self,
        groups: &BTreeMap<GroupName, GroupDriver>,
        links: &BTreeMap<Link, LinkDriver>,
        kernel: &mut Kernel<'_>,
        next_number: &mut u64,
        now: Instant,
    ) {
        if groups.values().all(|group| group.virtual_macs.is_empty()) && self.devices.is_empty() {
            return;
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.errors.clear();
        }
        let mut wanted = BTreeSet::new();
        for (name, group) in groups {
            for (link, mac) in &group.virtual_macs {
                let Some(open) = links.get(link).and_then(|driver| driver.open.as_ref()) else { continue };
                let parent = open.identity.index;
                let number = self.number_of(link, parent, group, next_number);
                wanted.insert(number);
                if let Some(device) = self.devices.get_mut(&number)
                    && let Err(error) =
                        device.reconcile(number, &open.identity, *mac, group, kernel, &self.errors)
                {
                    let text = format!(
                        "{}: the virtual MAC {mac} of {} could not be set up: {error}; trying again",
                        name, link.interface
                    );
                    tracing::error!("{text}");
                    self.errors.insert(device.name.clone(), text);
                    self.retry_at = now.checked_add(RETRY);
                }
            }
        }
        let gone: Vec<u64> = self.devices.keys().filter(|number| !wanted.contains(number)).copied().collect();
        for number in gone {
            if let Some(device) = self.devices.remove(&number) {
                device.remove(kernel);
            }
        }
    }

    /// Removes all.
    pub(super) fn remove_all(&mut self, kernel: &mut Kernel<'_>) {
        std::mem::take(&mut self.devices).into_values().for_each(|device| device.remove(kernel));
    }

    fn number_of(&mut self, link: &Link, parent: u32, driver: &GroupDriver, next_number: &mut u64) -> u64 {
        let family = match link.family {
            Family::Ipv4 => 4,
            Family::Ipv6 => 6,
        };
        let name =
            format!("vrrp{family}.{}.{parent}", driver.group.vrid().map_or(0, fulcrum_config::Vrid::get));
        if let Some((number, device)) = self.devices.iter_mut().find(|(_, device)| device.name == name) {
            // The group that it was made for may have another VRID now, or another name.
            device.group.clone_from(&driver.group.name);
            return *number;
        }
        let number = *next_number;
        *next_number = number.saturating_add(1);
        let device = Device {
            group: driver.group.name.clone(),
            link: link.clone(),
            name,
            index: None,
            neighbour: None,
            listening_for: Vec::new(),
        };
        self.devices.insert(number, device);
        number
    }
}

#[cfg(test)]
mod tests;

impl Device {
    fn reconcile(
        &mut self,
        number: u64,
        below: &Identity,
        mac: Mac,
        group: &GroupDriver,
        kernel: &mut Kernel<'_>,
        errors: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        let Identity { index: parent, source, .. } = *below;
        let found = kernel.view.named(&self.name).map(|found| (found.index, found.enabled));
        let Some((index, enabled)) = found else {
            self.index = None;
            self.neighbour = None;
            if errors.contains_key(&self.name) {
                return Ok(());
            }
            return change(kernel, macvlan_add(&self.name, parent, mac.octets()));
        };
        if self.index != Some(index) {
            self.index = Some(index);
            kernel.settings.apply(&settings::for_virtual_mac(&self.name))?;
            if source.is_ipv4() {
                // On a device without any address the kernel's check of sources refuses everything.
                change(kernel, add_address(index, source))?;
            }
            self.neighbour = None;
        }
        if enabled != group.leading && !errors.contains_key(&self.name) {
            change(kernel, device_set_up(index, group.leading))?;
        }
        if group.leading && self.neighbour.is_none() {
            let opened = NeighbourSocket::open(self.link.family, index).and_then(|socket| {
                let token = super::engine::token(number, super::engine::VIRTUAL);
                kernel.poller.add(socket.as_fd(), token).map(|()| socket)
            });
            self.neighbour = Some(opened.map_err(|error| error.to_string())?);
            self.listening_for.clear();
        }
        if !group.leading {
            self.neighbour = None;
        }
        self.listen_for(group.group.vips_on(&self.link).collect())
    }

    fn listen_for(&mut self, addresses: Vec<IpAddr>) -> Result<(), String> {
        if let Some(socket) = &mut self.neighbour
            && self.listening_for != addresses
        {
            socket.listen_for_own(&addresses).map_err(|error| error.to_string())?;
            self.listening_for = addresses;
        }
        Ok(())
    }

    fn remove(self, kernel: &mut Kernel<'_>) {
        if let Some(index) = self.index {
            // One that went with its interface is gone already.
            let _ = change(kernel, device_delete(index));
        }
    }
}

fn change(kernel: &mut Kernel<'_>, request: Request) -> Result<(), String> {
    let result = kernel.netlink.change(vec![request]).pop();
    result.unwrap_or(Ok(())).map_err(|error| error.to_string())
}
