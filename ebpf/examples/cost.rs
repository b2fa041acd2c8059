//! Prints what a packet costs in the fence: nanoseconds by BPF_PROG_TEST_RUN, the least of 20 means. As root.
#![allow(clippy::print_stdout, reason = "this is what it is for")]

use fulcrum_ebpf::layout::{Group, State};
use fulcrum_ebpf::{Direction, Fence, KernelError, Mode};
use std::net::{IpAddr, Ipv4Addr};

fn ipv4(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let ethernet = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let header = [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0];
    [&ethernet[..], &header, &source.octets(), &destination.octets(), &[0; 20]].concat()
}

fn main() -> Result<(), KernelError> {
    let vip = Ipv4Addr::new(10, 0, 0, 100);
    let (one, other) = (Ipv4Addr::new(10, 0, 0, 7), Ipv4Addr::new(10, 0, 0, 8));
    let mut fence = Fence::load(Mode::Auto)?;
    fence.set_vip(IpAddr::V4(vip), 0)?;
    fence.set_group(0, Group::new(State::Leading, 1, u64::MAX))?;
    let not_ip = [&[0; 12][..], &[0x88, 0xcc], &[0; 46]].concat();
    for (what, direction, frame) in [
        ("neither IP nor ARP", Direction::Egress, not_ip),
        ("not a VIP's, out", Direction::Egress, ipv4(one, other)),
        ("not a VIP's, in", Direction::Ingress, ipv4(one, other)),
        ("from the VIP", Direction::Egress, ipv4(vip, other)),
        ("to the VIP", Direction::Ingress, ipv4(other, vip)),
    ] {
        let mut least = std::time::Duration::MAX;
        for _ in 0..20 {
            least = least.min(fence.try_frame(direction, &frame, 100_000)?.1);
        }
        println!("{what}: {} ns", least.as_nanos());
    }
    Ok(())
}
