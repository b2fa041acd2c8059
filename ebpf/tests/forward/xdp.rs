//! What the plane does by XDP itself, and what it leaves to tcx.

use crate::packets::{ACK, OURS, SYN, THEIRS, tcp, udp};
use crate::scene::{BACKEND_PORT, Scene, Shell, families, in_a_scene_of, run};
use fulcrum_ebpf::plane::Verdict;
use fulcrum_ebpf::plane::layout::ServiceMode;
use fulcrum_ebpf::{Mode, Plane};
use std::net::SocketAddr;

fn by_xdp(scene: &mut Scene, interface: u32, frame: &[u8]) -> (Verdict, Vec<u8>) {
    // One in thousands is left to tcx at random.
    let tries = (0..3).map(|_| scene.plane.try_frame_by_xdp(interface, frame, 1).unwrap());
    let tried = tries.max_by_key(|tried| tried.verdict == Verdict::Redirect).unwrap();
    (tried.verdict, tried.frame)
}

fn forwards(scene: &mut Scene, interface: u32, frame: &[u8]) {
    let (verdict, sent) = by_xdp(scene, interface, frame);
    assert_eq!(verdict, Verdict::Redirect);
    assert_eq!(sent[..12], [THEIRS, OURS].concat());
    assert_eq!(sent.len(), frame.len());
}

fn passes_on(scene: &mut Scene, frame: &[u8]) {
    let (verdict, passed) = by_xdp(scene, scene.outside, frame);
    assert_eq!(verdict, Verdict::Pass);
    assert!(passed == frame);
}

#[test]
fn requests_and_replies_of_each_mode_go_by_xdp_whatever_their_size() {
    in_a_scene_of(Shell::Xdp, |scene| {
        for mode in [ServiceMode::Nat, ServiceMode::Dsr, ServiceMode::Fullnat] {
            for family in families() {
                scene.serve(mode, family.vip, family.backend, 1);
                for length in [60_usize, 127, 128, 129, 300, 1514] {
                    let payload = vec![7; length.saturating_sub(family_bytes(family.vip) + 20)];
                    let frame = tcp(family.client, family.vip, SYN, &payload).frame();
                    forwards(scene, scene.outside, &frame);
                    forwards(scene, scene.outside, &udp(family.client, family.vip, &payload).frame());
                }
            }
        }
        let [v4, _] = families();
        scene.serve(ServiceMode::Nat, v4.vip, v4.backend, 1);
        let reply = tcp(SocketAddr::new(v4.backend, BACKEND_PORT), v4.client, ACK, &[1; 9]).frame();
        forwards(scene, scene.inside, &reply);
    });
}

fn family_bytes(address: SocketAddr) -> usize {
    14 + if address.is_ipv4() { 20 } else { 40 }
}

#[test]
fn what_takes_more_is_left_to_tcx_as_it_came() {
    in_a_scene_of(Shell::Xdp, |scene| {
        let [v4, v6] = families();
        scene.serve(ServiceMode::Nat, v4.vip, v4.backend, 1);
        let packet = tcp(v4.client, v4.vip, ACK, &[1; 40]);
        forwards(scene, scene.outside, &packet.frame());
        let mut cut = packet.clone();
        cut.fragment = 0x2000;
        passes_on(scene, &cut.frame());
        let mut with_options = packet.clone();
        with_options.options = vec![1, 1, 1, 0];
        passes_on(scene, &with_options.frame());
        let mut late = packet.clone();
        late.ttl = 1;
        passes_on(scene, &late.frame());
        passes_on(scene, &tcp(v4.client, v4.vip, ACK, &[1; 2_000]).frame());
        let mut elsewhere = packet.frame();
        elsewhere[..6].copy_from_slice(&THEIRS);
        passes_on(scene, &elsewhere);
        let mut tagged = packet.frame();
        tagged[12..14].copy_from_slice(&[0x81, 0]);
        passes_on(scene, &tagged);
        run("ip", "neighbour del 10.0.1.11 dev eth1");
        passes_on(scene, &packet.frame());
        scene.empty();
        passes_on(scene, &packet.frame());
        scene.serve(ServiceMode::Nat, v6.vip, v6.backend, 1);
        let mut extended = tcp(v6.client, v6.vip, ACK, &[1; 40]);
        forwards(scene, scene.outside, &extended.frame());
        extended.extensions = vec![(60, vec![0, 1, 4, 0, 0, 0, 0])];
        passes_on(scene, &extended.frame());
    });
}

