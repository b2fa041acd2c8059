//! What silences this node for a group: its resignation, the guard's orders, the fence's permit.

use super::GroupDriver;
use crate::border::Role;
use crate::driver::link::LinkDriver;
use crate::election::elector::Grant;
use crate::fence::Permit;
use crate::guard::Orders;
use crate::router::down_interval;
use fulcrum_config::Link;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

impl GroupDriver {
    /// Tells the peers on every link that this node leads no more.
    pub(in crate::driver) fn resign(&mut self, links: &mut BTreeMap<Link, LinkDriver>) {
        for (link, destinations) in &self.destinations {
            if let (Some(driver), Some(advert)) = (links.get_mut(link), self.router.advert(link, 0)) {
                driver.send_advert(&advert, destinations, None);
            }
        }
    }

    /// What the guard is to do if this process does not live; nothing unless addresses may be here.
    pub(in crate::driver) fn orders(
        &self,
        links: &BTreeMap<Link, LinkDriver>,
        loopback: u32,
        devices: Vec<u32>,
    ) -> Option<Orders> {
        if !self.held {
            return None;
        }
        let mut resignations = Vec::new();
        for (link, destinations) in &self.destinations {
            // One that has retired has resigned already.
            let Some(driver) = links.get(link).filter(|_| self.leading) else { continue };
            let Some(advert) = self.router.advert(link, 0) else { continue };
            resignations.extend(driver.resignations(&advert, destinations));
        }
        let addresses = self.ours().map(|address| (loopback, address));
        Some(Orders { resignations, addresses: addresses.collect(), devices, down_interval: self.patience() })
    }

    /// What its VIPs may do on this node.
    pub(in crate::driver) fn permit(&self, now: Instant) -> Permit {
        let (interval, patience) = (self.group.advert_interval.duration(), self.patience());
        if self.leading && self.router.role() == Role::Leader {
            let most = match self.grant {
                Grant::Always => None,
                Grant::Until(until) => Some(until),
                Grant::Never => return Permit::Silent,
            };
            return Permit::Leading { interval, patience, most, offered: self.router.offers() };
        }
        match self.drain.until() {
            Some(until) if now < until => Permit::Draining { until, interval, patience },
            Some(_) | None => Permit::Silent,
        }
    }

    /// Peers have waited at least this long when they take over.
    fn patience(&self) -> Duration {
        down_interval(u8::MAX, self.group.advert_interval)
    }
}
