//! Lies, garbage and exhaustion.

use fulcrum_tests::frames::inject;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Pair, ipv6, wait_served_by};
use fulcrum_tests::probe::{Session, request};
use fulcrum_tests::wait::{run_for, wait_until};
use pnet::packet::ip::IpNextHeaderProtocol;
use pnet::util::{checksum, ipv6_checksum};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(15);

/// An IPv4 advert of VRID 51 in an Ethernet frame; RFC 9568 section 5.1, the checksum over the message alone.
fn advert(from: [u8; 4], to: [u8; 4], to_mac: [u8; 6], priority: u8) -> Vec<u8> {
    let summed = |before: &[u8], after: &[u8]| {
        let whole = [before, &[0, 0], after].concat();
        [before, &checksum(&whole, before.len() / 2).to_be_bytes(), after].concat()
    };
    let message = summed(&[0x31, 51, priority, 1, 0, 10], &[10, 77, 0, 100]);
    let header = summed(&[0x45, 0xc0, 0, 32, 0, 0, 0, 0, 255, 112], &[from, to].concat());
    [&to_mac[..], &[2, 0, 0, 0, 0, 0x66], &[8, 0], &header, &message].concat()
}

#[test]
fn a_rogue_of_priority_254_that_is_no_peer_is_ignored_and_counted() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        pair.plan.group.push("adverts: unicast".into());
        let rogue = lab.machine("rogue", 66)?;
        let (first, second) = pair.start_both()?;
        let refused =
            |node: &Fulcrum| node.status().map_or(0, |status| status.counter(GROUP, "refused_not_a_peer"));
        let before = refused(&first);
        let lies = [
            advert([10, 77, 0, 66], [10, 77, 0, 11], [2, 0, 0, 0, 0, 0x11], 254),
            advert([10, 77, 0, 66], [224, 0, 0, 18], [1, 0, 0x5e, 0, 0, 18], 254),
        ];
        for _ in 0..20 {
            inject(&rogue, &lies)?;
            run_for(Duration::from_millis(20));
            assert_eq!(first.status()?.role(GROUP), Some("leader"));
        }
        wait_until("the refusals to be counted", LONG, || refused(&first) > before)?;
        assert_eq!(second.status()?.role(GROUP), Some("standby"));
        Ok(())
    });
}

/// The same over IPv6, from fd77::66, for fd77::100 (RFC 9568 sections 5.1.2 and 5.2.8).
fn advert_v6(to: Ipv6Addr, to_mac: [u8; 6], priority: u8) -> Vec<u8> {
    let [from, vip] = [66, 100].map(|number| match ipv6(number) {
        IpAddr::V6(address) => address,
        IpAddr::V4(_) => Ipv6Addr::UNSPECIFIED,
    });
    let message =
        |sum: u16| [&[0x31, 51, priority, 1, 0, 10][..], &sum.to_be_bytes(), &vip.octets()].concat();
    let message = message(ipv6_checksum(&message(0), 3, &[], &from, &to, IpNextHeaderProtocol(112)));
    let header = [&[0x6c, 0, 0, 0, 0, 24, 112, 255][..], &from.octets(), &to.octets()].concat();
    [&to_mac[..], &[2, 0, 0, 0, 0, 0x66], &[0x86, 0xdd], &header, &message].concat()
}

#[test]
fn a_rogue_of_priority_254_over_ipv6_that_is_no_peer_is_ignored_and_counted() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        pair.plan.vips = vec![ipv6(100)];
        pair.plan.group.push("adverts: unicast".into());
        let rogue = lab.machine("rogue", 66)?;
        let (first, second) = pair.start_both()?;
        let refused =
            |node: &Fulcrum| node.status().map_or(0, |status| status.counter(GROUP, "refused_not_a_peer"));
        let before = refused(&first);
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
        let IpAddr::V6(own) = pair.lb1.ipv6() else { unreachable!() };
        let lies =
            [advert_v6(own, [2, 0, 0, 0, 0, 0x11], 254), advert_v6(group, [0x33, 0x33, 0, 0, 0, 0x12], 254)];
        for _ in 0..20 {
            inject(&rogue, &lies)?;
            run_for(Duration::from_millis(20));
            assert_eq!(first.status()?.role(GROUP), Some("leader"));
        }
        wait_until("the refusals to be counted", LONG, || refused(&first) > before)?;
        assert_eq!(second.status()?.role(GROUP), Some("standby"));
        Ok(())
    });
}

