//! The plane outlives the process, and the next life takes it over.

use crate::packets::{ACK, tcp};
use crate::scene::{Shell, families, in_a_scene, in_a_scene_of};
use aya::programs::{SchedClassifier, TcAttachType};
use fulcrum_ebpf::layout::State;
use fulcrum_ebpf::plane::layout::ServiceMode;
use fulcrum_ebpf::{Attachment, Fence, Mode, Plane};
use std::time::{Duration, Instant};

fn programs() -> Vec<u32> {
    let (_, programs) = SchedClassifier::query_tcx("eth0", TcAttachType::Ingress).expect("tcx");
    programs.iter().map(|program| program.id()).collect()
}

#[test]
fn the_next_life_adopts_the_tables_and_replaces_the_program() {
    in_a_scene_of(Shell::Tcx, |scene| {
        let [v4, _] = families();
        scene.serve(ServiceMode::Nat, v4.vip, v4.backend, 2);
        let frame = tcp(v4.client, v4.vip, ACK, &[]).frame();
        let to = scene.outside(&frame).forwarded();
        let before = programs();
        assert_eq!(before.len(), 1);
        let mut next = Plane::load(Mode::Auto).expect("loaded");
        assert_eq!(next.endpoints().count(), scene.plane.endpoints().count());
        assert!(next.tables(0).is_some_and(|tables| tables.0 == tables.1));
        assert_eq!(next.tables(0), scene.plane.tables(0));
        assert_eq!(next.backend(1).map(|backend| backend.address().0), Some(v4.backend));
        assert_eq!(next.attach("eth0", scene.outside).expect("attached"), Attachment::Tcx);
        let after = programs();
        assert!(after.len() == 1 && after != before, "{before:?}, then {after:?}");
        std::mem::swap(&mut scene.plane, &mut next);
        drop(next);
        assert_eq!(programs(), after);
        assert_eq!(scene.outside(&frame).forwarded(), to);
    });
}

#[test]
fn what_is_not_there_is_removed_as_well() {
    in_a_scene(|scene| {
        let [v4, _] = families();
        scene.serve(ServiceMode::Nat, v4.vip, v4.backend, 2);
        let endpoints: Vec<_> = scene.plane.endpoints().map(|(endpoint, _)| endpoint).collect();
        let replies: Vec<_> = scene.plane.replies().map(|(endpoint, _)| endpoint).collect();
        assert!(!endpoints.is_empty() && !replies.is_empty());
        for _ in 0..2 {
            endpoints.iter().for_each(|endpoint| scene.plane.remove_endpoint(endpoint).expect("removed"));
            replies.iter().for_each(|endpoint| scene.plane.remove_reply(endpoint).expect("removed"));
        }
        assert_eq!((scene.plane.endpoints().count(), scene.plane.replies().count()), (0, 0));
    });
}

#[test]
fn a_new_life_of_the_fence_silences_the_plane() {
    in_a_scene(|scene| {
        let [v4, _] = families();
        scene.serve(ServiceMode::Nat, v4.vip, v4.backend, 1);
        let frame = tcp(v4.client, v4.vip, ACK, &[]).frame();
        scene.outside(&frame).forwarded();
        let next = Fence::load_shared(Mode::Auto).expect("loaded");
        assert_eq!(next.vips(), scene.fence.vips());
        scene.outside(&frame).dropped("group_silent");
        scene.fence = next;
        scene.set_state(State::Leading);
        scene.outside(&frame).forwarded();
    });
}

#[test]
fn by_clsact_it_does_the_same() {
    in_a_scene_of(Shell::Tcx, |scene| {
        let [v4, _] = families();
        scene.plane.retain(|_| false, &[]);
        // The kernel ends a link that nobody holds soon, not at once.
        let begun = Instant::now();
        while !programs().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", programs());
        }
        for _ in 0..2 {
            let mut by_clsact = Plane::load(Mode::Clsact).expect("loaded");
            assert_eq!(by_clsact.attach("eth0", scene.outside).expect("attached"), Attachment::Clsact);
            scene.plane = by_clsact;
            let shown = std::process::Command::new("tc")
                .args(["filter", "show", "dev", "eth0", "ingress"])
                .output()
                .expect("runs");
            let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
            let ours = shown.lines().filter(|line| line.contains("fulcrum_forward"));
            assert_eq!(ours.count(), 1, "{shown}");
        }
        scene.serve(ServiceMode::Dsr, v4.vip, v4.backend, 1);
        scene.outside(&tcp(v4.client, v4.vip, ACK, &[]).frame()).forwarded();
    });
}
