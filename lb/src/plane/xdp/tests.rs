use super::*;

#[test]
fn only_drivers_that_are_known_are_used_unless_any_is_asked_for() {
    let asked = |wish, driver| Drivers::new(wish).refusal(driver, false).is_none();
    assert!(asked(Xdp::Auto, "virtio_net") && asked(Xdp::Any, "virtio_net"));
    assert!(!asked(Xdp::Auto, "veth") && asked(Xdp::Any, "veth"));
    assert!(!asked(Xdp::Auto, "vmxnet3") && !asked(Xdp::Any, "vmxnet3"));
    assert!(!asked(Xdp::Off, "virtio_net"));
}

#[test]
fn on_a_live_node_only_what_is_there_already_is_kept() {
    let mut drivers = Drivers::new(Xdp::Any);
    drivers.handle_started();
    assert!(drivers.refusal("ice", false).is_some());
    assert!(drivers.refusal("ice", true).is_none());
    assert!(Drivers::new(Xdp::Off).refusal("ice", true).is_some());
}

#[test]
fn the_kernels_table_of_neighbours_is_understood() {
    let line = "10.0.0.7         0x1         0x2         02:00:00:00:00:09     *        eth0";
    assert_eq!(entry(line, "eth0"), Some((Ipv4Addr::new(10, 0, 0, 7), [2, 0, 0, 0, 0, 9])));
    assert_eq!(entry(line, "eth1"), None);
    assert_eq!(entry(&line.replace("0x2", "0x0"), "eth0"), None);
    assert_eq!(
        entry("IP address       HW type     Flags       HW address            Mask     Device", "eth0"),
        None
    );
    assert_eq!(entry("10.0.0.7 0x1 0x2 02:zz * eth0", "eth0"), None);
}

#[test]
fn an_echo_is_as_long_as_asked_and_known_by_every_byte() {
    for length in [46, 286, 1500] {
        let echo = Echo::new(3, length);
        let ends = (([2; 6], Ipv4Addr::new(10, 0, 0, 1)), ([4; 6], Ipv4Addr::new(10, 0, 0, 2)));
        let frame = echo.frame(ends.0, ends.1);
        assert_eq!(frame.len(), length + HEADER);
        let sum = |bytes: &[u8]| {
            let sum: u32 = bytes
                .chunks(2)
                .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
                .sum();
            let folded = (sum & 0xffff) + (sum >> 16);
            (folded & 0xffff) + (folded >> 16)
        };
        assert_eq!((sum(&frame[14..34]), sum(&frame[34..])), (0xffff, 0xffff));
        // Type 8 becomes 0, and the checksum with it.
        let mut reply = frame[14..].to_vec();
        reply[20] = 0;
        let checksum = u32::from(u16::from_be_bytes([reply[22], reply[23]])) + 0x800;
        let checksum = u16::try_from((checksum & 0xffff) + (checksum >> 16)).unwrap();
        reply[22..24].copy_from_slice(&checksum.to_be_bytes());
        assert!(echo.is_answered_by(&reply));
        assert!(!echo.is_answered_by(&reply[..reply.len() - 1]));
        *reply.last_mut().unwrap() ^= 1;
        assert!(!echo.is_answered_by(&reply));
        assert!(!echo.is_answered_by(&[]));
    }
}
