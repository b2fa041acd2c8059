//! What watches say, gathered: a list takes the place of what was known only when it is whole.

use crate::metallb::Metallb;
use crate::objects::{ObjectName, Objects};
use crate::writes::is_left_behind;
use k8s_openapi::api::core::v1::{Namespace, Node, NodeSpec, NodeStatus, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicObject;
use kube::runtime::watcher::Event;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

mod metallb;
#[cfg(test)]
mod tests;

/// What a watch said.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub(crate) enum Seen {
    Service(Event<Service>),
    Node(Event<Node>),
    Slice(Event<EndpointSlice>),
    AddressPool(Event<DynamicObject>),
    Advertisement(Event<DynamicObject>),
    Namespace(Event<Namespace>),
    /// The cluster does not know this kind of object.
    Absent(Kind),
    /// What changed since the last word of it is not known any more: a list follows.
    Gone(Kind),
}

impl Seen {
    /// The kind that it shows to be up to date. A list that is on its way shows nothing: it begins before the API was asked.
    pub(crate) fn proves(&self) -> Option<Kind> {
        fn is_proof<K>(event: &Event<K>) -> bool {
            matches!(event, Event::InitDone | Event::Apply(_) | Event::Delete(_))
        }
        let (kind, is_proof) = match self {
            Self::Service(event) => (Kind::Services, is_proof(event)),
            Self::Node(event) => (Kind::Nodes, is_proof(event)),
            Self::Slice(event) => (Kind::Slices, is_proof(event)),
            Self::AddressPool(event) => (Kind::AddressPools, is_proof(event)),
            Self::Advertisement(event) => (Kind::Advertisements, is_proof(event)),
            Self::Namespace(event) => (Kind::Namespaces, is_proof(event)),
            Self::Absent(kind) => (*kind, true),
            Self::Gone(kind) => (*kind, false),
        };
        is_proof.then_some(kind)
    }
}

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Services,
    Nodes,
    Slices,
    AddressPools,
    Advertisements,
    Namespaces,
}

impl Kind {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::Nodes => "nodes",
            Self::Slices => "endpointslices",
            Self::AddressPools => "ipaddresspools",
            Self::Advertisements => "l2advertisements",
            Self::Namespaces => "namespaces",
        }
    }
}

/// The objects of a cluster, kept up with by watches.
#[derive(Debug, Default)]
pub(crate) struct Reflection {
    objects: Objects,
    /// Lists that are on their way.
    coming: Objects,
    listed: BTreeSet<Kind>,
    /// Of which this session's watch has shown that it goes on from now, and not from what an earlier one left.
    current: BTreeSet<Kind>,
    /// Whether MetalLB's objects are among them.
    with_metallb: bool,
}

impl Reflection {
    /// The objects, once each kind has been listed whole.
    pub(crate) fn objects(&self) -> Option<&Objects> {
        self.are_all_in(&self.listed).then_some(&self.objects)
    }

    /// Whether each kind has been listed whole in this session: what an earlier one left may be a week old.
    pub(crate) fn is_current(&self) -> bool {
        self.are_all_in(&self.current)
    }

    fn are_all_in(&self, kinds: &BTreeSet<Kind>) -> bool {
        let wanted = [Kind::Services, Kind::Nodes, Kind::Slices];
        let of_metallb = [Kind::AddressPools, Kind::Advertisements, Kind::Namespaces];
        let are_in = |wanted: &[Kind]| wanted.iter().all(|kind| kinds.contains(kind));
        are_in(&wanted) && (!self.with_metallb || are_in(&of_metallb))
    }

    /// All is watched anew. What is known stays, until lists take its place.
    pub(crate) fn begin(&mut self) {
        self.current.clear();
    }

    /// From now on MetalLB's objects are watched, or are not.
    pub(crate) fn expect_metallb(&mut self, with_metallb: bool) {
        if self.with_metallb != with_metallb {
            self.with_metallb = with_metallb;
            for kind in [Kind::AddressPools, Kind::Advertisements, Kind::Namespaces] {
                self.listed.remove(&kind);
            }
            self.objects.metallb = Metallb::default();
        }
    }

    pub(crate) fn reads_metallb(&self) -> bool {
        self.with_metallb
    }

    /// Puts what a watch said in place. Says whether what is known has changed, or is known to be current now.
    pub(crate) fn see(&mut self, seen: Seen) -> bool {
        if let Seen::Gone(kind) = seen {
            self.current.remove(&kind);
        }
        let is_proven = seen.proves().is_some_and(|kind| self.current.insert(kind));
        self.place(seen) || is_proven
    }

    fn place(&mut self, seen: Seen) -> bool {
        match seen {
            Seen::Service(event) => self.see_service(event),
            Seen::Node(event) => self.see_node(event),
            Seen::Slice(event) => self.see_slice(event),
            other @ (Seen::AddressPool(_)
            | Seen::Advertisement(_)
            | Seen::Namespace(_)
            | Seen::Absent(_)
            | Seen::Gone(_)) => self.see_metallb(other),
        }
    }

