//! How many flows may be noted one by one, and by whom.

use fulcrum_ebpf::plane::layout::Class;
use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// The part of the room that is kept for services of the control plane, if there are any.
const PROTECTED: u32 = 8;

/// How many more each class may note, which has noted so many. No more than `most` are noted in all, so that none makes
/// room for another; the rest goes where the older table says.
pub(crate) fn rooms(noted: &BTreeMap<Class, u32>, any_protected: bool, most: u32) -> BTreeMap<Class, u32> {
    let protected = if any_protected { most / PROTECTED } else { 0 };
    let shares = [(Class::Protected, protected), (Class::Workload, most.saturating_sub(protected))];
    let left =
        |(class, share): (Class, u32)| (class, share.saturating_sub(noted.get(&class).copied().unwrap_or(0)));
    shares.into_iter().map(left).collect()
}
