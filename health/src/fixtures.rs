//! Values that several tests of this room need.

use crate::Desired;
use fulcrum_config::*;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Every second, timeout half a second, 2 to rise, 3 to fall, no jitter.
pub(crate) fn check(kind: CheckKind) -> Check {
    Check {
        kind,
        port: None,
        interval: SECOND,
        fast_interval: 200 * MS,
        timeout: 500 * MS,
        rise: 2,
        fall: 3,
        jitter_percent: 0,
    }
}

/// The same, fast enough for tests with real sockets.
pub(crate) fn fast_check(kind: CheckKind) -> Check {
    Check { interval: 50 * MS, fast_interval: 20 * MS, timeout: 50 * MS, ..check(kind) }
}

pub(crate) fn target(address: SocketAddr, kind: CheckKind) -> Target {
    Target { address, vip: None, check: Arc::new(check(kind)), proxy_protocol: None }
}

pub(crate) fn http_check() -> HttpCheck {
    HttpCheck {
        method: "GET".into(),
        path: "/".into(),
        host: None,
        headers: Vec::new(),
        status: Vec::new(),
        body: None,
    }
}

pub(crate) fn service(name: &str, check: Option<Check>, backends: &[SocketAddr]) -> Service {
    let backend = |address: &SocketAddr| {
        let name = BackendName::new(&address.to_string());
        Arc::new(Backend::new(name, BackendAddress { ip: address.ip(), port: Some(address.port()) }))
    };
    let vips = vec!["192.0.2.1".parse().unwrap()];
    Service {
        backends: backends.iter().map(backend).collect(),
        check: check.map(Arc::new),
        ..Service::new(ServiceName::new(name), GroupName::new("group"), vips, 80)
    }
}

pub(crate) fn desired(services: impl IntoIterator<Item = Service>) -> Desired {
    let services = services.into_iter().map(|service| (service.name.clone(), Arc::new(service)));
    Desired { services: services.collect() }
}

/// `192.0.2.n:80`.
pub(crate) fn backend(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, n], 80))
}
