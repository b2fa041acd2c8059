use super::*;
use fulcrum_lb::capture::Fate;

fn ipv4(protocol: u8, offset: u16, transport: &[u8]) -> Vec<u8> {
    let [high, low] = offset.to_be_bytes();
    let header = [0x45, 0, 0, 0, 0, 0, high, low, 64, protocol, 0, 0, 192, 0, 2, 7, 10, 0, 0, 100];
    [&[0; 12][..], &[8, 0], &header, transport].concat()
}

fn tcp(flags: u8) -> Vec<u8> {
    [&40000_u16.to_be_bytes()[..], &80_u16.to_be_bytes(), &[0; 8], &[0x50, flags, 0, 0, 0, 0, 0, 0]].concat()
}

#[test]
fn a_packet_is_described() {
    let described = |frame: &[u8]| describe(frame).unwrap_or_else(|| "cut short".to_owned());
    assert_eq!(described(&ipv4(6, 0, &tcp(2))), "192.0.2.7:40000 > 10.0.0.100:80 tcp SYN");
    assert_eq!(described(&ipv4(6, 0, &tcp(0x12))), "192.0.2.7:40000 > 10.0.0.100:80 tcp SYN ACK");
    assert_eq!(described(&ipv4(17, 0, &[0, 53, 0, 54, 0, 8, 0, 0])), "192.0.2.7:53 > 10.0.0.100:54 udp");
    assert_eq!(described(&ipv4(17, 185, &[1; 8])), "192.0.2.7 > 10.0.0.100 udp, a later piece");
    assert_eq!(described(&ipv4(1, 0, &[3; 8])), "192.0.2.7 > 10.0.0.100 icmp");
    let header = [&[0x60, 0, 0, 0, 0, 20, 6, 64][..], &[0xfd; 16], &[0; 15], &[1]].concat();
    let frame = [&[0; 12][..], &[0x86, 0xdd], &header, &tcp(4)].concat();
    let all = "[fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd]:40000 > [::1]:80 tcp RST";
    assert_eq!(described(&frame), all);
    for length in 0..frame.len() {
        // However it is cut, it is described or not, and nothing worse.
        describe(&frame[..length]);
    }
}

#[test]
fn a_line_says_when_where_and_what_became_of_it() {
    let bytes = ipv4(6, 0, &tcp(2));
    let packet = Packet {
        time: Duration::from_micros(5_000_250),
        interface: 4,
        service: None,
        backend: None,
        is_reply: false,
        leaves: false,
        fate: Fate::Dropped("group_silent"),
        length: 74,
        bytes,
    };
    let shown = line(&packet, &Names::default(), Duration::from_secs(5));
    assert_eq!(
        shown,
        "    0.000250  ? 192.0.2.7:40000 > 10.0.0.100:80 tcp SYN, 74 bytes: dropped (group_silent)\n"
    );
    let left = line(&Packet { leaves: true, ..packet }, &Names::default(), Duration::ZERO);
    assert_eq!(left, "     left as  ? 192.0.2.7:40000 > 10.0.0.100:80 tcp SYN, 74 bytes\n");
}
