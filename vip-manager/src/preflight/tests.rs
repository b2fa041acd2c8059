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
    let zeros = "0".repeat(32);
    let line = |destination: &str, length: &str, gateway: &str| {
        format!("{destination} {length} {zeros} 00 {gateway} 00000400 00000001 00000000 00000003 eth0\n")
    };
    let gateway = "fe800000000000000000000000000001";
    let net = "fd770000000000000000000000000000";
    let table = [
        line(&zeros, "00", gateway),
        line(net, "40", gateway),
        line(&zeros, "00", &zeros),
        "eth0\n".to_owned(),
    ]
    .concat();
    let expected = (InterfaceName::new("eth0"), "fe80::1".parse().unwrap());
    assert_eq!(default_routes6(&table), BTreeSet::from([expected]));
}
