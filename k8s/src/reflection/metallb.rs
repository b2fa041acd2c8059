//! The same for MetalLB's objects, which a cluster may not know, and for the namespaces that they speak of.

use super::{Kind, Reflection, Seen};
use crate::metallb::{AddressPool, Advertisement};
use crate::objects::ObjectName;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::DynamicObject;
use kube::runtime::watcher::Event;
use std::collections::BTreeMap;

/// What became of what is known.
struct Change {
    is_new: bool,
    is_whole: bool,
}

impl Reflection {
    pub(super) fn see_metallb(&mut self, seen: Seen) -> bool {
        let (now, coming) = (&mut self.objects.metallb, &mut self.coming.metallb);
        let (kind, change) = match seen {
            Seen::AddressPool(event) => {
                let read = |it: &_| Some((name_of(it)?, AddressPool::of(it)));
                (Kind::AddressPools, see(&mut now.pools, &mut coming.pools, event, read))
            }
            Seen::Advertisement(event) => {
                let read = |it: &_| Some((name_of(it)?, Advertisement::of(it)));
                (Kind::Advertisements, see(&mut now.advertisements, &mut coming.advertisements, event, read))
            }
            Seen::Namespace(event) => {
                let read = |it: &Namespace| {
                    Some((it.metadata.name.clone()?, it.metadata.labels.clone().unwrap_or_default()))
                };
                (Kind::Namespaces, see(&mut now.namespaces, &mut coming.namespaces, event, read))
            }
            Seen::Absent(kind) => {
                let known = match kind {
                    Kind::AddressPools => now.pools.take().is_some(),
                    Kind::Advertisements => now.advertisements.take().is_some(),
                    Kind::Services | Kind::Nodes | Kind::Slices | Kind::Namespaces => false,
                };
                (kind, Change { is_new: known, is_whole: true })
            }
            Seen::Service(_) | Seen::Node(_) | Seen::Slice(_) | Seen::Gone(_) => return false,
        };
        let is_first = change.is_whole && self.listed.insert(kind);
        is_first || change.is_new
    }
}

fn name_of(object: &DynamicObject) -> Option<ObjectName> {
    ObjectName::of(&object.metadata)
}

/// Puts what a watch of one kind said in place; `read` says what is kept of an object.
fn see<K, N: Ord, T: PartialEq>(
    now: &mut Option<BTreeMap<N, T>>,
    coming: &mut Option<BTreeMap<N, T>>,
    event: Event<K>,
    read: impl Fn(&K) -> Option<(N, T)>,
) -> Change {
    let mut is_whole = false;
    let is_new = match event {
        Event::Init => {
            *coming = None;
            false
        }
        Event::InitApply(object) => {
            coming.get_or_insert_default().extend(read(&object));
            false
        }
        Event::InitDone => {
            is_whole = true;
            let before = now.replace(coming.take().unwrap_or_default());
            before != *now
        }
        Event::Apply(object) => read(&object).is_some_and(|(name, object)| {
            let known = now.get_or_insert_default();
            let is_new = known.get(&name) != Some(&object);
            known.insert(name, object);
            is_new
        }),
        Event::Delete(object) => read(&object)
            .is_some_and(|(name, _)| now.as_mut().is_some_and(|known| known.remove(&name).is_some())),
    };
    Change { is_new, is_whole }
}
