//! How many flows may be noted one by one, and by whom.

use fulcrum_ebpf::plane::layout::{Class, MAX_FLOWS};
use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// No more flows than this are noted, so that none makes room for another; the rest goes where the older table says.
pub(crate) const NOTED_MAX: u32 = MAX_FLOWS / 10 * 9;
/// The part of that which is kept for services of the control plane, if there are any.
const PROTECTED_MAX: u32 = NOTED_MAX / 8;

/// How many more each class may note, which has noted so many.
pub(crate) fn rooms(noted: &BTreeMap<Class, u32>, any_protected: bool) -> BTreeMap<Class, u32> {
    let protected = if any_protected { PROTECTED_MAX } else { 0 };
    let shares = [(Class::Protected, protected), (Class::Workload, NOTED_MAX.saturating_sub(protected))];
    let left =
        |(class, share): (Class, u32)| (class, share.saturating_sub(noted.get(&class).copied().unwrap_or(0)));
    shares.into_iter().map(left).collect()
}