    /// Puts a Service in place as the API server returned it after a write: the watch may say something older yet. If it has
    /// said that the Service is gone, that holds, and one that has its name since then is another.
    pub(crate) fn written(&mut self, service: Service) {
        let Some(name) = ObjectName::of(&service.metadata) else { return };
        if self.objects.services.get(&name).is_some_and(|known| known.metadata.uid == service.metadata.uid) {
            place(&mut self.objects.services, name, service);
        }
    }

    fn see_service(&mut self, event: Event<Service>) -> bool {
        match event {
            Event::Init => {
                self.coming.services.clear();
                false
            }
            Event::InitApply(service) => {
                if let Some(name) = ObjectName::of(&service.metadata) {
                    place(&mut self.coming.services, name, service);
                }
                false
            }
            Event::InitDone => {
                let before = mem::replace(&mut self.objects.services, mem::take(&mut self.coming.services));
                for (name, service) in before {
                    if let Some(now) = self.objects.services.get(&name)
                        && !is_newer(&now.metadata, &service.metadata)
                    {
                        self.objects.services.insert(name, service);
                    }
                }
                self.listed.insert(Kind::Services);
                true
            }
            Event::Apply(service) => {
                let Some(name) = ObjectName::of(&service.metadata) else { return false };
                place(&mut self.objects.services, name, service)
            }
            Event::Delete(service) => ObjectName::of(&service.metadata)
                .is_some_and(|name| self.objects.services.remove(&name).is_some()),
        }
    }

    fn see_node(&mut self, event: Event<Node>) -> bool {
        match event {
            Event::Init => {
                self.coming.nodes.clear();
                false
            }
            Event::InitApply(node) => {
                self.coming.put_node(slim_node(node));
                false
            }
            Event::InitDone => {
                self.objects.nodes = mem::take(&mut self.coming.nodes);
                self.listed.insert(Kind::Nodes);
                true
            }
            Event::Apply(node) => {
                let node = slim_node(node);
                let before = node.metadata.name.as_ref().and_then(|name| self.objects.nodes.get(name));
                // A kubelet's report that says nothing new.
                if before.is_some_and(|before| **before == node) {
                    return false;
                }
                self.objects.put_node(node);
                true
            }
            Event::Delete(node) => {
                node.metadata.name.is_some_and(|name| self.objects.nodes.remove(&name).is_some())
            }
        }
    }

    fn see_slice(&mut self, event: Event<EndpointSlice>) -> bool {
        match event {
            Event::Init => {
                self.coming.clear_slices();
                false
            }
            Event::InitApply(slice) => {
                self.coming.put_slice(&slice);
                false
            }
            Event::InitDone => {
                self.objects.take_slices(&mut self.coming);
                self.listed.insert(Kind::Slices);
                true
            }
            Event::Apply(slice) => {
                // What nobody reads of it changes, too: zones, hints.
                self.objects.put_slice(&slice)
            }
            Event::Delete(slice) => self.objects.remove_slice(&slice.metadata),
        }
    }
}

/// Puts a Service in place, unless what is there is as new. One that neither asks for a load balancer nor could have
/// or say something of ours is not kept.
fn place(services: &mut BTreeMap<ObjectName, Arc<Service>>, name: ObjectName, service: Service) -> bool {
    if services.get(&name).is_some_and(|known| !is_newer(&service.metadata, &known.metadata)) {
        return false;
    }
    let asks = service.spec.as_ref().is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer"));
    let could_have = service.metadata.finalizers.as_ref().is_some_and(|it| !it.is_empty());
    if !asks && !could_have && !is_left_behind(&service) {
        return services.remove(&name).is_some();
    }
    services.insert(name, Arc::new(slim_service(service)));
    true
}

/// Whether `one` is a later state than `other`, or of another object. Versions are numbers that grow.
fn is_newer(one: &ObjectMeta, other: &ObjectMeta) -> bool {
    let version = |metadata: &ObjectMeta| metadata.resource_version.as_ref()?.parse::<u64>().ok();
    match (version(one), version(other)) {
        (Some(own), Some(others)) => one.uid != other.uid || own > others,
        _ => true,
    }
}

fn slim(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    metadata.owner_references = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

fn slim_service(mut service: Service) -> Service {
    slim(&mut service.metadata);
    service
}

/// What nobody asks of a node is left out: images alone are tens of kilobytes.
fn slim_node(node: Node) -> Node {
    let metadata = ObjectMeta {
        name: node.metadata.name,
        labels: node.metadata.labels,
        creation_timestamp: node.metadata.creation_timestamp,
        deletion_timestamp: node.metadata.deletion_timestamp,
        ..ObjectMeta::default()
    };
    let spec = node.spec.map(|spec| NodeSpec {
        taints: spec.taints,
        unschedulable: spec.unschedulable,
        ..NodeSpec::default()
    });
    let status = node.status.map(|status| {
        let ready = status.conditions.unwrap_or_default().into_iter().filter(|it| it.type_ == "Ready");
        let ready = ready.map(|mut condition| {
            // That says each time that a kubelet was heard.
            condition.last_heartbeat_time = None;
            condition
        });
        NodeStatus { addresses: status.addresses, conditions: Some(ready.collect()), ..NodeStatus::default() }
    });
    Node { metadata, spec, status }
}
