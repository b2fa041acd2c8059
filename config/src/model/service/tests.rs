use super::*;
use crate::model::{CheckKind, priority_of_checks};

fn service(mode: Mode, kind: CheckKind) -> Service {
    let check = Check {
        kind,
        port: None,
        interval: Duration::from_secs(2),
        fast_interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        rise: 1,
        fall: 1,
        jitter_percent: 0,
    };
    let vips = vec!["fd00::100".parse().unwrap(), "10.0.0.100".parse().unwrap()];
    let made = Service::new(ServiceName::new("web"), GroupName::new("web"), vips, 80);
    Service { mode, check: Some(Arc::new(check)), ..made }
}

fn backend(ip: &str) -> Backend {
    Backend::new(BackendName::new("a"), BackendAddress { ip: ip.parse().unwrap(), port: None })
}

fn vip_of(service: &Service, ip: &str) -> Option<IpAddr> {
    service.target(&backend(ip)).unwrap().vip
}

#[test]
fn only_backends_that_answer_for_the_vip_are_asked_there() {
    for mode in [Mode::Auto, Mode::Proxy, Mode::Nat, Mode::Fullnat] {
        assert_eq!(vip_of(&service(mode, CheckKind::Tcp), "10.0.0.21"), None);
    }
    let service = service(Mode::Dsr, CheckKind::Tcp);
    assert_eq!(vip_of(&service, "10.0.0.21"), Some("10.0.0.100".parse().unwrap()));
    assert_eq!(vip_of(&service, "fd00::21"), Some("fd00::100".parse().unwrap()));
    let target = service.target(&backend("10.0.0.21")).unwrap();
    assert_eq!(target.address, "10.0.0.21:80".parse().unwrap());
    assert_eq!(target.seen_at(), "10.0.0.100:80".parse().unwrap());
}

#[test]
fn what_asks_the_machine_itself_asks_its_own_address() {
    for kind in [CheckKind::Icmp, CheckKind::Script { command: vec!["/bin/true".to_owned()] }] {
        assert_eq!(vip_of(&service(Mode::Dsr, kind), "10.0.0.21"), None);
    }
}

#[test]
fn each_vip_has_a_priority_of_its_own_that_is_never_that_of_others() {
    let mut seen = std::collections::HashSet::new();
    for network in 0..4 {
        for number in 0..=255 {
            let priority = priority_of_checks([10, 0, network, number].into());
            assert!(
                priority > 15 && priority.is_multiple_of(16) && seen.insert(priority),
                "{network}.{number}"
            );
            let v6 = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, u16::from(network), u16::from(number)]);
            assert!(seen.insert(priority_of_checks(v6)));
        }
    }
}
