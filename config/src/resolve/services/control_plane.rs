//! What is on a VIP of class control-plane belongs to one control plane.

use crate::file::ServiceSection;
use crate::model::{Class, GroupName, Service, ServiceName};
use crate::reader::Reader;
use crate::resolve::groups::Groups;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

/// The services of such groups, each group's as far as they are known to belong together.
#[derive(Debug, Default)]
pub(super) struct ControlPlanes(HashMap<GroupName, Vec<Part>>);

/// A service and the machines behind it.
#[derive(Debug)]
struct Part {
    name: ServiceName,
    machines: BTreeSet<IpAddr>,
}

impl ControlPlanes {
    /// One more service.
    pub(super) fn add(
        &mut self,
        reader: &mut Reader<'_>,
        service: &Service,
        section: &ServiceSection,
        groups: &Groups,
    ) {
        let class = groups.all.get(&service.group).map(|group| group.class);
        if class != Some(Class::ControlPlane) {
            return;
        }
        let Service { name, group, .. } = service;
        if let Some(tenant) = &section.tenant {
            let message = format!(
                "the VIPs of group `{group}`, of class control-plane, are reserved: no tenant's service gets one"
            );
            reader.error(tenant.node, message, "take an address of a pool: `vip: auto`");
        }
        let machines: BTreeSet<IpAddr> = service.backends.iter().map(|it| it.address.ip).collect();
        let parts = self.0.entry(group.clone()).or_default();
        let is_apart = |part: &&Part| {
            !part.machines.is_empty() && part.machines.is_disjoint(&machines) && !machines.is_empty()
        };
        if let Some(other) = parts.iter().find(is_apart) {
            let message = format!(
                "services `{}` and `{name}` are on VIPs of group `{group}`, of class control-plane, and no machine is behind \
                 both",
                other.name
            );
            let help = "give each control plane a group of its own, and workloads one of class workload: what is in one group \
                        moves together and shares what is kept for it";
            reader.warn(section.at, message, help);
        }
        parts.push(Part { name: name.clone(), machines });
    }
}
