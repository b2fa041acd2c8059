//! Services that give new flows to their backends in turn, and know each of them.

use crate::packets::{ACK, FIN, Packet, RST, SYN, icmp, tcp, udp};
use crate::scene::{BACKEND_PORT, Family, Scene, families, in_a_scene, table};
use crate::selection::{backend_of, clients};
use fulcrum_ebpf::plane::layout::{Backend, Class, Ended, Event, Flow, Service, ServiceMode, Transport};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Four backends, the third and the fourth by the tables and the first and the second by turns: so it is seen by which.
fn serve(scene: &mut Scene, mode: ServiceMode, family: &Family) {
    scene.serve(mode, family.vip, family.backend, 4);
    scene.set_tables(|_| 3, |_| 3);
    scene.plane.set_service(0, Service::new(mode, false, false).in_turn()).unwrap();
    let settings = fulcrum_ebpf::plane::layout::Settings::new(crate::scene::SEED, true);
    scene.plane.set_settings(settings.with_returns(mode == ServiceMode::Fullnat).with_told(true)).unwrap();
    scene.plane.set_schedule(0, &table(|slot| if slot % 3 == 1 { 1 } else { 2 })).unwrap();
}

/// In mode dsr it is the next hop that says to whom a frame goes, and that is not in the frame.
const READABLE: [ServiceMode; 2] = [ServiceMode::Nat, ServiceMode::Fullnat];

fn sent(scene: &mut Scene, family: &Family, client: SocketAddr, flags: u8) -> u16 {
    let frame = scene.outside(&tcp(client, family.vip, flags, &[]).frame()).forwarded();
    backend_of(family, &frame)
}

fn told(scene: &mut Scene) -> Vec<Event> {
    std::iter::from_fn(|| scene.plane.next_event()).collect()
}

/// How many of each backend's were opened, by what is counted: so it can be told in every mode.
fn opened(scene: &Scene) -> [u64; 4] {
    [1, 2, 3, 4].map(|index| scene.plane.backend_counters(index).opened)
}

#[test]
fn new_connections_go_by_turns_and_all_else_of_them_follows() {
    in_a_scene(|scene| {
        for (family, mode) in families().into_iter().flat_map(|family| READABLE.map(|mode| (family, mode))) {
            serve(scene, mode, &family);
            let all: Vec<SocketAddr> = clients(&family, 300).collect();
            let first: Vec<u16> = all.iter().map(|client| sent(scene, &family, *client, SYN)).collect();
            for (number, backend) in first.iter().enumerate() {
                assert_eq!(*backend, if number % 3 == 1 { 1 } else { 2 }, "{mode:?}: the schedule's order");
            }
            for _ in 0..2 {
                for (client, backend) in all.iter().zip(&first) {
                    assert_eq!(sent(scene, &family, *client, ACK), *backend, "{mode:?}");
                }
            }
            // A SYN that is sent again changes nothing.
            for (client, backend) in all.iter().zip(&first) {
                assert_eq!(sent(scene, &family, *client, SYN), *backend, "{mode:?}");
            }
            for (flow, pin) in scene.plane.flows().chain(scene.plane.opening_flows()).collect::<Vec<_>>() {
                scene.plane.remove_flow(&flow, &pin);
            }
            told(scene);
        }
    });
}

#[test]
fn in_dsr_too_and_each_is_told_of_as_it_goes_on() {
    in_a_scene(|scene| {
        for (family, mode) in families()
            .into_iter()
            .flat_map(|family| [ServiceMode::Dsr, ServiceMode::Nat].map(|m| (family, m)))
        {
            serve(scene, mode, &family);
            let (before, all) = (opened(scene), clients(&family, 99).collect::<Vec<_>>());
            for client in &all {
                scene.outside(&tcp(*client, family.vip, SYN, &[]).frame()).forwarded();
            }
            let after = opened(scene);
            assert_eq!([0, 1, 2, 3].map(|index| after[index] - before[index]), [33, 66, 0, 0], "{mode:?}");
            assert_eq!(told(scene), [], "of attempts nobody is told");
            for client in &all {
                scene.outside(&tcp(*client, family.vip, ACK, &[]).frame()).forwarded();
            }
            let news = told(scene);
            assert_eq!(news.len(), 99);
            let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
            news.iter().for_each(|event| *counts.entry(event.pin.backend()).or_default() += 1);
            assert_eq!(counts, BTreeMap::from([(1, 33), (2, 66)]));
            assert!(news.iter().all(|event| event.pin.begins() && event.pin.ended() == Ended::No));
            scene
                .plane
                .flows()
                .collect::<Vec<_>>()
                .iter()
                .for_each(|(flow, pin)| scene.plane.remove_flow(flow, pin));
        }
    });
}

#[test]
fn what_nobody_knows_goes_by_the_tables_and_is_not_kept() {
    in_a_scene(|scene| {
        for (family, mode) in families().into_iter().flat_map(|family| READABLE.map(|mode| (family, mode))) {
            serve(scene, mode, &family);
            for client in clients(&family, 20) {
                assert_eq!(sent(scene, &family, client, ACK), 3, "{mode:?}");
                assert_eq!(scene.plane.flow(&Flow::new(client, family.vip, Transport::Tcp)), None);
            }
        }
    });
}

#[test]
fn without_room_a_connection_goes_by_the_tables_with_all_of_its_packets() {
    in_a_scene(|scene| {
        for family in families() {
            serve(scene, ServiceMode::Nat, &family);
            scene.plane.set_room(Class::Workload, 10).unwrap();
            let all: Vec<SocketAddr> = clients(&family, 50).collect();
            let first: Vec<u16> = all.iter().map(|client| sent(scene, &family, *client, SYN)).collect();
            assert_eq!(first.iter().filter(|backend| **backend == 3).count(), 40);
            for (client, backend) in all.iter().zip(&first) {
                assert_eq!(sent(scene, &family, *client, ACK), *backend);
            }
            scene
                .plane
                .flows()
                .collect::<Vec<_>>()
                .iter()
                .for_each(|(flow, pin)| scene.plane.remove_flow(flow, pin));
        }
    });
}

