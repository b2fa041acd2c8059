use super::*;
use fulcrum_config::{Backend, Balance, GroupName, PortRange};
use std::net::Ipv4Addr;

fn service(name: &str, backends: u8) -> Service {
    let backend = |number: u8| {
        let address = BackendAddress { ip: [10, 1, 0, number].into(), port: Some(80) };
        Backend::new(BackendName::new(&format!("b{number}")), address)
    };
    let vips = vec!["10.0.0.100".parse().unwrap(), "2001:db8::100".parse().unwrap()];
    Service {
        ports: PortRange { first: 80, last: 81 },
        balance: Balance::RoundRobin,
        backends: (1..=backends).map(backend).map(Arc::new).collect(),
        ..Service::new(ServiceName::new(name), GroupName::new("group"), vips, 80)
    }
}

fn desired(service: Service) -> ServiceDesired {
    let live = |backend: &Arc<Backend>| BackendState {
        backend: Arc::clone(backend),
        usage: BackendUse::Live,
        weight: 100,
    };
    ServiceDesired {
        up: true,
        protected: false,
        backends: service.backends.iter().map(live).collect(),
        service: Arc::new(service),
        sources: vec![],
    }
}

#[allow(clippy::disallowed_methods)] // Any moment will do.
fn tables() -> Tables {
    Tables::new(Seed::default(), 2, Instant::now())
}

fn table(services: &[ServiceDesired]) -> Desired {
    let services = services.iter().map(|one| (one.service.name.clone(), Arc::new(one.clone())));
    Desired { services: services.collect(), ..Desired::default() }
}

fn flow() -> Flow {
    Flow {
        client: "192.0.2.1:1000".parse().unwrap(),
        service: "10.0.0.100:80".parse().unwrap(),
        protocol: Protocol::Tcp,
    }
}

/// Each change as (service, listeners, condemned).
fn made(changes: &[Change]) -> Vec<(&str, bool, bool)> {
    changes
        .iter()
        .map(|change| match change {
            Change::Made { cell, listeners, condemned } => (cell.name.as_str(), *listeners, *condemned),
            Change::Removed(cell) => panic!("{} was removed", cell.name),
        })
        .collect()
}

#[test]
fn only_what_changed_is_changed() {
    let mut tables = tables();
    let first = table(&[desired(service("a", 2)), desired(service("b", 2))]);
    assert_eq!(made(&tables.apply(&first)), [("a", true, false), ("b", true, false)]);
    assert!(tables.apply(&first).is_empty());
    // Equal, but made anew: no change either.
    assert!(tables.apply(&table(&[desired(service("a", 2)), desired(service("b", 2))])).is_empty());

    let b = Arc::clone(&tables.services[&ServiceName::new("b")]);
    let before = Arc::clone(&b.table());
    let second = table(&[desired(service("a", 3)), desired(service("b", 2))]);
    assert_eq!(made(&tables.apply(&second)), [("a", false, false)]);
    assert!(Arc::ptr_eq(&before, &b.table()), "an unchanged service keeps its snapshot");
}

#[test]
fn a_backend_that_stays_keeps_its_cell() {
    let mut tables = tables();
    tables.apply(&table(&[desired(service("a", 2))]));
    let cell = Arc::clone(&tables.services[&ServiceName::new("a")]);
    let before = Arc::clone(&cell.table().backends[1]);
    tables.apply(&table(&[desired(service("a", 3))]));
    assert!(Arc::ptr_eq(&before, &cell.table().backends[1]));

    let mut moved = service("a", 3);
    let backend = Arc::make_mut(&mut moved.backends[1]);
    backend.address.ip = "10.9.9.9".parse().unwrap();
    tables.apply(&table(&[desired(moved)]));
    assert!(!Arc::ptr_eq(&before, &cell.table().backends[1]), "another address is another backend");
}

#[test]
fn a_service_without_a_live_backend_cannot_serve() {
    let mut tables = tables();
    let mut down = desired(service("a", 2));
    for backend in &mut down.backends {
        backend.usage = BackendUse::Down;
    }
    assert_eq!(made(&tables.apply(&table(std::slice::from_ref(&down)))), [("a", true, false)]);
    let cell = Arc::clone(&tables.services[&ServiceName::new("a")]);
    assert!(!cell.table().can_serve());
    assert!(cell.choose(&cell.table(), &flow(), &[]).is_none());

    let mut refused = desired(service("a", 2));
    refused.up = false;
    tables.apply(&table(&[refused]));
    assert!(!cell.table().can_serve(), "below its quorum");
    assert!(cell.choose(&cell.table(), &flow(), &[]).is_none());

    assert_eq!(made(&tables.apply(&table(&[desired(service("a", 2))]))), [("a", true, false)]);
    assert!(cell.table().can_serve());
}

