//! The VIPs on the loopback: added and removed until they are what the groups want, whoever changed them.

use super::group::GroupDriver;
use crate::netlink::{Netlink, View, add_address, delete_address};
use fulcrum_config::GroupName;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Time before an address that the kernel refused is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The addresses this room is responsible for.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    /// Addresses of groups that are no longer configured, until they are gone.
    former: BTreeSet<IpAddr>,
    /// Those that the kernel refused to remove, until they are tried again.
    refused: BTreeSet<IpAddr>,
    retry_at: Option<Instant>,
}

impl Addresses {
    /// A group went; its addresses are still ours to remove.
    pub(super) fn forget(&mut self, addresses: impl Iterator<Item = IpAddr>) {
        self.former.extend(addresses);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Makes the loopback's addresses what they are to be. Returns whether anything changed.
    pub(super) fn reconcile(
        &mut self,
        groups: &mut BTreeMap<GroupName, GroupDriver>,
        view: &mut View,
        netlink: &mut Netlink,
        now: Instant,
    ) -> bool {
        let Some(loopback) = view.loopback() else { return false };
        let index = loopback.index;
        let retry = self.retry_at.is_some_and(|at| at <= now);
        let mut refused_before = BTreeSet::new();
        if retry {
            self.retry_at = None;
            refused_before = std::mem::take(&mut self.refused);
        }
        self.former.retain(|address| loopback.has(*address));
        let mut wanted = BTreeSet::new();
        let mut ours = self.former.clone();
        for group in groups.values_mut() {
            if retry {
                group.failed.clear();
            }
            wanted.extend(group.wanted().into_iter().filter(|address| !group.failed.contains_key(address)));
            ours.extend(group.ours());
        }
        let add: Vec<IpAddr> = wanted.iter().copied().filter(|address| !loopback.has(*address)).collect();
        let remove = ours.difference(&wanted).copied();
        let remove: Vec<IpAddr> =
            remove.filter(|address| loopback.has(*address) && !self.refused.contains(address)).collect();
        if add.is_empty() && remove.is_empty() {
            return false;
        }
        let requests = remove.iter().map(|address| delete_address(index, *address));
        let requests = requests.chain(add.iter().map(|address| add_address(index, *address)));
        let results = netlink.change(requests.collect());
        let mut results = results.into_iter();
        for address in remove {
            match results.next() {
                Some(result) if !is_gone(&result) => {
                    let error = result.err().filter(|_| !refused_before.contains(&address));
                    self.refuse(address, error.as_ref(), now);
                }
                Some(_) | None => view.note(index, address, false),
            }
        }
        for address in add {
            match results.next() {
                Some(Ok(())) => view.note(index, address, true),
                Some(Err(error)) => self.fail(groups, address, &error, now),
                None => {}
            }
        }
        true
    }

    /// The address stays; it is removed later. `error` is news.
    fn refuse(&mut self, address: IpAddr, error: Option<&io::Error>, now: Instant) {
        if let Some(error) = error {
            tracing::error!(%address, %error, "VIP could not be removed from the loopback; trying again");
        }
        self.retry_at = now.checked_add(RETRY);
        self.refused.insert(address);
    }

    fn fail(
        &mut self,
        groups: &mut BTreeMap<GroupName, GroupDriver>,
        address: IpAddr,
        error: &io::Error,
        now: Instant,
    ) {
        tracing::error!(%address, %error, "VIP could not be added to the loopback; trying again");
        self.retry_at = now.checked_add(RETRY);
        for group in groups.values_mut().filter(|group| group.has(address)) {
            group.failed.insert(address, format!("it could not be added to the loopback: {error}"));
        }
    }
}

/// One that is gone already is as good as removed.
fn is_gone(result: &io::Result<()>) -> bool {
    match result {
        Ok(()) => true,
        Err(error) => error.raw_os_error() == Some(libc::EADDRNOTAVAIL),
    }
}

#[cfg(test)]
mod tests;
