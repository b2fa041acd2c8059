//! Backends, in pools and in services.

use super::address_pools::AddressPools;
use super::addresses::not_of_one_machine;
use super::checks::{Checks, referred};
use super::groups::Groups;
use crate::file::{File, Member};
use crate::model::{Backend, BackendAddress, BackendName, Check, Weight};
use crate::reader::{At, Field, Reader};
use crate::table::{List, Or};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A pool that services share.
pub(super) struct Pool {
    pub(super) backends: Vec<Arc<Backend>>,
    pub(super) check: Option<Arc<Check>>,
}

/// The pools by name; one that was refused has no value.
pub(super) type Pools = HashMap<String, Option<Pool>>;

pub(super) fn resolve(
    reader: &mut Reader<'_>,
    file: &File,
    checks: &Checks,
    groups: &Groups,
    ranges: &AddressPools,
) -> Pools {
    let mut pools = Pools::new();
    for (name, section) in file.backends.get().map(|named| named.0.as_slice()).unwrap_or_default() {
        let pool = section.as_ref().and_then(|section| {
            let check = section.check.as_ref().and_then(|reference| referred(reader, reference, checks));
            let backends = backends(reader, section.members.as_ref()?, groups, ranges);
            Some(Pool { backends, check: check.flatten() })
        });
        pools.insert(name.value.0.clone(), pool);
    }
    pools
}

pub(super) fn backends(
    reader: &mut Reader<'_>,
    list: &At<List<Member>>,
    groups: &Groups,
    ranges: &AddressPools,
) -> Vec<Arc<Backend>> {
    let mut backends: Vec<Arc<Backend>> = Vec::with_capacity(list.value.0.len());
    let mut names = BTreeMap::new();
    let mut addresses = BTreeMap::new();
    for member in &list.value.0 {
        let Some(backend) = backend(reader, member) else { continue };
        let ip = backend.address.ip;
        if let Some(kind) = not_of_one_machine(ip).filter(|_| !ip.is_loopback()) {
            reader.error(member.node, format!("`{ip}` is {kind}"), "write the address of a server");
        }
        if let Some((pool, place)) = ranges.around(ip) {
            let message = format!(
                "`{ip}` lies in pool `{pool}`: it would be handed out, and connections go round in a loop"
            );
            reader.conflict(member.node, message, "leave it out of the pool", place, "the pool");
        } else if let Some(vip) = groups.vips.get(&ip) {
            let message =
                format!("`{ip}` is a VIP of group `{}`: connections would go round in a loop", vip.name);
            reader.conflict(member.node, message, "write the server's own address", vip.place, "the VIP");
        }
        if let Some(other) = names.insert(backend.name.clone(), member.node) {
            let message = format!("there is a backend `{}` here already", backend.name);
            reader.conflict(
                member.node,
                message,
                "give each its own name and address",
                other,
                "the first one",
            );
        } else if let Some(other) = addresses.insert(backend.address, member.node) {
            let message =
                format!("there is a backend with the address {} here already", show(backend.address));
            let help = "delete one; `weight` says what share it gets";
            reader.conflict(member.node, message, help, other, "the first one");
        }
        backends.push(Arc::new(backend));
    }
    if !reader.refused_within(list.node) {
        if backends.is_empty() {
            reader.warn(list.node, "there is no backend: connections are refused", "add one");
        } else if backends.iter().all(|backend| backend.weight.get() == 0 || backend.drain) {
            let help = "give one a weight, or delete `drain`";
            reader.warn(list.node, "no backend takes new connections: they are refused", help);
        }
    }
    backends
}

fn backend(reader: &mut Reader<'_>, member: &At<Member>) -> Option<Backend> {
    let section = match &member.value {
        Or::Short(address) => {
            return Some(Backend {
                name: BackendName::new(&show(*address)),
                address: *address,
                weight: Weight::ONE,
                backup: false,
                drain: false,
                disabled: false,
            });
        }
        Or::Long(section) => section,
    };
    let mut address = *section.address.get()?;
    if let Some(port) = &section.port {
        if address.port.is_some() {
            reader.error(port.node, "the port stands in `address` already", "delete one of them");
        }
        address.port = u16::try_from(port.value.0).ok();
    }
    let name = section.name.get().map_or_else(|| show(address), |name| name.0.clone());
    Some(Backend {
        name: BackendName::new(&name),
        address,
        weight: section.weight.get().copied().unwrap_or(Weight::ONE),
        backup: section.backup.get().copied().unwrap_or(false),
        drain: section.drain.get().copied().unwrap_or(false),
        disabled: false,
    })
}

fn show(address: BackendAddress) -> String {
    match address.port {
        Some(port) => std::net::SocketAddr::new(address.ip, port).to_string(),
        None => address.ip.to_string(),
    }
}
