use super::*;

#[test]
fn gateways_of_default_routes_are_read() {
    let table = "Iface\tDestination\tGateway \tFlags\n\
                 eth0\t00000000\t0100000A\t0003\n\
                 eth0\t0000000A\t00000000\t0001\n\
                 tun0\t00000000\t00000000\t0001\n\
                 eth0\n";
    let gateway = if cfg!(target_endian = "little") { "10.0.0.1" } else { "1.0.0.10" };
    let expected = (InterfaceName::new("eth0"), gateway.parse().unwrap());
    assert_eq!(default_routes(table), BTreeSet::from([expected]));
    assert!(default_routes("").is_empty());
}
