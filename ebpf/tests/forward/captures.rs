//! What is captured of packets.

use crate::packets::{ACK, Packet as Sent, SYN, tcp, udp};
use crate::scene::{BACKEND_PORT, families, in_a_scene, ip};
use fulcrum_ebpf::capture::{Capture, Fate, MAX_BYTES, Packet};
use fulcrum_ebpf::plane::layout::{Limit, Pace, ServiceMode};
use rustix::time::{ClockId, clock_gettime};
use std::net::SocketAddr;
use std::time::Duration;

fn monotonic() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap()
}

fn begin(length: u32) -> Capture {
    let mut capture = Capture::open(length).expect("a capture; as root");
    capture.renew(monotonic()).expect("asked");
    capture
}

fn all(capture: &mut Capture) -> Vec<Packet> {
    std::iter::from_fn(|| capture.next()).collect()
}

#[test]
fn a_packet_is_captured_as_it_came_and_as_it_left() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Nat, family.vip, family.backend, 1);
            let mut capture = begin(MAX_BYTES);
            let there = tcp(family.client, family.vip, SYN, &[1; 50]).frame();
            let sent_on = scene.outside(&there).forwarded();
            let back =
                tcp(SocketAddr::new(family.backend, BACKEND_PORT), family.client, ACK, &[1; 9]).frame();
            let sent_back = scene.inside(&back).forwarded();
            let packets = all(&mut capture);
            // By XDP it leaves with the neighbour's address, by tcx the kernel writes that later.
            let bytes: Vec<&[u8]> = packets.iter().map(|packet| &packet.bytes[12..]).collect();
            assert_eq!(bytes, [&there[12..], &sent_on[12..], &back[12..], &sent_back[12..]]);
            let seen = |packet: &Packet| (packet.interface, packet.leaves, packet.is_reply);
            let (outside, inside) = (scene.outside, scene.inside);
            assert_eq!(
                packets.iter().map(seen).collect::<Vec<_>>()[..2],
                [(outside, false, false), (inside, true, false)]
            );
            assert_eq!(seen(&packets[2]), (inside, false, true));
            for packet in &packets {
                assert_eq!(
                    (packet.service, packet.backend, packet.fate),
                    (Some(0), Some(1), Fate::Forwarded)
                );
                assert_eq!(usize::try_from(packet.length).unwrap(), packet.bytes.len());
            }
            assert_eq!(capture.backend(1), Some((family.backend, BACKEND_PORT)));
            assert_eq!(capture.missed(), 0);
        }
    });
}

#[test]
fn what_is_answered_or_dropped_is_captured_with_the_reason() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Nat, family.vip, family.backend, 1);
            let mut capture = begin(MAX_BYTES);
            let old = tcp(family.client, family.vip, ACK, &[]).with_ttl(1).frame();
            let answer = scene.outside(&old).answered("time_exceeded");
            scene.plane.set_limit(0, Limit::new(Pace::new(1, 1), Pace::NONE)).unwrap();
            let syn = tcp(family.client, family.vip, SYN, &[]).frame();
            scene.outside(&syn).forwarded();
            scene.outside(&syn).dropped("service_rate");
            let packets = all(&mut capture);
            let fates: Vec<(Fate, bool)> =
                packets.iter().map(|packet| (packet.fate, packet.leaves)).collect();
            let (answered, dropped) = (Fate::Answered("time_exceeded"), Fate::Dropped("service_rate"));
            assert_eq!(
                fates,
                [
                    (answered, false),
                    (answered, true),
                    (Fate::Forwarded, false),
                    (Fate::Forwarded, true),
                    (dropped, false)
                ]
            );
            assert_eq!((&packets[0].bytes, &packets[1].bytes), (&old, &answer));
            assert_eq!(packets[1].interface, scene.outside);
            scene.plane.set_limit(0, Limit::default()).unwrap();
        }
    });
}

