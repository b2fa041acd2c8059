//! Small configurations and observations for tests.

use fulcrum_config::{
    Admin, AdvertInterval, Adverts, Backend, BackendAddress, BackendName, Check, CheckKind, Class, Config,
    Group, GroupName, Interface, InterfaceName, Node, NodeKind, NodeName, Preempt, Priority, Service,
    ServiceName, Timing, Vip, Vrid,
};
use fulcrum_health::{BackendHealth, Observed, ServiceHealth, TargetHealth, Verdict};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) fn vip() -> IpAddr {
    "10.0.0.100".parse().expect("an address")
}

pub(crate) fn backend(name: &str) -> Backend {
    let ip = "10.1.0.1".parse().expect("an address");
    Backend::new(BackendName::new(name), BackendAddress { ip, port: Some(8080) })
}

pub(crate) fn service<const N: usize>(name: &str, backends: [Backend; N]) -> Service {
    let second = Duration::from_secs(1);
    let check = Check {
        kind: CheckKind::Tcp,
        port: None,
        interval: second,
        fast_interval: second,
        timeout: second,
        rise: 2,
        fall: 2,
        jitter_percent: 0,
    };
    Service {
        backends: backends.into_iter().map(Arc::new).collect(),
        check: Some(Arc::new(check)),
        ..Service::new(ServiceName::new(name), GroupName::new("main"), vec![vip()], 80)
    }
}

pub(crate) fn config<const N: usize>(services: [Service; N]) -> Config {
    let node = NodeName::new("lb1");
    let interface = InterfaceName::new("eth0");
    let group = Group {
        name: GroupName::new("main"),
        class: Class::Workload,
        election: fulcrum_config::Election::Vrrp(Vrid::new(51).expect("a VRID")),
        vips: vec![Vip { address: vip(), interface: interface.clone() }],
        priorities: BTreeMap::from([(node.clone(), Priority::DEFAULT)]),
        advert_interval: AdvertInterval::DEFAULT,
        adverts: Adverts::Multicast,
        preempt: Preempt::Never,
        on_split: fulcrum_config::OnSplit::Serve,
        proof: None,
        drain: Group::DRAIN,
        accept: true,
        tracks: Vec::new(),
    };
    let own = Node {
        addresses: vec!["10.0.0.1".parse().expect("an address")],
        kind: NodeKind::Fulcrum,
        priority: Priority::DEFAULT,
        weight: fulcrum_config::Weight::ONE,
        domain: None,
    };
    let networks = vec!["10.0.0.0/24".parse().expect("a network")];
    Config {
        node: node.clone(),
        nodes: BTreeMap::from([(node, own)]),
        interfaces: BTreeMap::from([(
            interface.clone(),
            Interface { name: interface, networks, virtual_mac: false },
        )]),
        groups: BTreeMap::from([(group.name.clone(), Arc::new(group))]),
        services: services.into_iter().map(|s| (s.name.clone(), Arc::new(s))).collect(),
        timing: Timing::default(),
        admin: Admin::default(),
        peer: fulcrum_config::PeerLink::default(),
        xdp: fulcrum_config::Xdp::Auto,
        flows: fulcrum_config::DEFAULT_FLOWS,
        witness: fulcrum_config::Witness::None,
        pools: BTreeMap::new(),
        kubernetes: BTreeMap::new(),
        hooks: BTreeMap::new(),
        allocations: Arc::default(),
        overrides: Arc::default(),
        sources: Arc::default(),
        shared: fulcrum_config::SharedDigest::default(),
    }
}

pub(crate) type Found = (&'static str, bool, Vec<(&'static str, Verdict, u8)>);

pub(crate) fn health<const N: usize>(services: [Found; N]) -> Observed {
    #[allow(clippy::disallowed_methods, reason = "any instant will do")]
    let since = Instant::now();
    let backend = |(name, verdict, share_percent): (&str, Verdict, u8)| {
        let address = self::backend(name).address;
        let health =
            BackendHealth { address, verdict, share_percent, reason: "as the test says".into(), since };
        (BackendName::new(name), health)
    };
    let services = services.into_iter().map(|(name, up, backends)| {
        (ServiceName::new(name), ServiceHealth { up, backends: backends.into_iter().map(backend).collect() })
    });
    Observed { services: services.collect(), ..Observed::default() }
}

/// The targets of `config`, each of whose last probes could not be made `times`.
pub(crate) fn cannot_check(
    config: &Config,
    times: u32,
) -> Arc<HashMap<fulcrum_config::Target, Arc<TargetHealth>>> {
    #[allow(clippy::disallowed_methods, reason = "any instant will do")]
    let since = Instant::now();
    let health = Arc::new(TargetHealth {
        verdict: Verdict::Up,
        reason: "passes its check".into(),
        since,
        probes: 1,
        failures: 0,
        last_duration: Duration::ZERO,
        not_made: times,
        not_made_reason: "/nowhere/check can't be started".into(),
    });
    let targets = config
        .services
        .values()
        .flat_map(|service| service.backends.iter().filter_map(|backend| service.target(backend)));
    Arc::new(targets.map(|target| (target, Arc::clone(&health))).collect())
}
