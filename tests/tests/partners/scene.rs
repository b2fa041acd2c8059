//! One node of ours, one partner, and a web server on the partner's machine that answers for the VIP when it
//! leads.

use fulcrum_tests::Result;
use fulcrum_tests::frames::NeighbourProbe;
use fulcrum_tests::lab::{
    Fulcrum, GROUP, Kind, Lab, Machine, Nginx, Pair, Partner, PlannedNode, VirtualRouter, ipv4, ipv6,
};
use fulcrum_tests::wait::{now, run_for, wait_until};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

pub(crate) const LONG: Duration = Duration::from_secs(20);
pub(crate) const OURS: u8 = 120;

/// Which family the VIP is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Ipv4,
    Ipv6,
}

pub(crate) struct Scene<'a> {
    lab: &'a Lab,
    kind: Kind,
    pub(crate) pair: Pair,
    pub(crate) router: VirtualRouter,
    pub(crate) neighbours: NeighbourProbe,
    _web: Nginx,
}

impl<'a> Scene<'a> {
    /// Ours is `lb1` with priority [`OURS`], the partner is `lb2`.
    pub(crate) fn new(lab: &'a Lab, kind: Kind, family: Family, priority: u8, preempt: bool) -> Result<Self> {
        let mut pair = Pair::new(lab)?;
        let vip: IpAddr = if family == Family::Ipv4 { ipv4(100) } else { ipv6(100) };
        pair.plan.vips = vec![vip];
        pair.plan.nodes = vec![
            PlannedNode::new(&pair.lb1, OURS),
            PlannedNode { foreign: true, ..PlannedNode::new(&pair.lb2, priority) },
        ];
        if preempt {
            pair.plan.group.push("preempt: true".into());
        }
        let router = VirtualRouter {
            vrid: pair.plan.vrid,
            priority,
            advert_centiseconds: 10,
            vips: vec![vip],
            unicast_peer: None,
            preempt,
        };
        let web = Nginx::start(&pair.lb2)?;
        let neighbours = NeighbourProbe::start(&pair.client, vip, Duration::from_millis(10))?;
        Ok(Self { lab, kind, pair, router, neighbours, _web: web })
    }

    /// The same with unicast adverts on both sides.
    pub(crate) fn unicast(mut self) -> Self {
        let ours = &self.pair.lb1;
        let is_ipv6 = self.router.vips.iter().any(IpAddr::is_ipv6);
        self.router.unicast_peer = Some(if is_ipv6 { ours.ipv6() } else { ours.ipv4() });
        self.pair.plan.group.push("adverts: unicast".into());
        self
    }

    pub(crate) fn ours(&self) -> Result<Fulcrum> {
        self.pair.start(&self.pair.lb1)
    }

    pub(crate) fn partner(&self) -> Result<Partner> {
        Partner::start(self.kind, &self.pair.lb2, &self.router)
    }

    /// Waits until `mac` answers, and sees that it is the only one for a while.
    pub(crate) fn wait_alone(&self, mac: &str) -> Result<()> {
        let seen = |since| -> BTreeSet<String> {
            self.neighbours.macs_since(since).iter().map(ToString::to_string).collect()
        };
        wait_until(&format!("{mac} alone to answer for the VIP"), LONG, || {
            let start = now();
            run_for(Duration::from_millis(200));
            seen(start).into_iter().eq([mac.to_owned()])
        })?;
        let settled = now();
        run_for(Duration::from_millis(500));
        assert_eq!(seen(settled), BTreeSet::from([mac.to_owned()]));
        Ok(())
    }

    /// Waits until the client is served by our node (through it) or by the partner (its own web server).
    pub(crate) fn wait_served(&self, by: &Machine) -> Result<()> {
        let ours = by.name() == self.pair.lb1.name();
        wait_until(&format!("service by {}", by.name()), LONG, || {
            let sample = fulcrum_tests::probe::request(
                &self.pair.client,
                self.pair.service(),
                Duration::from_millis(300),
            );
            sample.is_ok_and(|sample| sample.is_answer() && (sample.backend() == Some("lb2")) != ours)
        })
    }

    pub(crate) fn power_off(&self, partner: Partner) -> Result<()> {
        partner.power_off(self.lab, &self.router)
    }

    pub(crate) fn stays(&self, node: &Fulcrum, role: &str) -> Result<()> {
        for _ in 0..5 {
            assert_eq!(node.status()?.role(GROUP), Some(role));
            run_for(Duration::from_millis(100));
        }
        Ok(())
    }
}
