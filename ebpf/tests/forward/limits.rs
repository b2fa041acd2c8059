//! How often new connections may come.

use crate::packets::{ACK, RST, SYN, tcp, udp};
use crate::scene::{Family, Scene, Shell, families, in_a_scene, in_a_scene_of, ip, nth};
use fulcrum_ebpf::plane::Verdict;
use fulcrum_ebpf::plane::layout::{Limit, Pace, ServiceMode};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// At once; one more comes back each second that a test lasts.
const BURST: u32 = 10;

fn at_most(burst: u32) -> Pace {
    Pace::new(1, burst)
}

fn serve(scene: &mut Scene, family: &Family, limit: Limit) {
    scene.serve(ServiceMode::Nat, family.vip, family.backend, 2);
    scene.plane.set_limit(0, limit).expect("set");
}

/// What became of a SYN: nothing if it was forwarded.
fn syn(scene: &mut Scene, family: &Family, client: IpAddr, port: u16) -> Option<&'static str> {
    let outcome = scene.outside(&tcp(SocketAddr::new(client, port), family.vip, SYN, &[]).frame());
    match (outcome.verdict, outcome.counted) {
        (Verdict::Redirect, None) => None,
        (Verdict::Drop, Some(reason)) => Some(reason),
        other => panic!("{other:?}"),
    }
}

/// How many of the SYNs got through; the others must have been dropped for `reason`.
fn passed(outcomes: impl Iterator<Item = Option<&'static str>>, reason: &str) -> u32 {
    outcomes.map(|outcome| u32::from(outcome.map(|said| assert_eq!(said, reason)).is_none())).sum()
}

#[test]
fn a_service_takes_its_burst_of_new_connections_from_whomever() {
    in_a_scene(|scene| {
        for family in families() {
            serve(scene, &family, Limit::new(at_most(BURST), Pace::NONE));
            let begun = Instant::now();
            let outcomes: Vec<_> = (0..100)
                .map(|number| syn(scene, &family, nth(family.client.ip(), number), 40_000 + number))
                .collect();
            let meanwhile = u32::try_from(begun.elapsed().as_secs()).unwrap() + 1;
            let through = passed(outcomes.into_iter(), "service_rate");
            assert!((BURST..=BURST + meanwhile).contains(&through), "{through}");
        }
        assert!(scene.plane.service_counters(0).limited >= 2 * 80);
    });
}

#[test]
fn one_that_is_left_to_tcx_takes_no_more_than_another() {
    in_a_scene_of(Shell::Xdp, |scene| {
        scene.plane.detach_xdp(scene.inside);
        // At another pace a client is another one.
        for (mode, burst) in [(ServiceMode::Nat, BURST), (ServiceMode::Fullnat, BURST + 1)] {
            for (limit, reason) in [
                (Limit::new(at_most(burst), Pace::NONE), "service_rate"),
                (Limit::new(Pace::NONE, at_most(burst)), "client_rate"),
            ] {
                for family in families() {
                    scene.serve(mode, family.vip, family.backend, 1);
                    scene.plane.set_limit(0, limit).expect("set");
                    let begun = Instant::now();
                    let outcomes: Vec<_> = (0..50)
                        .map(|number| syn(scene, &family, family.client.ip(), 1_000 + number))
                        .collect();
                    let meanwhile = u32::try_from(begun.elapsed().as_secs()).unwrap() + 1;
                    let through = passed(outcomes.into_iter(), reason);
                    assert!((burst..=burst + meanwhile).contains(&through), "{reason}: {through}");
                }
            }
        }
    });
}

#[test]
fn what_is_no_new_connection_is_never_limited() {
    in_a_scene(|scene| {
        for family in families() {
            serve(scene, &family, Limit::new(at_most(1), at_most(1)));
            while syn(scene, &family, family.client.ip(), 50_000).is_none() {}
            for flags in [ACK, SYN | ACK, RST, ACK | RST] {
                scene.outside(&tcp(family.client, family.vip, flags, &[]).frame()).forwarded();
            }
            scene.outside(&udp(family.client, family.vip, &[1; 9]).frame()).forwarded();
        }
    });
}

