//! The objects of one cluster, as they were last seen.

use crate::metallb::Metallb;
use crate::slice::Slice;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Which Service a slice is of.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What an object of a namespace is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Its namespace.
    pub namespace: String,
    /// Its name there.
    pub name: String,
}

impl ObjectName {
    /// That of the object with `metadata`; none, if it has no name or namespace, which no API server says.
    #[must_use]
    pub fn of(metadata: &ObjectMeta) -> Option<Self> {
        Some(Self { namespace: metadata.namespace.clone()?, name: metadata.name.clone()? })
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What is known of a cluster.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    /// Its Services of `type: LoadBalancer`, and those that were.
    pub services: BTreeMap<ObjectName, Arc<Service>>,
    /// Its nodes.
    pub nodes: BTreeMap<String, Arc<Node>>,
    /// The slices of endpoints of each Service, by their own names.
    slices: BTreeMap<ObjectName, BTreeMap<String, Slice>>,
    /// Of which Service of its namespace each of these slices is: a slice may become another one's.
    owners: BTreeMap<ObjectName, Box<str>>,
    /// What it has of MetalLB, if that is read.
    pub metallb: Metallb,
}

impl Objects {
    /// Puts a Service in place of what it was.
    pub fn put_service(&mut self, service: Service) {
        if let Some(name) = ObjectName::of(&service.metadata) {
            self.services.insert(name, Arc::new(service));
        }
    }

    /// Puts a node in place of what it was.
    pub fn put_node(&mut self, node: Node) {
        if let Some(name) = node.metadata.name.clone() {
            self.nodes.insert(name, Arc::new(node));
        }
    }

    /// Puts a slice in place of what it was, of whichever Service that was. One that is of no Service is left out. Says
    /// whether it says anything new.
    pub fn put_slice(&mut self, slice: &EndpointSlice) -> bool {
        let Some(name) = ObjectName::of(&slice.metadata) else { return false };
        let owner = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME));
        let before = self.owners.get(&name);
        let stays = before.is_none_or(|before| owner.is_some_and(|owner| **owner == **before));
        let has_moved = !stays && self.remove_slice(&slice.metadata);
        let Some(owner) = owner else { return has_moved };
        let service = ObjectName { namespace: name.namespace.clone(), name: owner.clone() };
        let slice = Slice::of(slice);
        let slices = self.slices.entry(service).or_default();
        let is_new = slices.get(&name.name) != Some(&slice);
        slices.insert(name.name.clone(), slice);
        self.owners.insert(name, owner.as_str().into());
        is_new || has_moved
    }

    /// Takes the slice with `metadata` away, whatever its labels say now. Says whether it was there.
    pub fn remove_slice(&mut self, metadata: &ObjectMeta) -> bool {
        let Some(name) = ObjectName::of(metadata) else { return false };
        let Some(owner) = self.owners.remove(&name) else { return false };
        let service = ObjectName { namespace: name.namespace, name: owner.into() };
        if let Some(slices) = self.slices.get_mut(&service) {
            slices.remove(&name.name);
            if slices.is_empty() {
                self.slices.remove(&service);
            }
        }
        true
    }

    /// Takes all slices away.
    pub fn clear_slices(&mut self) {
        self.slices.clear();
        self.owners.clear();
    }

    /// Puts the slices of `others` in place of its own.
    pub fn take_slices(&mut self, others: &mut Self) {
        self.slices = std::mem::take(&mut others.slices);
        self.owners = std::mem::take(&mut others.owners);
    }

    /// The slices of a Service, in the order of their names.
    pub fn slices_of(&self, service: &ObjectName) -> impl Iterator<Item = &Slice> {
        self.slices.get(service).into_iter().flat_map(BTreeMap::values)
    }

    /// How many slices there are.
    #[must_use]
    pub fn slices(&self) -> usize {
        self.slices.values().map(BTreeMap::len).sum()
    }
}
