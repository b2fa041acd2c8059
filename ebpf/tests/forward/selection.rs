//! Which backend a flow gets, while tables change.

use crate::packets::{ACK, FIN, Packet, SYN, tcp, udp};
use crate::scene::{BACKEND_PORT, Family, SEED, Scene, families, in_a_scene, nth};
use fulcrum_ebpf::plane::layout::{Backend, Class, Ended, Flow, Pin, SLOTS, Service, ServiceMode, Transport};
use siphasher::sip::SipHasher13;
use std::collections::BTreeSet;
use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The slot of a flow as the proxy hashes it.
fn slot(client: SocketAddr, vip: SocketAddr, protocol: u8, by_client: bool) -> usize {
    let mut hasher = SipHasher13::new_with_key(&SEED);
    hasher.write(&octets(client.ip()));
    if !by_client {
        hasher.write(&octets(vip.ip()));
        hasher.write(&client.port().to_be_bytes());
        hasher.write(&vip.port().to_be_bytes());
        hasher.write(&[protocol]);
    }
    let high = usize::try_from(hasher.finish() >> 32).unwrap();
    (high * SLOTS) >> 32
}

/// The number of the backend that the frame went to, from 1 on.
pub fn backend_of(family: &Family, frame: &[u8]) -> u16 {
    let to = Packet::read(frame).to.ip();
    (0..u16::MAX).find(|number| nth(family.backend, *number) == to).unwrap() + 1
}

pub fn clients(family: &Family, count: u16) -> impl Iterator<Item = SocketAddr> {
    let first = family.client.ip();
    (0..count).map(move |number| SocketAddr::new(nth(first, number % 97), 10_000 + number))
}

fn sent(scene: &mut Scene, family: &Family, client: SocketAddr, flags: u8) -> u16 {
    let frame = scene.outside(&tcp(client, family.vip, flags, &[]).frame()).forwarded();
    backend_of(family, &frame)
}

#[test]
fn the_hash_is_the_proxys() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Nat, family.vip, family.backend, 251);
            for by_client in [false, true] {
                scene.plane.set_service(0, Service::new(ServiceMode::Nat, by_client, false)).unwrap();
                for client in clients(&family, 300) {
                    let expected = |protocol| slot(client, family.vip, protocol, by_client) % 251 + 1;
                    let chosen = usize::from(sent(scene, &family, client, ACK));
                    assert_eq!(chosen, expected(6), "{client}");
                    let datagram = scene.outside(&udp(client, family.vip, &[]).frame()).forwarded();
                    assert_eq!(usize::from(backend_of(&family, &datagram)), expected(17));
                }
            }
        }
    });
}

#[test]
fn where_the_tables_agree_nothing_is_kept() {
    in_a_scene(|scene| {
        let [v4, _] = families();
        scene.serve(ServiceMode::Nat, v4.vip, v4.backend, 4);
        scene.plane.set_service(0, Service::new(ServiceMode::Nat, false, true)).unwrap();
        for client in clients(&v4, 500) {
            assert_eq!(sent(scene, &v4, client, SYN), sent(scene, &v4, client, ACK));
        }
        assert_eq!(scene.plane.flows().count(), 0);
    });
}

#[test]
fn where_they_differ_old_flows_stay_and_new_ones_move() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Nat, family.vip, family.backend, 2);
            scene.plane.set_service(0, Service::new(ServiceMode::Nat, false, true)).unwrap();
            scene.set_tables(|_| 1, |_| 1);
            let old: Vec<SocketAddr> = clients(&family, 200).collect();
            for client in &old {
                assert_eq!(sent(scene, &family, *client, SYN), 1);
            }
            scene.set_tables(|_| 2, |_| 1);
            let new: Vec<SocketAddr> = clients(&family, 400).skip(200).collect();
            for client in &new {
                assert_eq!(sent(scene, &family, *client, SYN), 2);
            }
            for _ in 0..2 {
                for client in &old {
                    assert_eq!(sent(scene, &family, *client, ACK), 1, "an old flow stays");
                }
                for client in &new {
                    assert_eq!(sent(scene, &family, *client, ACK), 2, "a new one too");
                }
                // The time of the change is over, and so it stays.
                scene.set_tables(|_| 2, |_| 2);
            }
            for flow in scene.plane.flows().collect::<Vec<_>>() {
                scene.plane.remove_flow(&flow.0, &flow.1);
            }
            assert_eq!(scene.plane.flows().count(), 0);
        }
    });
}