#[test]
fn each_client_has_its_own_and_what_is_refused_takes_nothing_from_the_service() {
    in_a_scene(|scene| {
        for family in families() {
            serve(scene, &family, Limit::new(at_most(1000), at_most(3)));
            let before = scene.plane.service_counters(0).limited;
            for client in [ip("192.0.2.1"), ip("192.0.2.2"), ip("2001:db8::1"), ip("2001:db8:0:1::1")] {
                if client.is_ipv4() != family.vip.is_ipv4() {
                    continue;
                }
                let begun = Instant::now();
                let outcomes: Vec<_> =
                    (0..50).map(|number| syn(scene, &family, client, 1_000 + number)).collect();
                let meanwhile = u32::try_from(begun.elapsed().as_secs()).unwrap() + 1;
                let through = passed(outcomes.into_iter(), "client_rate");
                assert!((3..=3 + meanwhile).contains(&through), "{client}: {through}");
            }
            assert!(scene.plane.service_counters(0).limited - before > 80);
        }
    });
}

#[test]
fn a_host_has_all_of_its_ipv6_64() {
    in_a_scene(|scene| {
        let [_, v6] = families();
        serve(scene, &v6, Limit::new(Pace::NONE, at_most(3)));
        let begun = Instant::now();
        let first = u128::from_be_bytes(match ip("2001:db8:0:7::") {
            IpAddr::V6(address) => address.octets(),
            IpAddr::V4(_) => panic!(),
        });
        let outcomes: Vec<_> = (0..50_u128)
            .map(|number| syn(scene, &v6, (first + (number << 57)).to_be_bytes().into(), 1_000))
            .collect();
        let meanwhile = u32::try_from(begun.elapsed().as_secs()).unwrap() + 1;
        assert!((3..=3 + meanwhile).contains(&passed(outcomes.into_iter(), "client_rate")));
    });
}

#[test]
fn what_the_service_refuses_takes_nothing_from_the_client() {
    in_a_scene(|scene| {
        let [v4, _] = families();
        serve(scene, &v4, Limit::new(at_most(1), at_most(5)));
        let client = ip("192.0.2.9");
        // The service's only token, and many more.
        for number in 0..30 {
            syn(scene, &v4, client, 1_000 + number);
        }
        // The same client at the same pace, and room at the service.
        scene.plane.set_limit(0, Limit::new(Pace::NONE, at_most(5))).expect("set");
        let through = passed((0..3).map(|number| syn(scene, &v4, client, 2_000 + number)), "client_rate");
        assert_eq!(through, 3);
    });
}

#[test]
fn tokens_come_back_at_the_rate_and_no_more_than_the_burst() {
    in_a_scene(|scene| {
        let [v4, _] = families();
        serve(scene, &v4, Limit::new(Pace::new(20, 4), Pace::NONE));
        let begun = Instant::now();
        let all = |scene: &mut Scene| {
            passed((0..40).map(|number| syn(scene, &v4, v4.client.ip(), 1_000 + number)), "service_rate")
        };
        let mut through = all(scene);
        assert!(through >= 4);
        std::thread::sleep(Duration::from_secs(1));
        let again = all(scene);
        assert!(again >= 4, "the burst is back: {again}");
        through += again;
        let most = 4 + begun.elapsed().as_millis() * 20 / 1000 + 1;
        assert!(u128::from(through) <= most, "{through} of {most}");
    });
}

#[test]
fn a_lowered_or_raised_rate_holds_at_once() {
    in_a_scene(|scene| {
        let [v4, _] = families();
        serve(scene, &v4, Limit::new(Pace::NONE, at_most(100)));
        let client = ip("192.0.2.9");
        let count = |scene: &mut Scene| {
            passed((0..60).map(|number| syn(scene, &v4, client, 1_000 + number)), "client_rate")
        };
        assert_eq!(count(scene), 60);
        scene.plane.set_limit(0, Limit::new(Pace::NONE, at_most(2))).expect("set");
        assert!(count(scene) < 10);
        scene.plane.set_limit(0, Limit::new(Pace::NONE, at_most(200))).expect("set");
        assert_eq!(count(scene), 60, "a debt is not taken along");
        scene.plane.set_limit(0, Limit::default()).expect("set");
        assert_eq!(count(scene), 60);
    });
}

#[test]
fn a_new_connection_that_is_limited_leaves_nothing_behind() {
    in_a_scene(|scene| {
        let [v4, _] = families();
        serve(scene, &v4, Limit::new(at_most(1), Pace::NONE));
        while syn(scene, &v4, v4.client.ip(), 50_000).is_none() {}
        scene
            .plane
            .set_service(0, fulcrum_ebpf::plane::layout::Service::new(ServiceMode::Nat, false, true))
            .expect("set");
        scene.set_tables(|_| 2, |_| 1);
        let noted =
            |number: u16| tcp(SocketAddr::new(v4.client.ip(), 1_000 + number), v4.vip, SYN, &[]).frame();
        for number in 0..200 {
            scene.outside(&noted(number));
        }
        assert!(scene.plane.flows().count() < 10, "{}", scene.plane.flows().count());
    });
}
