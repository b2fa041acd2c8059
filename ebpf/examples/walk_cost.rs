//! Prints what it costs to read a table of a million flows, thousands at a time and one by one. As root.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    reason = "an example"
)]

use aya::maps::{HashMap, MapData};
use fulcrum_ebpf::entries;
use fulcrum_ebpf::plane::layout::{Ended, Flow, Pin, Transport};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

const FLOWS: u32 = 1_000_000;
const ROUNDS: usize = 5;

fn main() {
    let mut map = HashMap::<MapData, Flow, Pin>::create(FLOWS + FLOWS / 10, 0).expect("a map; as root");
    let vip = SocketAddr::from(([10, 0, 0, 100], 80));
    for number in 0..FLOWS {
        let port = 1024 + u16::try_from(number % 1000).expect("small");
        let client = SocketAddr::from((Ipv4Addr::from_bits(0xc612_0000 + number / 1000), port));
        let flow = Flow::new(client, vip, Transport::Tcp);
        map.insert(flow, Pin::heard_of(1, None, Ended::No, 0), 0).expect("room");
    }
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let count = entries(&map).count();
        let at_once = begun.elapsed();
        let begun = Instant::now();
        let singly = map.iter().flatten().count();
        println!(
            "{count} flows: {at_once:?} thousands at a time; {singly}: {:?} one by one",
            begun.elapsed()
        );
    }
}
