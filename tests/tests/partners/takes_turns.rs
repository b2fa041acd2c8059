//! Who leads is always one of the two, and each takes over from the other.

use super::scene::{Family, LONG, Scene};
use fulcrum_tests::Result;
use fulcrum_tests::lab::{GROUP, Kind, Lab};

/// The partner leads; it loses power and we take over; it returns and does not preempt; we stop and it leads.
fn we_take_over_and_give_back(kind: Kind, family: Family) {
    take_over_and_give_back(kind, family, false);
}

/// The same with unicast adverts.
fn we_take_over_and_give_back_by_unicast(kind: Kind, family: Family) {
    take_over_and_give_back(kind, family, true);
}

fn take_over_and_give_back(kind: Kind, family: Family, unicast: bool) {
    Lab::run(|lab| -> Result<()> {
        let scene = Scene::new(lab, kind, family, 150, false)?;
        let scene = if unicast { scene.unicast() } else { scene };
        let partner = scene.partner()?;
        scene.wait_alone(&partner.mac(&scene.router))?;
        let ours = scene.ours()?;
        ours.wait_role(GROUP, "standby")?;
        scene.stays(&ours, "standby")?;
        scene.wait_alone(&partner.mac(&scene.router))?;
        scene.wait_served(&scene.pair.lb2)?;

        scene.power_off(partner)?;
        ours.wait_leader(GROUP)?;
        scene.wait_alone(&scene.pair.lb1.mac())?;
        scene.wait_served(&scene.pair.lb1)?;

        let partner = scene.partner()?;
        scene.stays(&ours, "leader")?;
        scene.wait_alone(&scene.pair.lb1.mac())?;

        let status = ours.process().terminate(LONG)?;
        assert!(status.success(), "{status}");
        scene.wait_alone(&partner.mac(&scene.router))?;
        scene.wait_served(&scene.pair.lb2)
    });
}

/// We lead; the partner has the higher priority and preempts; it loses power and we lead again.
fn the_partner_preempts(kind: Kind, family: Family) {
    Lab::run(|lab| -> Result<()> {
        let scene = Scene::new(lab, kind, family, 200, true)?;
        let ours = scene.ours()?;
        ours.wait_leader(GROUP)?;
        scene.wait_alone(&scene.pair.lb1.mac())?;
        let partner = scene.partner()?;
        ours.wait_role(GROUP, "standby")?;
        scene.wait_alone(&partner.mac(&scene.router))?;
        scene.wait_served(&scene.pair.lb2)?;
        scene.power_off(partner)?;
        scene.wait_alone(&scene.pair.lb1.mac())
    });
}

/// The partner leads; we have the higher priority and preempt; we are killed and it takes over.
fn we_preempt(kind: Kind, family: Family) {
    Lab::run(|lab| -> Result<()> {
        let scene = Scene::new(lab, kind, family, 100, true)?;
        let partner = scene.partner()?;
        scene.wait_alone(&partner.mac(&scene.router))?;
        let ours = scene.ours()?;
        ours.wait_leader(GROUP)?;
        scene.wait_alone(&scene.pair.lb1.mac())?;
        scene.wait_served(&scene.pair.lb1)?;
        ours.kill()?;
        scene.wait_alone(&partner.mac(&scene.router))?;
        scene.wait_served(&scene.pair.lb2)
    });
}

macro_rules! each {
    ($($module:ident: $kind:ident, $family:ident;)+) => {$(
        mod $module {
            use super::{Family, Kind};

            #[test]
            fn we_take_over_and_give_back() {
                super::we_take_over_and_give_back(Kind::$kind, Family::$family);
            }

            #[test]
            fn the_partner_preempts() {
                super::the_partner_preempts(Kind::$kind, Family::$family);
            }

            #[test]
            fn we_preempt() {
                super::we_preempt(Kind::$kind, Family::$family);
            }
        }
    )+};
}

each! {
    keepalived_ipv4: Keepalived, Ipv4;
    keepalived_ipv6: Keepalived, Ipv6;
    frr_ipv4: Frr, Ipv4;
    frr_ipv6: Frr, Ipv6;
}

#[test]
fn keepalived_by_unicast_over_ipv4() {
    we_take_over_and_give_back_by_unicast(Kind::Keepalived, Family::Ipv4);
}

#[test]
fn keepalived_by_unicast_over_ipv6() {
    we_take_over_and_give_back_by_unicast(Kind::Keepalived, Family::Ipv6);
}
