#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test")]

use super::*;
use crate::attach::Mode;
use crate::layout::Address;
use crate::plane::Plane;
use crate::plane::layout::{Backend, Ended, MAX_FLOWS, Transport, entries_for, room_in};
use std::net::SocketAddr;

/// A version that never was, in which a flow is told by less: a short time, no end, nobody who heard of it.
const FEWER: Older = Older { version: 1, same: &["endpoints"], pins: Some(pins), returns: Some(ways) };
const PIN: usize = 22;
const WAY: usize = 48;
const SEEN: u16 = 77;

fn pins(map: MapData) -> Result<Reader<Pin>, MapError> {
    reader(map, |flow, pin: &[u8; PIN]| {
        let now = Pin {
            backend: u16::from_ne_bytes([pin[18], pin[19]]),
            heard_of: 0,
            reserved: 0,
            source_port: [pin[16], pin[17]],
            closed: 0,
            answered: 1,
            seen: u16::from_ne_bytes([pin[20], pin[21]]).into(),
            source: Address(*pin.first_chunk().unwrap()),
        };
        (flow, now)
    })
}

fn ways(map: MapData) -> Result<Reader<Returned>, MapError> {
    reader(map, |replies, way: &[u8; WAY]| {
        let [service, backend] = [[way[40], way[41]], [way[44], way[45]]].map(u16::from_ne_bytes);
        let service = service.into();
        (replies, Returned { flow: flow_of(way), service, backend, answered: 1, reserved: 0, seen: 0 })
    })
}

fn flow_of(bytes: &[u8]) -> Flow {
    let at = |from: usize, port: usize| {
        let address: [u8; 16] = bytes[from..from + 16].try_into().unwrap();
        let port = u16::from_be_bytes(bytes[port..port + 2].try_into().unwrap());
        SocketAddr::new(Address(address).into(), port)
    };
    Flow::new(at(0, 32), at(16, 34), Transport::Tcp)
}

fn bytes_of(flow: &Flow) -> [u8; 40] {
    let (client, vip) = flow.ends();
    let mut bytes = [0; 40];
    bytes[..16].copy_from_slice(&Address::from(client.ip()).0);
    bytes[16..32].copy_from_slice(&Address::from(vip.ip()).0);
    bytes[32..34].copy_from_slice(&client.port().to_be_bytes());
    bytes[34..36].copy_from_slice(&vip.port().to_be_bytes());
    bytes[36] = Transport::Tcp as u8;
    bytes
}

/// The earlier plane's maps.
struct Earlier {
    flows: Hash<Flow, [u8; PIN]>,
    returns: Hash<Flow, [u8; WAY]>,
    opening: Hash<Flow, [u8; PIN]>,
    opening_returns: Hash<Flow, [u8; WAY]>,
}

impl Earlier {
    fn pinned(pins: &Pins) -> Self {
        fn make<const BYTES: usize>(pins: &Pins, name: &str) -> Hash<Flow, [u8; BYTES]> {
            let map = Hash::<Flow, [u8; BYTES]>::create(1000, 0).unwrap();
            let pin = pins.map(name, FEWER.version);
            map.pin(&pin).unwrap();
            Map::from_map_data(MapData::from_pin(pin).unwrap()).unwrap().try_into().unwrap()
        }
        Self {
            flows: make(pins, "flows"),
            returns: make(pins, "returns"),
            opening: make(pins, "opening"),
            opening_returns: make(pins, "opening_returns"),
        }
    }

    fn insert(&mut self, opening: bool, flow: &Flow, source: SocketAddr, backend: u16, seen: u16) {
        let mut pin = [0; PIN];
        pin[..16].copy_from_slice(&Address::from(source.ip()).0);
        pin[16..18].copy_from_slice(&source.port().to_be_bytes());
        pin[18..20].copy_from_slice(&backend.to_ne_bytes());
        pin[20..22].copy_from_slice(&seen.to_ne_bytes());
        let mut way = [0; WAY];
        way[..40].copy_from_slice(&bytes_of(flow));
        way[40] = 3;
        way[44..46].copy_from_slice(&backend.to_ne_bytes());
        let (flows, returns) = if opening {
            (&mut self.opening, &mut self.opening_returns)
        } else {
            (&mut self.flows, &mut self.returns)
        };
        returns.insert(replies(source), way, 0).unwrap();
        flows.insert(flow, pin, 0).unwrap();
    }
}

fn client(port: u16) -> Flow {
    let vip = SocketAddr::from(([10, 0, 0, 100], 80));
    Flow::new(SocketAddr::from(([10, 0, 0, 7], port)), vip, Transport::Tcp)
}

fn source(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 100], port))
}

fn replies(source: SocketAddr) -> Flow {
    Flow::new(SocketAddr::from(([10, 0, 1, 11], 8080)), source, Transport::Tcp)
}

/// In a network namespace that goes with the thread.
fn in_a_namespace(test: impl FnOnce(Pins) + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            #[allow(deprecated, reason = "the files of this thread stay as they are")]
            rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).unwrap();
            test(Pins::open().unwrap());
        });
        thread.join().unwrap();
    });
}

fn load(pins: &Pins) -> Plane {
    Plane::load_with(Mode::Auto, Some(pins.clone()), &[FEWER], MAX_FLOWS).unwrap()
}