#[test]
fn garbage_on_the_wire_stops_nothing() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        pair.plan = pair.plan.dual_stack();
        let rogue = lab.machine("rogue", 66)?;
        let (first, second) = pair.start_both()?;
        let probe = pair.probe()?;
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let destinations: [[u8; 6]; 5] = [
            [2, 0, 0, 0, 0, 0x11],
            [0xff; 6],
            [1, 0, 0x5e, 0, 0, 18],
            [0x33, 0x33, 0, 0, 0, 0x12],
            [0x33, 0x33, 0xff, 0, 1, 0],
        ];
        // Headers that lead the kernel or us to look further: ARP, VRRP over IPv4, ND and VRRP over IPv6.
        let headers: [&[u8]; 5] = [
            &[8, 6],
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
            &[8, 0, 0x45, 0xc0, 0, 32, 0, 0, 0, 0, 255, 112],
            &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255, 0xfd, 0x77],
            &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 112, 255, 0xfe, 0x80],
        ];
        for _ in 0..40 {
            let frames: Vec<Vec<u8>> = (0..100)
                .map(|_| {
                    let noise: Vec<u8> = (0..random.usize(0..100)).map(|_| random.u8(..)).collect();
                    let header = headers[random.usize(..headers.len())];
                    let kept =
                        if random.u8(..4) == 0 { random.usize(2..=header.len()) } else { header.len() };
                    let to = destinations[random.usize(..destinations.len())];
                    [&to[..], &[2, 0, 0, 0, 0, 0x66], &header[..kept], &noise].concat()
                })
                .collect();
            inject(&rogue, &frames)?;
        }
        // Real adverts, cut short and with a bit flipped.
        let whole = advert([10, 77, 0, 12], [224, 0, 0, 18], [1, 0, 0x5e, 0, 0, 18], 254);
        let mut broken: Vec<Vec<u8>> = (14..whole.len()).map(|length| whole[..length].to_vec()).collect();
        for bit in 34 * 8..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            broken.push(flipped);
        }
        inject(&rogue, &broken)?;
        run_for(Duration::from_millis(300));
        assert!(first.process().ended().is_none() && second.process().ended().is_none());
        assert_eq!(first.status()?.role(GROUP), Some("leader"));
        assert_eq!(second.status()?.role(GROUP), Some("standby"));
        wait_served_by(&probe, &pair.lb1)?;
        // Still able to take over.
        first.process().kill_with_children()?;
        wait_served_by(&probe, &pair.lb2)?;
        Ok(())
    });
}

#[test]
fn without_file_descriptors_new_connections_fail_and_old_ones_live() {
    Lab::run(|lab| {
        let pair = Pair::new(lab)?;
        let config = pair.plan.file(&pair.lb1);
        let node = Fulcrum::start_with_files(&pair.lb1, &config, 200)?;
        node.wait_leader(GROUP)?;
        let mut first = Session::open(&pair.client, pair.service(), LONG)?;
        let mut held = Vec::new();
        let short = Duration::from_millis(500);
        while held.len() < 300 {
            match Session::open(&pair.client, pair.service(), short) {
                Ok(session) => held.push(session),
                Err(_) => break,
            }
        }
        println!("{} sessions before the first refusal", held.len());
        assert!(held.len() < 200, "200 descriptors can't hold them all");
        assert_eq!(first.ask()?, first.backend());
        assert!(node.process().ended().is_none());
        held.clear();
        wait_until("service once there is room", LONG, || {
            request(&pair.client, pair.service(), short).is_ok_and(|sample| sample.is_answer())
        })?;
        assert_eq!(first.ask()?, first.backend());
        Ok(())
    });
}