#[test]
fn connections_of_a_dead_backend_are_condemned_until_it_is_well() {
    let mut tables = tables();
    let well = desired(service("a", 2));
    tables.apply(&table(std::slice::from_ref(&well)));
    let cell = Arc::clone(&tables.services[&ServiceName::new("a")]);
    let backend = Arc::clone(&cell.table().backends[0]);
    let mut ill = well.clone();
    ill.backends[0].usage = BackendUse::Down;
    assert_eq!(made(&tables.apply(&table(std::slice::from_ref(&ill)))), [("a", false, true)]);
    assert!(backend.is_condemned());
    ill.backends[1].usage = BackendUse::Draining;
    assert_eq!(made(&tables.apply(&table(&[ill]))), [("a", true, false)], "once is enough");
    tables.apply(&table(&[well]));
    assert!(!backend.is_condemned());
}

#[test]
fn draining_and_removed_backends_keep_their_connections() {
    let mut tables = tables();
    let mut lenient = service("a", 2);
    lenient.on_down = OnDown::Drain;
    let mut ill = desired(lenient);
    tables.apply(&table(std::slice::from_ref(&ill)));
    let cell = Arc::clone(&tables.services[&ServiceName::new("a")]);
    let backends = cell.table().backends.clone();
    ill.backends[0].usage = BackendUse::Down;
    assert_eq!(made(&tables.apply(&table(&[ill]))), [("a", false, false)]);
    tables.apply(&table(&[desired(service("a", 1))]));
    let removed = tables.apply(&table(&[]));
    assert!(matches!(removed.as_slice(), [Change::Removed(cell)] if cell.name.as_str() == "a"));
    assert!(backends.iter().all(|backend| !backend.is_condemned()));
}

#[test]
fn a_second_try_is_another_backend_and_takes_no_turn() {
    let mut tables = tables();
    tables.apply(&table(&[desired(service("a", 2))]));
    let cell = Arc::clone(&tables.services[&ServiceName::new("a")]);
    let table = cell.table();
    let name =
        |tried: &[Arc<BackendCell>]| cell.choose(&table, &flow(), tried).map(|found| found.name.clone());
    assert_eq!(name(&[]), Some(BackendName::new("b1")));
    assert_eq!(name(&[Arc::clone(&table.backends[0])]), Some(BackendName::new("b2")));
    assert_eq!(name(&[]), Some(BackendName::new("b2")));
    assert_eq!(name(&table.backends), None);
}

#[test]
fn every_address_and_port_is_listed() {
    let mut tables = tables();
    tables.apply(&table(&[desired(service("a", 1))]));
    let addresses: Vec<String> = tables.services[&ServiceName::new("a")]
        .table()
        .addresses()
        .map(|address| address.to_string())
        .collect();
    assert_eq!(addresses, ["10.0.0.100:80", "10.0.0.100:81", "[2001:db8::100]:80", "[2001:db8::100]:81"]);
}

#[test]
fn what_is_told_follows_the_counters_and_the_backends() {
    let mut tables = tables();
    tables.apply(&table(&[desired(service("a", 2))]));
    let cell = Arc::clone(&tables.services[&ServiceName::new("a")]);
    let mut told = cell.observed(Vec::new());
    assert!(!cell.update(&mut told, &[]), "nothing happened");
    cell.counters[1].accepted.add(3);
    cell.table().backends[0].counters[0].connected.add(2);
    assert!(cell.update(&mut told, &["why".to_owned()]));
    assert_eq!(told, cell.observed(vec!["why".to_owned()]));
    assert_eq!(told.stats.accepted, 3);
    tables.apply(&table(&[desired(service("a", 1))]));
    assert!(cell.update(&mut told, &[]));
    assert_eq!(told, cell.observed(Vec::new()));
    assert_eq!(told.backends.len(), 1);
}

#[test]
#[allow(clippy::disallowed_methods)] // Any moment will do.
fn a_full_table_of_clients_is_told() {
    let mut limited = service("a", 1);
    limited.limits.connections_per_client = Some(1);
    let mut tables = tables();
    tables.apply(&table(&[desired(limited)]));
    let cell = Arc::clone(&tables.services[&ServiceName::new("a")]);
    let mut told = cell.observed(Vec::new());
    let limiter = cell.table().limiter.clone().unwrap();
    let now = Instant::now();
    let permits = (0..u32::MAX).map(|client| limiter.admit(Ipv4Addr::from_bits(client).into(), now));
    let kept: Vec<_> = permits.take_while(|_| limiter.table_full() == 0).collect();
    assert!(cell.update(&mut told, &[]));
    assert_eq!(told.stats.client_table_full, 1);
    assert_eq!(told, cell.observed(Vec::new()));
    assert!(!cell.update(&mut told, &[]));
    drop(kept);
}