#[test]
fn flows_of_a_layout_with_fewer_fields_come_over_and_those_that_begin_meanwhile() {
    in_a_namespace(|pins| {
        let mut earlier = Earlier::pinned(&pins);
        for port in 1..=900 {
            earlier.insert(false, &client(port), source(20_000 + port), 2, SEEN);
        }
        earlier.insert(true, &client(2_000), source(30_000), 3, SEEN);
        let mut plane = load(&pins);
        assert_eq!((plane.flows().count(), plane.opening_flows().count()), (900, 1));
        let pin = plane.flow(&client(900)).unwrap();
        assert_eq!((pin.backend(), pin.source(), pin.seen), (2, Some(source(20_900)), SEEN.into()));
        assert_eq!(
            plane.opening_flows().next().map(|(flow, pin)| (flow, pin.backend())),
            Some((client(2_000), 3))
        );
        let way = plane.flows.way(&replies(source(20_900))).unwrap();
        assert_eq!((way.flow, way.service, way.backend), (client(900), 3, 2));
        // The earlier programs go on until they are replaced.
        earlier.insert(false, &client(901), source(20_901), 2, SEEN);
        plane.copy_older();
        assert!(plane.flow(&client(901)).is_some());
        earlier.insert(true, &client(2_001), source(30_001), 2, SEEN);
        plane.end_older();
        assert_eq!((plane.flows().count(), plane.opening_flows().count()), (901, 2));
        assert!(plane.flows.way(&replies(source(30_001))).is_some());
        assert!(!pins.has_maps(MAPS, FEWER.version), "nothing of it is left");
        earlier.insert(false, &client(902), source(20_902), 2, SEEN);
        plane.end_older();
        assert_eq!(plane.flow(&client(902)), None);
        plane.stop();
    });
}

#[test]
fn what_the_new_plane_knows_better_stays() {
    in_a_namespace(|pins| {
        let mut earlier = Earlier::pinned(&pins);
        earlier.insert(false, &client(1), source(20_001), 2, SEEN);
        earlier.insert(false, &client(2), source(20_002), 2, SEEN);
        let mut plane = load(&pins);
        // One ended here, another one was followed by one that goes elsewhere.
        let ended = Pin { closed: 4, ..plane.flow(&client(1)).unwrap() };
        plane.flows.put(&client(1), &ended);
        let next = Pin { backend: 5, ..plane.flow(&client(2)).unwrap() };
        plane.flows.put(&client(2), &next);
        // Seen there once more.
        for port in [1, 2] {
            earlier.insert(false, &client(port), source(20_000 + port), 2, SEEN + 1);
        }
        plane.end_older();
        assert_eq!(plane.flow(&client(1)), Some(Pin { seen: u64::from(SEEN) + 1, ..ended }));
        assert_eq!(plane.flow(&client(2)), Some(next));
        plane.stop();
    });
}

#[test]
fn one_that_is_killed_while_it_takes_over_is_followed_by_one_that_does() {
    in_a_namespace(|pins| {
        let mut earlier = Earlier::pinned(&pins);
        earlier.insert(false, &client(1), source(20_001), 2, SEEN);
        drop(load(&pins));
        earlier.insert(false, &client(2), source(20_002), 2, SEEN);
        let mut plane = load(&pins);
        assert_eq!(plane.flows().count(), 2);
        plane.end_older();
        assert!(!pins.has_maps(MAPS, FEWER.version));
        plane.stop();
    });
}

#[test]
fn versions_that_nobody_knows_go() {
    in_a_namespace(|pins| {
        let mut earlier = Earlier::pinned(&pins);
        earlier.insert(false, &client(1), source(20_001), 2, SEEN);
        let plane = Plane::load_with(Mode::Auto, Some(pins.clone()), LAYOUTS, MAX_FLOWS).unwrap();
        assert_eq!(plane.flows().count(), 0);
        assert!(!pins.has_maps(MAPS, FEWER.version));
        plane.stop();
    });
}

#[test]
fn flows_come_over_into_tables_of_another_size_whoever_is_killed_on_the_way() {
    in_a_namespace(|pins| {
        let load =
            |flows| Plane::load_with(Mode::Auto, Some(pins.clone()), LAYOUTS, entries_for(flows)).unwrap();
        let mut earlier = load(room_in(MAX_FLOWS));
        assert_eq!(earlier.room_for_flows(), 235_926, "the usual");
        let pin = Pin::heard_of(2, Some(source(20_001)), Ended::No, SEEN.into());
        earlier.set_backend(2, Backend::new([10, 0, 1, 2].into(), 80, true, None)).unwrap();
        earlier.set_flow(&client(1), &pin, 3).unwrap();
        drop(load(20_000));
        let mut plane = load(20_000);
        assert!((20_000..20_100).contains(&plane.room_for_flows()));
        assert_eq!(plane.flow(&client(1)), Some(pin));
        // The earlier programs go on until they are replaced.
        earlier.set_flow(&client(2), &pin, 3).unwrap();
        plane.end_older();
        assert_eq!(plane.flow(&client(2)), Some(pin));
        assert!(!pins.has_maps(MAPS, RESIZED), "nothing of it is left");
        drop(plane);
        let plane = load(20_000);
        assert_eq!((plane.flows().count(), plane.migration.is_none()), (2, true), "the same size is adopted");
        plane.stop();
    });
}

#[test]
fn a_flow_of_version_2_is_read_with_what_another_node_told_of_it() {
    let older = Pin2 {
        backend: 0x0001_0203,
        source_port: [0x50, 0],
        closed: 1,
        answered: 1,
        seen: 9,
        source: Address([7; 16]),
    };
    let now = older.now();
    assert_eq!((now.backend(), now.is_seen(), now.seen), (0x203, false, 9));
    assert_eq!((now.source_port, now.closed, now.answered, now.source), ([0x50, 0], 1, 1, Address([7; 16])));
}