/// A driver without the program sends nothing for others, and says so to nobody.
#[test]
fn only_what_leaves_where_the_plane_stands_too_goes_by_xdp() {
    in_a_scene_of(Shell::Xdp, |scene| {
        let [v4, _] = families();
        let reply = tcp(SocketAddr::new(v4.backend, BACKEND_PORT), v4.client, ACK, &[1; 9]).frame();
        for mode in [ServiceMode::Nat, ServiceMode::Dsr, ServiceMode::Fullnat] {
            for family in families() {
                scene.serve(mode, family.vip, family.backend, 1);
                let request = tcp(family.client, family.vip, SYN, &[]).frame();
                forwards_unless_closed(scene, (scene.outside, &request), ("eth1", scene.inside));
            }
        }
        scene.serve(ServiceMode::Nat, v4.vip, v4.backend, 1);
        forwards_unless_closed(scene, (scene.inside, &reply), ("eth0", scene.outside));
    });
}

fn forwards_unless_closed(scene: &mut Scene, (interface, frame): (u32, &[u8]), (name, out): (&str, u32)) {
    forwards(scene, interface, frame);
    scene.plane.detach_xdp(out);
    let (verdict, passed) = by_xdp(scene, interface, frame);
    assert_eq!(verdict, Verdict::Pass);
    assert!(passed == frame);
    assert_eq!(scene.plane.try_frame(interface, frame, 1).unwrap().verdict, Verdict::Redirect);
    scene.plane.attach_xdp(name, out).unwrap();
    assert_eq!(by_xdp(scene, interface, frame).0, Verdict::Pass, "not tested yet");
    scene.plane.open_xdp(out, OURS).unwrap();
    forwards(scene, interface, frame);
}

#[test]
fn nothing_goes_by_xdp_before_the_interface_is_opened_nor_once_forwarding_is_off() {
    in_a_scene_of(Shell::Tcx, |scene| {
        let [v4, _] = families();
        scene.serve(ServiceMode::Dsr, v4.vip, v4.backend, 1);
        let mac = THEIRS.map(|byte| format!("{byte:02x}")).join(":");
        run("ip", &format!("neighbour add {} lladdr {mac} dev eth1", v4.backend));
        let frame = tcp(v4.client, v4.vip, ACK, &[1; 40]).frame();
        for (name, index) in [("eth0", scene.outside), ("eth1", scene.inside)] {
            scene.plane.attach_xdp(name, index).unwrap();
        }
        scene.plane.open_xdp(scene.inside, OURS).unwrap();
        passes_on(scene, &frame);
        let mut to_router = frame.clone();
        to_router[..6].copy_from_slice(&[0, 0, 0x5e, 0, 1, 51]);
        passes_on(scene, &to_router);
        scene.plane.open_xdp(scene.outside, OURS).unwrap();
        forwards(scene, scene.outside, &frame);
        forwards(scene, scene.outside, &to_router);
        run("sysctl", "-qw net.ipv4.ip_forward=0");
        passes_on(scene, &frame);
    });
}

#[test]
fn the_next_life_replaces_the_program_in_the_driver_too() {
    in_a_scene_of(Shell::Xdp, |scene| {
        let [v4, _] = families();
        scene.serve(ServiceMode::Nat, v4.vip, v4.backend, 1);
        let frame = tcp(v4.client, v4.vip, ACK, &[1; 40]).frame();
        forwards(scene, scene.outside, &frame);
        let mut next = Plane::load(Mode::Auto).unwrap();
        assert!(next.is_left_by_xdp(scene.outside));
        next.attach_xdp("eth0", scene.outside).unwrap();
        next.attach_xdp("eth1", scene.inside).unwrap();
        next.open_xdp(scene.outside, OURS).unwrap();
        next.open_xdp(scene.inside, OURS).unwrap();
        std::mem::swap(&mut scene.plane, &mut next);
        drop(next);
        forwards(scene, scene.outside, &frame);
        scene.plane.retain_xdp(|_| false);
        assert!(!scene.plane.is_left_by_xdp(scene.outside));
    });
}

#[test]
fn a_frame_of_the_daemons_own_leaves_by_the_driver() {
    in_a_scene_of(Shell::Xdp, |scene| {
        let sent = || {
            let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
            let line = text.lines().find(|line| line.trim_start().starts_with("peth0:")).unwrap().to_owned();
            line.split_whitespace().nth(2).unwrap().parse::<u64>().unwrap()
        };
        // The other end hears what leaves by XDP only with one of its own, or GRO.
        run("ethtool", "-K peth0 gro on");
        let before = sent();
        let [v4, _] = families();
        for length in [18, 258, 1472] {
            let frame = udp(v4.vip, v4.client, &vec![1; length]).frame();
            scene.plane.send_by_xdp(scene.outside, &frame).unwrap();
        }
        let begun = std::time::Instant::now();
        while sent() < before + 3 {
            assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{before}, then {}", sent());
        }
    });
}