#[test]
fn who_is_down_is_passed_over_and_without_anybody_it_is_refused() {
    in_a_scene(|scene| {
        for (family, mode) in families().into_iter().flat_map(|family| READABLE.map(|mode| (family, mode))) {
            serve(scene, mode, &family);
            let all: Vec<SocketAddr> = clients(&family, 60).collect();
            scene.plane.set_backend(2, Backend::NONE).unwrap();
            let mut chosen: Vec<u16> = all.iter().map(|client| sent(scene, &family, *client, SYN)).collect();
            chosen.sort_unstable();
            chosen.dedup();
            assert_eq!(chosen, [1, 3], "{mode:?}: not 2, whose turn it was");
            scene.plane.set_schedule(0, &table(|_| 0)).unwrap();
            scene.empty();
            let client = SocketAddr::new(family.client.ip(), 9);
            scene.outside(&tcp(client, family.vip, SYN, &[]).frame()).answered("no_backend_rst");
        }
    });
}

#[test]
fn the_first_datagram_takes_a_turn_and_the_others_follow() {
    in_a_scene(|scene| {
        for (family, mode) in families().into_iter().flat_map(|family| READABLE.map(|mode| (family, mode))) {
            serve(scene, mode, &family);
            let all: Vec<SocketAddr> = clients(&family, 90).collect();
            let send = |scene: &mut Scene, client: SocketAddr| {
                let frame = scene.outside(&udp(client, family.vip, b"question").frame()).forwarded();
                backend_of(&family, &frame)
            };
            let first: Vec<u16> = all.iter().map(|client| send(scene, *client)).collect();
            assert_eq!(first.iter().filter(|backend| **backend == 1).count(), 30, "{mode:?}");
            assert_eq!(first.iter().filter(|backend| **backend == 2).count(), 60, "{mode:?}");
            for _ in 0..2 {
                for (client, backend) in all.iter().zip(&first) {
                    assert_eq!(send(scene, *client), *backend, "{mode:?}");
                }
            }
            if mode == ServiceMode::Nat {
                let news = told(scene);
                assert_eq!(news.len(), 90, "once each, as its client sends again");
                // An error about nobody's datagram begins nothing.
                let quoted = udp(family.vip, SocketAddr::new(family.client.ip(), 7), &[3; 99]).packet();
                let (kind, code) = crate::errors::too_big(&family);
                let error = icmp(crate::errors::router(&family), family.vip.ip(), kind, code, 1300, &quoted);
                let to = Packet::read(&scene.outside(&error.frame()).forwarded()).to.ip();
                assert_eq!(to, crate::scene::nth(family.backend, 2), "by the tables");
            }
            for (flow, pin) in scene.plane.flows().chain(scene.plane.opening_flows()).collect::<Vec<_>>() {
                scene.plane.remove_flow(&flow, &pin);
            }
            told(scene);
        }
    });
}

#[test]
fn both_ends_are_noted_and_told_of_as_they_end() {
    in_a_scene(|scene| {
        for family in families() {
            serve(scene, ServiceMode::Nat, &family);
            scene.plane.set_schedule(0, &table(|_| 1)).unwrap();
            let backend = SocketAddr::new(family.backend, BACKEND_PORT);
            let connect = |scene: &mut Scene, port: u16| {
                let client = SocketAddr::new(family.client.ip(), port);
                assert_eq!((sent(scene, &family, client, SYN), sent(scene, &family, client, ACK)), (1, 1));
                assert_eq!(told(scene).len(), 1);
                client
            };
            let client = connect(scene, 1000);
            let ended = |scene: &mut Scene| -> Vec<(Ended, bool)> {
                told(scene).iter().map(|event| (event.pin.ended(), event.pin.has_just_ended())).collect()
            };
            scene.inside(&tcp(backend, client, FIN | ACK, &[]).frame()).forwarded();
            assert_eq!(ended(scene), [(Ended::Half, true)]);
            scene.inside(&tcp(backend, client, FIN | ACK, &[]).frame()).forwarded();
            assert_eq!(ended(scene), [], "sent again, told once");
            assert_eq!(sent(scene, &family, client, FIN | ACK), 1);
            assert_eq!(ended(scene), [(Ended::Whole, false)], "it had ended before");
            assert_eq!(sent(scene, &family, client, ACK), 1, "its last packet");
            let client = connect(scene, 1001);
            scene.inside(&tcp(backend, client, RST, &[]).frame()).forwarded();
            assert_eq!(ended(scene), [(Ended::Whole, true)]);
            // Of a flow that nobody knows nothing is noted.
            scene.inside(&tcp(backend, SocketAddr::new(client.ip(), 9), RST, &[]).frame()).forwarded();
            assert_eq!(ended(scene), []);
        }
    });
}

/// A schedule is written in place, and begins with its first.
#[test]
fn a_new_schedule_holds_at_once() {
    in_a_scene(|scene| {
        let [v4, _] = families();
        serve(scene, ServiceMode::Nat, &v4);
        let all: Vec<SocketAddr> = clients(&v4, 40).collect();
        for (number, client) in all.iter().enumerate() {
            let to = 1 + u16::try_from(number % 4).unwrap();
            let other = 1 + to % 4;
            scene.plane.set_schedule(0, &table(|slot| if slot == 0 { to } else { other })).unwrap();
            assert_eq!(sent(scene, &v4, *client, SYN), to);
        }
    });
}