#[test]
fn a_flow_of_a_dead_backend_moves() {
    in_a_scene(|scene| {
        let [v4, _] = families();
        scene.serve(ServiceMode::Nat, v4.vip, v4.backend, 2);
        scene.plane.set_service(0, Service::new(ServiceMode::Nat, false, true)).unwrap();
        scene.set_tables(|_| 2, |_| 1);
        assert_eq!(sent(scene, &v4, v4.client, ACK), 1);
        assert_eq!(scene.plane.flows().count(), 1, "it was pinned");
        let dead = Backend::new(v4.backend, BACKEND_PORT, false, Some(scene.hop(v4.backend)));
        scene.plane.set_backend(1, dead).unwrap();
        assert_eq!(sent(scene, &v4, v4.client, ACK), 2, "the pin does not hold it back");
        for client in clients(&v4, 20) {
            assert_eq!(sent(scene, &v4, client, ACK), 2);
        }
    });
}

#[test]
fn a_backend_that_comes_back_takes_no_flow_from_others() {
    in_a_scene(|scene| {
        let [v4, _] = families();
        scene.serve(ServiceMode::Nat, v4.vip, v4.backend, 2);
        scene.plane.set_service(0, Service::new(ServiceMode::Nat, false, true)).unwrap();
        let set = |scene: &mut Scene, up| {
            let backend = Backend::new(v4.backend, BACKEND_PORT, up, Some(scene.hop(v4.backend)));
            scene.plane.set_backend(1, backend).unwrap();
        };
        scene.set_tables(|_| 1, |_| 1);
        let [old, new, unseen]: [Vec<SocketAddr>; 3] =
            [0, 50, 100].map(|from| clients(&v4, from + 50).skip(from.into()).collect());
        for client in &old {
            assert_eq!(sent(scene, &v4, *client, SYN), 1);
        }
        scene.set_tables(|_| 2, |_| 1);
        set(scene, false);
        for client in &new {
            assert_eq!((sent(scene, &v4, *client, SYN), sent(scene, &v4, *client, ACK)), (2, 2));
        }
        set(scene, true);
        scene.set_tables(|_| 1, |_| 1);
        for client in &new {
            assert_eq!(sent(scene, &v4, *client, ACK), 2, "begun while the other was down");
        }
        for client in old.iter().chain(&unseen) {
            assert_eq!(sent(scene, &v4, *client, ACK), 1);
        }
    });
}

#[test]
fn a_new_connection_on_the_ports_of_an_old_one() {
    in_a_scene(|scene| {
        let [v4, _] = families();
        scene.serve(ServiceMode::Nat, v4.vip, v4.backend, 2);
        scene.plane.set_service(0, Service::new(ServiceMode::Nat, false, true)).unwrap();
        scene.set_tables(|_| 2, |_| 1);
        assert_eq!(sent(scene, &v4, v4.client, ACK), 1);
        // A forged SYN moves no flow that lives.
        assert_eq!(sent(scene, &v4, v4.client, SYN), 1);
        assert_eq!(sent(scene, &v4, v4.client, ACK), 1);
        // One that was closed makes room.
        assert_eq!(sent(scene, &v4, v4.client, ACK | FIN), 1);
        assert_eq!(sent(scene, &v4, v4.client, SYN), 2);
        assert_eq!(sent(scene, &v4, v4.client, ACK), 2);
    });
}