#[test]
fn what_is_not_the_planes_is_not_captured_nor_is_another_service() {
    in_a_scene(|scene| {
        let [v4, v6] = families();
        scene.serve(ServiceMode::Nat, v4.vip, v4.backend, 1);
        let mut capture = begin(MAX_BYTES);
        scene.outside(&tcp(v4.client, SocketAddr::new(ip("10.0.0.99"), 80), SYN, &[]).frame()).passed();
        scene.outside(&udp(v6.client, v6.vip, &[1; 5]).frame()).passed();
        assert_eq!(all(&mut capture), []);
        let frame = tcp(v4.client, v4.vip, SYN, &[]).frame();
        let index = capture.service_at(&fulcrum_ebpf::capture::endpoint(v4.vip, true)).expect("the service");
        for (wanted, count) in [(index, 2), (index + 1, 0)] {
            capture.set_service(wanted);
            capture.renew(monotonic()).unwrap();
            scene.outside(&frame).forwarded();
            assert_eq!(all(&mut capture).len(), count);
        }
    });
}

#[test]
fn only_so_many_bytes_are_captured() {
    in_a_scene(|scene| {
        let [v4, _] = families();
        scene.serve(ServiceMode::Nat, v4.vip, v4.backend, 1);
        for (asked, expected) in [(60, 60), (1, 1), (1_000_000, 1054)] {
            let mut capture = begin(asked);
            let sent: Sent = tcp(v4.client, v4.vip, ACK, &[7; 1000]);
            scene.outside(&sent.frame()).forwarded();
            let packets = all(&mut capture);
            assert_eq!(packets.iter().map(|packet| packet.bytes.len()).collect::<Vec<_>>(), [expected; 2]);
            assert!(packets.iter().all(|packet| packet.length == 1054));
        }
    });
}

#[test]
fn a_capture_that_is_killed_ends_by_itself_and_one_that_ends_leaves_nothing() {
    in_a_scene(|scene| {
        let [v4, _] = families();
        scene.serve(ServiceMode::Nat, v4.vip, v4.backend, 1);
        let frame = tcp(v4.client, v4.vip, ACK, &[]).frame();
        let mut capture = Capture::open(MAX_BYTES).unwrap();
        scene.outside(&frame).forwarded();
        assert_eq!(all(&mut capture).len(), 0, "it has not begun");
        // It was renewed two seconds ago, and then no more.
        capture.renew(monotonic() - Duration::from_secs(2)).unwrap();
        scene.outside(&frame).forwarded();
        assert_eq!(all(&mut capture).len(), 0);
        capture.renew(monotonic()).unwrap();
        scene.outside(&frame).forwarded();
        assert!(Capture::open(MAX_BYTES).is_err(), "one at a time");
        // What waits is not the next one's, and nobody asks for more.
        drop(capture);
        let mut next = Capture::open(MAX_BYTES).expect("the other one ended");
        scene.outside(&frame).forwarded();
        assert_eq!(all(&mut next).len(), 0);
    });
}

#[test]
fn a_flood_is_captured_in_part_and_the_rest_counted() {
    in_a_scene(|scene| {
        let [v4, _] = families();
        scene.serve(ServiceMode::Nat, v4.vip, v4.backend, 1);
        let mut capture = begin(MAX_BYTES);
        let frame = tcp(v4.client, v4.vip, ACK, &[7; 1400]).frame();
        for _ in 0..2000 {
            scene.outside(&frame).forwarded();
        }
        let packets = all(&mut capture).len();
        let missed = usize::try_from(capture.missed()).unwrap();
        assert!(missed > 500 && packets > 300, "{packets} {missed}");
        // The ring was emptied, and has room again.
        std::thread::sleep(Duration::from_millis(20));
        capture.renew(monotonic()).unwrap();
        scene.outside(&frame).forwarded();
        assert_eq!(all(&mut capture).len(), 2);
    });
}

#[test]
fn without_a_plane_it_says_so() {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            #[allow(deprecated, reason = "the files of this thread stay as they are")]
            rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).expect("a namespace; as root");
            Capture::open(MAX_BYTES).expect_err("there is none").to_string()
        });
        let said = thread.join().expect("no panic");
        assert!(said.contains("no forwarding plane"), "{said}");
    });
}
