use super::*;

fn service() -> Service {
    serde_json::from_value(serde_json::json!({
        "name": "web", "group": "g", "vips": ["10.0.0.100"], "protocol": "tcp", "ports": "80-89", "mode": "nat",
        "mode_reason": "", "up": true, "connections": 0, "stats": {}, "errors": [],
        "backends": [
            {"name": "web1", "address": "10.0.1.11:8080", "state": "up", "reason": "", "since_seconds": 0, "weight": 1.0,
             "backup": false, "connections": 0, "stats": {}},
            {"name": "six", "address": "[fd00::1]:8080", "state": "up", "reason": "", "since_seconds": 0, "weight": 1.0,
             "backup": false, "connections": 0, "stats": {}}
        ]
    }))
    .expect("a service of the status")
}

fn packet(fate: Fate) -> Packet {
    Packet {
        time: std::time::Duration::ZERO,
        interface: 0,
        service: Some(3),
        backend: Some(7),
        is_reply: false,
        leaves: false,
        fate,
        length: 0,
        bytes: Vec::new(),
    }
}

#[test]
fn what_became_of_a_packet_is_said_by_name() {
    let mut names = Names::default();
    let forwarded = packet(Fate::Forwarded);
    assert_eq!(names.fate(&forwarded), "forwarded to backend 7 of service 3");
    names.add(3, service());
    for (address, port, expected) in [
        ("10.0.1.11", 8080, "web1 (10.0.1.11:8080)"),
        ("10.0.1.11", 0, "web1 (10.0.1.11)"),
        ("10.0.1.12", 8080, "10.0.1.12:8080"),
        ("fd00::1", 8080, "six ([fd00::1]:8080)"),
    ] {
        names.backends.insert(7, (address.parse().expect("an address"), port));
        assert_eq!(names.fate(&forwarded), format!("forwarded to {expected} of web"));
    }
    let reply = Packet { is_reply: true, ..forwarded.clone() };
    assert_eq!(names.fate(&reply), "reply of six ([fd00::1]:8080) of web, forwarded to the client");
    assert_eq!(names.fate(&packet(Fate::Dropped("service_rate"))), "dropped (service_rate) of web");
    let nobodys = Packet { service: None, backend: None, ..packet(Fate::Answered("time_exceeded")) };
    assert_eq!(names.fate(&nobodys), "answered (time_exceeded)");
}

#[test]
fn a_service_is_found_by_its_first_address_and_port() {
    let (address, is_tcp) = first_endpoint(&service()).expect("it has one");
    assert_eq!((address.to_string().as_str(), is_tcp), ("10.0.0.100:80", true));
}