#[test]
fn when_there_is_no_room_flows_go_where_the_older_table_says() {
    in_a_scene(|scene| {
        let [v4, _] = families();
        scene.serve(ServiceMode::Nat, v4.vip, v4.backend, 2);
        let service = Service::new(ServiceMode::Nat, false, true);
        scene.plane.set_service(0, service).unwrap();
        scene.set_tables(|_| 2, |_| 1);
        scene.plane.set_room(Class::Workload, 0).unwrap();
        // All packets of one, so that it works, although nothing is noted.
        assert_eq!((sent(scene, &v4, v4.client, SYN), sent(scene, &v4, v4.client, ACK)), (1, 1));
        assert_eq!((scene.plane.flows().count(), scene.plane.room(Class::Workload).refused), (0, 2));
        // Services of the control plane have room of their own.
        scene.plane.set_service(0, service.of_class(Class::Protected)).unwrap();
        assert_eq!((sent(scene, &v4, v4.client, SYN), sent(scene, &v4, v4.client, ACK)), (2, 2));
        assert_eq!((scene.plane.flows().count(), scene.plane.room(Class::Protected).left), (1, 99_999));
    });
}

#[test]
fn a_flood_takes_no_more_room_than_its_class_has() {
    in_a_scene(|scene| {
        let [v4, _] = families();
        scene.serve(ServiceMode::Nat, v4.vip, v4.backend, 2);
        scene.plane.set_service(0, Service::new(ServiceMode::Nat, false, true)).unwrap();
        scene.set_tables(|_| 2, |_| 1);
        scene.plane.set_room(Class::Workload, 50).unwrap();
        let clients: Vec<SocketAddr> = clients(&v4, 300).collect();
        let gone = clients.iter().filter(|client| sent(scene, &v4, **client, SYN) == 2).count();
        assert_eq!((gone, scene.plane.flows().count()), (50, 50));
        // What only SYNs were seen of may soon be forgotten, and no more what went on.
        let phases = |scene: &Scene| scene.plane.flows().filter(|(_, pin)| pin.ended() == Ended::No).count();
        assert_eq!(phases(scene), 0);
        assert_eq!(sent(scene, &v4, clients[0], ACK), 2);
        assert_eq!(phases(scene), 1);
        // A forged SYN changes nothing about that.
        assert_eq!(sent(scene, &v4, clients[0], SYN), 2);
        assert_eq!(phases(scene), 1);
    });
}

#[test]
fn packets_and_bytes_are_counted_where_they_went() {
    in_a_scene(|scene| {
        for family in families() {
            scene.serve(ServiceMode::Nat, family.vip, family.backend, 1);
            let before = (scene.plane.service_counters(0), scene.plane.backend_counters(1));
            let there = tcp(family.client, family.vip, SYN, &[1; 50]).frame();
            let back =
                tcp(SocketAddr::new(family.backend, BACKEND_PORT), family.client, SYN | ACK, &[1; 9]).frame();
            scene.outside(&there).forwarded();
            scene.inside(&back).forwarded();
            for (before, after) in
                [(before.0, scene.plane.service_counters(0)), (before.1, scene.plane.backend_counters(1))]
            {
                assert_eq!(after.packets_in - before.packets_in, 1);
                assert_eq!(after.bytes_in - before.bytes_in, u64::try_from(there.len()).unwrap());
                assert_eq!(after.packets_out - before.packets_out, 1);
                assert_eq!(after.bytes_out - before.bytes_out, u64::try_from(back.len()).unwrap());
                assert_eq!((after.opened - before.opened, after.refused), (1, 0));
            }
        }
    });
}

#[test]
fn every_flow_is_found_whatever_their_number() {
    in_a_scene(|scene| {
        let [v4, _] = families();
        scene.serve(ServiceMode::Nat, v4.vip, v4.backend, 2);
        let mut known = BTreeSet::new();
        for count in [1_u16, 4_095, 4_097, 20_000] {
            for number in 0..count {
                let client = SocketAddr::new(v4.client.ip(), number);
                let flow = Flow::new(client, v4.vip, Transport::Tcp);
                let pin = Pin::heard_of(1, None, Ended::No, u64::from(number));
                scene.plane.set_flow(&flow, &pin, 0).unwrap();
                known.insert((flow, u64::from(number)));
            }
            let found: Vec<_> = scene.plane.flows().map(|(flow, pin)| (flow, pin.seen)).collect();
            assert_eq!(found.len(), known.len(), "none comes twice");
            assert_eq!(BTreeSet::from_iter(found), known);
        }
    });
}
