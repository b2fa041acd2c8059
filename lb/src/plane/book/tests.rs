use super::*;
use fulcrum_config::{Backend, BackendName, Balance, Check, CheckKind, GroupName, Mode, PortRange};

/// Nothing, or what another book had the kernel hold.
#[derive(Default)]
pub(in crate::plane) struct Kernel(pub(in crate::plane) Wanted);

impl Earlier for Kernel {
    fn service_at(&self, endpoint: &Endpoint) -> Option<u32> {
        self.0.endpoints.get(endpoint).copied()
    }
    fn service(&self, index: u32) -> Option<layout::Service> {
        self.0.services.get(&index).copied()
    }
    fn tables(&self, service: u32) -> Option<(Slots, Slots)> {
        self.0.tables.get(&service).map(|(current, previous)| (**current, **previous))
    }
    fn noted(&self, service: u32) -> BTreeSet<u32> {
        let is_its = |(_, backend): &(&u32, &WantedBackend)| backend.service == service;
        self.0.backends.iter().filter(is_its).map(|(index, _)| *index).collect()
    }
    fn backend(&self, index: u32) -> Option<BackendAddress> {
        let backend = self.0.backends.get(&index)?;
        Some(BackendAddress { ip: backend.ip, port: Some(backend.port).filter(|port| *port != 0) })
    }
}

pub(in crate::plane) fn address(number: u8) -> BackendAddress {
    BackendAddress { ip: [10, 1, 0, number].into(), port: Some(8080) }
}

pub(in crate::plane) fn service(name: &str, vip: &str, backends: &[(u8, BackendUse)]) -> Arc<ServiceDesired> {
    let states: Vec<BackendState> = backends
        .iter()
        .map(|(number, usage)| BackendState {
            backend: Arc::new(Backend::new(BackendName::new(&format!("b{number}")), address(*number))),
            usage: *usage,
            weight: 100,
        })
        .collect();
    let made = Service::new(ServiceName::new(name), GroupName::new("g"), vec![vip.parse().unwrap()], 80);
    let service = Service {
        mode: Mode::Nat,
        backends: states.iter().map(|state| Arc::clone(&state.backend)).collect(),
        ..made
    };
    let (service, sources) = (Arc::new(service), vec![]);
    Arc::new(ServiceDesired { service, up: true, protected: false, backends: states, sources })
}

pub(in crate::plane) fn changed(
    service: &ServiceDesired,
    change: impl FnOnce(&mut Service),
) -> Arc<ServiceDesired> {
    let mut changed = service.clone();
    change(Arc::make_mut(&mut changed.service));
    Arc::new(changed)
}

pub(in crate::plane) fn desired(services: &[Arc<ServiceDesired>]) -> Desired {
    let named = services.iter().map(|service| (service.service.name.clone(), Arc::clone(service)));
    Desired { services: named.collect(), ..Desired::default() }
}

#[allow(clippy::disallowed_methods, reason = "any moment will do")]
pub(in crate::plane) fn begun() -> Instant {
    Instant::now()
}

pub(in crate::plane) fn apply(book: &mut Book, services: &[Arc<ServiceDesired>], now: Instant) -> Wanted {
    let errors = book.apply(&desired(services), &Kernel::default(), now);
    assert!(errors.is_empty(), "{errors:?}");
    book.wanted()
}

/// The kernel was told all, and then noted flows of the first service were found to go to these backends.
pub(in crate::plane) fn sifted(book: &mut Book, backends: &[u32], now: Instant) -> bool {
    let freed = book.handle_told();
    let services = if backends.is_empty() { BTreeMap::new() } else { BTreeMap::from([(0, 1)]) };
    let changed = book.handle_flows(&services, &backends.iter().copied().collect(), now);
    book.freed_backends.extend(freed);
    changed
}

fn used(slots: &Slots) -> BTreeSet<u16> {
    slots.0.iter().copied().collect()
}

fn endpoint(text: &str) -> Endpoint {
    Endpoint::new(text.parse().unwrap(), Transport::Tcp)
}

pub(in crate::plane) const LIVE: BackendUse = BackendUse::Live;

#[test]
fn a_service_gets_its_addresses_backends_and_tables() {
    let mut book = Book::default();
    let service = service("web", "10.0.0.100", &[(1, LIVE), (2, LIVE)]);
    let wanted = apply(&mut book, std::slice::from_ref(&service), begun());
    assert_eq!(wanted.endpoints.get(&endpoint("10.0.0.100:80")), Some(&0));
    assert_eq!(wanted.endpoints.get(&endpoint("10.0.0.100:0")), Some(&NO_SERVICE));
    assert_eq!(wanted.backends.len(), 2);
    assert_eq!(wanted.replies.len(), 4, "each backend's port, and its address");
    let (current, previous) = &wanted.tables[&0];
    assert_eq!((used(current), current), (BTreeSet::from([1, 2]), previous));
    let ports = changed(&service, |service| service.ports = PortRange { first: 80, last: 89 });
    assert_eq!(apply(&mut book, &[ports], begun()).endpoints.len(), 11);
    let dsr = changed(&service, |service| service.mode = Mode::Dsr);
    let wanted = apply(&mut Book::default(), &[dsr], begun());
    assert!(wanted.replies.is_empty() && wanted.backends.values().all(|backend| backend.port == 0));
    assert_eq!(apply(&mut book, &[], begun()), Wanted::default());
}

#[test]
fn backends_that_have_a_check_and_the_vip_are_asked_for_it() {
    let web = service("web", "10.0.0.100", &[(1, LIVE), (2, LIVE)]);
    let check = Check {
        kind: CheckKind::Tcp,
        port: None,
        interval: Duration::from_secs(1),
        fast_interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        rise: 1,
        fall: 1,
        jitter_percent: 0,
    };
    let checked = changed(&web, |service| service.check = Some(Arc::new(check)));
    let dsr = changed(&checked, |service| service.mode = Mode::Dsr);
    let unchecked = changed(&web, |service| service.mode = Mode::Dsr);
    for other in [&web, &checked, &unchecked] {
        assert!(apply(&mut Book::default(), std::slice::from_ref(other), begun()).checked.is_empty());
    }
    let wanted = apply(&mut Book::default(), &[dsr], begun());
    let vip: IpAddr = [10, 0, 0, 100].into();
    assert_eq!(wanted.checked, BTreeSet::from([(address(1).ip, vip), (address(2).ip, vip)]));
}

#[test]
fn limits_and_class_reach_the_kernel() {
    let web = service("web", "10.0.0.100", &[(1, LIVE)]);
    let mut book = Book::default();
    let told = |wanted: &Wanted| (wanted.services[&0], wanted.limits[&0]);
    let plain = layout::Service::new(ServiceMode::Nat, false, false);
    assert_eq!(told(&apply(&mut book, std::slice::from_ref(&web), begun())), (plain, Limit::default()));
    let rate = Rate { per_second: 100, burst: 7 };
    let mut limited = changed(&web, |service| service.limits.rate_per_client = Some(rate));
    Arc::make_mut(&mut limited).protected = true;
    let wanted = apply(&mut book, &[Arc::clone(&limited)], begun());
    let limit = Limit::new(Pace::NONE, Pace::new(100, 7));
    assert_eq!(told(&wanted), (plain.of_class(Class::Protected), limit));
    let udp = changed(&limited, |service| service.protocol = Protocol::Udp);
    assert_eq!(apply(&mut book, &[udp], begun()).limits[&0], Limit::default());
}

#[test]
fn two_books_choose_alike_whatever_came_before() {
    let mut one = Book::default();
    let mut other = Book::default();
    let web = service("web", "10.0.0.100", &[(1, LIVE), (2, LIVE), (3, LIVE)]);
    apply(&mut other, &[service("first", "10.0.0.99", &[(9, LIVE)])], begun());
    let one = apply(&mut one, std::slice::from_ref(&web), begun());
    let other = apply(&mut other, &[service("first", "10.0.0.99", &[(9, LIVE)]), web], begun());
    let chosen = |wanted: &Wanted| -> Vec<IpAddr> {
        let index = wanted.endpoints[&endpoint("10.0.0.100:80")];
        let (current, _) = &wanted.tables[&index];
        current.0.iter().map(|backend| wanted.backends[&u32::from(*backend)].ip).collect()
    };
    assert_ne!(one.endpoints, other.endpoints, "the indexes differ");
    assert_eq!(chosen(&one), chosen(&other));
}

#[test]
fn a_backend_that_goes_down_leaves_the_new_table_and_stays_in_the_old_one() {
    let mut book = Book::default();
    let start = begun();
    apply(&mut book, &[service("web", "10.0.0.100", &[(1, LIVE), (2, LIVE)])], start);
    let down = service("web", "10.0.0.100", &[(1, BackendUse::Down), (2, LIVE)]);
    let wanted = apply(&mut book, std::slice::from_ref(&down), start);
    let (current, previous) = &wanted.tables[&0];
    assert_eq!((used(current), used(previous)), (BTreeSet::from([2]), BTreeSet::from([1, 2])));
    assert!(!wanted.backends[&1].up && wanted.backends[&2].up);
    assert_eq!(wanted.services[&0], layout::Service::new(ServiceMode::Nat, false, true));
    // Who only drains keeps what it has; so does one whose service says that its connections go on.
    let draining = service("web", "10.0.0.100", &[(1, BackendUse::Draining), (2, LIVE)]);
    let wanted = apply(&mut book, &[draining], start);
    assert!(wanted.backends[&1].up && used(&wanted.tables[&0].0) == BTreeSet::from([2]));
    let kept = changed(&down, |service| service.on_down = OnDown::Drain);
    assert!(apply(&mut book, std::slice::from_ref(&kept), start).backends[&1].up);
    // But not what an operator has put out of use.
    let mut out_of_use = (*kept).clone();
    Arc::make_mut(&mut out_of_use.backends[0].backend).disabled = true;
    assert!(!apply(&mut book, &[Arc::new(out_of_use)], start).backends[&1].up);
}

#[test]
fn a_service_without_enough_backends_takes_no_new_flows_but_keeps_those_it_has() {
    let mut book = Book::default();
    let up = service("web", "10.0.0.100", &[(1, LIVE), (2, LIVE)]);
    apply(&mut book, std::slice::from_ref(&up), begun());
    let down = Arc::new(ServiceDesired { up: false, ..(*up).clone() });
    let wanted = apply(&mut book, &[down], begun());
    let (current, previous) = &wanted.tables[&0];
    assert_eq!((used(current), used(previous)), (BTreeSet::from([0]), BTreeSet::from([1, 2])));
}

#[test]
fn a_backend_that_is_removed_keeps_its_place_as_long_as_flows_may_point_there() {
    let mut book = Book::default();
    let start = begun();
    apply(&mut book, &[service("web", "10.0.0.100", &[(1, LIVE), (2, LIVE)])], start);
    let wanted = apply(&mut book, &[service("web", "10.0.0.100", &[(2, LIVE), (3, LIVE)])], start);
    assert!(wanted.backends[&1].up && wanted.backends.len() == 3);
    assert!(book.freed_backends.is_empty());
    assert!(!book.handle_timeout(start + TCP_HOLD - Duration::from_secs(1)));
    sifted(&mut book, &[], begun());
    assert!(book.freed_backends.is_empty(), "flows that are not noted go by the older table");
    assert!(book.handle_timeout(start + TCP_HOLD));
    sifted(&mut book, &[1], begun());
    assert!(book.freed_backends.is_empty(), "one of its flows lives");
    assert!(sifted(&mut book, &[], begun()));
    assert_eq!(book.freed_backends, BTreeSet::from([1]));
    assert_eq!(book.wanted().backends.keys().copied().collect::<Vec<_>>(), [2, 3]);
    // Not given to others before the kernel has forgotten the flows.
    let wanted = apply(&mut book, &[service("web", "10.0.0.100", &[(2, LIVE), (3, LIVE), (4, LIVE)])], start);
    assert!(wanted.backends.contains_key(&4) && !wanted.backends.contains_key(&1));
    book.freed_backends.clear();
    let backends = [(2, LIVE), (3, LIVE), (4, LIVE), (5, LIVE)];
    let wanted = apply(&mut book, &[service("web", "10.0.0.100", &backends)], start);
    assert_eq!(wanted.backends[&1].ip, address(5).ip);
}

#[test]
fn a_backend_that_came_and_was_removed_within_the_hour_keeps_the_flows_that_it_got() {
    let mut book = Book::default();
    let two = service("web", "10.0.0.100", &[(1, LIVE), (2, LIVE)]);
    apply(&mut book, std::slice::from_ref(&two), begun());
    apply(&mut book, &[service("web", "10.0.0.100", &[(1, LIVE), (2, LIVE), (3, LIVE)])], begun());
    sifted(&mut book, &[3], begun());
    let wanted = apply(&mut book, &[two], begun());
    assert_eq!(wanted.tables[&0].0, wanted.tables[&0].1);
    book.handle_flows(&BTreeMap::new(), &BTreeSet::new(), begun());
    assert!(book.freed_backends.is_empty(), "the kernel was not told: it may get more");
    sifted(&mut book, &[3], begun());
    assert!(book.freed_backends.is_empty() && book.wanted().backends[&3].up);
    assert!(sifted(&mut book, &[1], begun()));
    assert_eq!(book.freed_backends, BTreeSet::from([3]));
    assert!(!book.wanted().backends.contains_key(&3));
}

#[test]
fn a_backend_that_is_removed_keeps_no_datagrams_for_ever() {
    let mut book = Book::default();
    let start = begun();
    let udp = |backends: &[(u8, BackendUse)]| {
        changed(&service("dns", "10.0.0.100", backends), |service| service.protocol = Protocol::Udp)
    };
    apply(&mut book, &[udp(&[(1, LIVE), (2, LIVE)])], start);
    apply(&mut book, &[udp(&[(1, LIVE)])], start);
    let later = start + UDP_HOLD / 2;
    apply(&mut book, &[udp(&[(1, LIVE), (2, LIVE)])], later);
    apply(&mut book, &[udp(&[(1, LIVE)])], later);
    book.handle_timeout(later + UDP_HOLD);
    sifted(&mut book, &[2], later + UDP_HOLD - Duration::from_secs(1));
    assert!(book.freed_backends.is_empty(), "it was removed then");
    assert!(sifted(&mut book, &[2], later + UDP_HOLD));
    assert_eq!(book.freed_backends, BTreeSet::from([2]));
}

#[test]
fn flows_are_looked_for_while_there_may_be_some() {
    let mut book = Book::default();
    let start = begun();
    apply(&mut book, &[service("web", "10.0.0.100", &[(1, LIVE)])], start);
    assert!(!sifted(&mut book, &[], begun()));
    apply(&mut book, &[service("web", "10.0.0.100", &[(1, LIVE), (2, LIVE)])], start);
    assert!(!sifted(&mut book, &[], begun()), "the tables differ");
    book.handle_timeout(start + TCP_HOLD);
    assert!(!sifted(&mut book, &[1], begun()), "there are some");
    assert!(sifted(&mut book, &[], begun()));
    assert_eq!(book.wanted().services[&0], layout::Service::new(ServiceMode::Nat, false, false));
}

#[test]
fn the_next_life_finds_the_indexes_again() {
    let mut book = Book::default();
    let start = begun();
    let first = service("first", "10.0.0.99", &[(9, LIVE)]);
    apply(&mut book, &[first, service("web", "10.0.0.100", &[(1, LIVE), (2, LIVE)])], start);
    let web = service("web", "10.0.0.100", &[(1, BackendUse::Down), (2, LIVE)]);
    let before = apply(&mut book, std::slice::from_ref(&web), start);
    let kernel = Kernel(before);
    let mut next = Book::default();
    assert!(next.apply(&desired(std::slice::from_ref(&web)), &kernel, start).is_empty());
    assert_eq!(next.wanted(), kernel.0);
    // What changed while nobody looked is a change like any other.
    let mut next = Book::default();
    let more = service("web", "10.0.0.100", &[(1, LIVE), (2, LIVE), (3, LIVE)]);
    assert!(next.apply(&desired(&[more]), &kernel, start).is_empty());
    let wanted = next.wanted();
    assert_eq!(wanted.tables[&1].1, kernel.0.tables[&1].1);
    assert_eq!(wanted.backends.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
}

/// What the next life has the kernel hold.
fn next_life(services: &[Arc<ServiceDesired>], kernel: &Kernel) -> Wanted {
    let mut next = Book::default();
    assert!(next.apply(&desired(services), kernel, begun()).is_empty());
    next.wanted()
}

#[test]
fn the_next_life_gives_nobody_an_index_that_another_service_has_in_the_kernel() {
    let a = service("a", "10.0.0.100", &[(1, LIVE), (2, LIVE)]);
    let b = service("b", "10.0.0.101", &[(5, LIVE), (6, LIVE)]);
    let kernel = Kernel(apply(&mut Book::default(), &[a, Arc::clone(&b)], begun()));
    let more = service("a", "10.0.0.100", &[(1, LIVE), (2, LIVE), (3, LIVE)]);
    let wanted = next_life(&[more, b], &kernel);
    assert_eq!(wanted.backends.len(), 5);
    assert_eq!(wanted.tables[&1], kernel.0.tables[&1]);
    assert!([3, 4].iter().all(|index| wanted.backends[index] == kernel.0.backends[index]));
    let of_a = |index: u16| wanted.backends[&index.into()].service == 0;
    assert!(used(&wanted.tables[&0].0).into_iter().all(of_a));
}

#[test]
fn the_next_life_finds_the_indexes_again_whatever_service_comes_first_by_name() {
    let b = service("b", "10.0.0.101", &[(1, LIVE), (2, LIVE)]);
    let c = service("c", "10.0.0.102", &[(5, LIVE), (6, LIVE)]);
    let kernel = Kernel(apply(&mut Book::default(), &[Arc::clone(&b), Arc::clone(&c)], begun()));
    let wanted = next_life(&[service("a", "10.0.0.100", &[(9, LIVE)]), b, c], &kernel);
    assert!(kernel.0.endpoints.iter().all(|(endpoint, index)| wanted.endpoints[endpoint] == *index));
    assert!(kernel.0.tables.iter().all(|(index, tables)| wanted.tables[index] == *tables));
    assert!(kernel.0.backends.iter().all(|(index, backend)| wanted.backends[index] == *backend));
}

#[test]
fn what_the_kernel_holds_for_two_services_the_next_life_gives_to_one() {
    let a = service("a", "10.0.0.100", &[(1, LIVE), (2, LIVE)]);
    let b = service("b", "10.0.0.101", &[(5, LIVE), (6, LIVE)]);
    let mut kernel = Kernel(apply(&mut Book::default(), &[Arc::clone(&a), Arc::clone(&b)], begun()));
    kernel.0.tables.insert(1, kernel.0.tables[&0].clone());
    let wanted = next_life(&[a, b], &kernel);
    assert_eq!(wanted.backends, kernel.0.backends);
    assert_eq!(used(&wanted.tables[&1].0), BTreeSet::from([3, 4]));
}

#[test]
fn a_service_that_gets_another_name_keeps_its_indexes_and_its_flows() {
    let mut book = Book::default();
    apply(&mut book, &[service("web", "10.0.0.100", &[(1, LIVE), (2, LIVE), (3, LIVE)])], begun());
    let before = apply(&mut book, &[service("web", "10.0.0.100", &[(1, LIVE), (2, LIVE)])], begun());
    let www = service("www", "10.0.0.100", &[(1, LIVE), (2, LIVE)]);
    let errors = book.apply(&desired(&[www]), &Kernel(book.wanted()), begun());
    assert!(errors.is_empty() && book.freed_backends.is_empty());
    assert_eq!(book.wanted(), before);
    // Also if it was gone for a while in which the kernel was not told.
    assert!(book.apply(&desired(&[]), &Kernel::default(), begun()).is_empty());
    assert_eq!(book.freed_backends, BTreeSet::from([1, 2, 3]));
    let web = service("web", "10.0.0.100", &[(1, LIVE), (2, LIVE)]);
    let kernel = Kernel(before);
    assert!(book.apply(&desired(&[web]), &kernel, begun()).is_empty());
    assert!(book.freed_backends.is_empty() && book.wanted() == kernel.0);
}

#[test]
fn where_the_mode_of_an_earlier_life_is_not_known_it_was_the_same() {
    let web = service("web", "10.0.0.100", &[(1, LIVE), (2, LIVE)]);
    let mut kernel = Kernel(apply(&mut Book::default(), std::slice::from_ref(&web), begun()));
    // Tables of services that are laid out differently are not read.
    let off = layout::Service::new(ServiceMode::Off, false, false);
    for known in [None, Some(off)] {
        kernel.0.services = known.map(|service| (0, service)).into_iter().collect();
        let mut next = Book::default();
        assert!(next.apply(&desired(std::slice::from_ref(&web)), &kernel, begun()).is_empty());
        assert!(next.freed_backends.is_empty() && next.wanted().backends == kernel.0.backends);
    }
}

#[test]
fn flows_of_another_mode_are_forgotten_and_their_indexes_not_taken_before() {
    let nat = service("web", "10.0.0.100", &[(1, LIVE), (2, LIVE)]);
    for mode in [Mode::Fullnat, Mode::Dsr] {
        let mut book = Book::default();
        let kernel = Kernel(apply(&mut book, std::slice::from_ref(&nat), begun()));
        let other = desired(&[changed(&nat, |service| service.mode = mode)]);
        for mut book in [book, Book::default()] {
            assert!(book.apply(&other, &kernel, begun()).is_empty());
            assert_eq!(book.freed_backends, BTreeSet::from([1, 2]));
            let wanted = book.wanted();
            assert!(wanted.backends.keys().all(|index| !book.freed_backends.contains(index)));
            assert_eq!(wanted.tables[&0].0, wanted.tables[&0].1);
        }
    }
}

/// With so many backends, each at the port that clients connect to.
fn many(name: &str, vip: &str, count: u16) -> Arc<ServiceDesired> {
    let mut service = (*service(name, vip, &[])).clone();
    service.backends = (0..count)
        .map(|number| {
            let ip = IpAddr::from((u32::from_be_bytes([10, 2, 0, 0]) | u32::from(number)).to_be_bytes());
            let address = BackendAddress { ip, port: None };
            let backend = Arc::new(Backend::new(BackendName::new(&format!("b{number}")), address));
            BackendState { backend, usage: LIVE, weight: 100 }
        })
        .collect();
    Arc::new(service)
}

#[test]
fn there_is_room_for_so_many_and_no_more() {
    let mut book = Book::default();
    let services = [many("a", "10.0.0.1", 8000), many("b", "10.0.0.2", 192)];
    let errors = book.apply(&desired(&services), &Kernel::default(), begun());
    assert!(errors.keys().map(ServiceName::as_str).eq(["b"]), "{errors:?}");
    assert_eq!(book.wanted().services.len(), 1);
    book.freed_backends.clear();
    let services = [many("a", "10.0.0.1", 8000), many("b", "10.0.0.2", 191)];
    assert!(book.apply(&desired(&services), &Kernel::default(), begun()).is_empty());
}

#[test]
fn a_service_with_too_many_ports_is_refused_alone() {
    let of_ports = |service: &ServiceDesired, last| {
        changed(service, |service| service.ports = PortRange { first: 1, last })
    };
    let web = service("web", "10.0.0.2", &[(1, LIVE)]);
    let ports = endpoint("10.0.0.2:80");
    // Each port of each backend has its place, and so has each backend.
    let backends = of_ports(&many("big", "10.0.0.1", 65), 1024);
    let big = many("big", "10.0.0.1", 1);
    let vips: Vec<IpAddr> = (0..64).map(|number| [10, 3, 0, number].into()).collect();
    let addresses = changed(&of_ports(&big, 1024), |service| service.vips = vips);
    for big in [backends, addresses] {
        let mut book = Book::default();
        let errors = book.apply(&desired(&[big, Arc::clone(&web)]), &Kernel::default(), begun());
        assert!(errors.keys().map(ServiceName::as_str).eq(["big"]), "{errors:?}");
        let wanted = book.wanted();
        assert!(wanted.endpoints.contains_key(&ports) && wanted.endpoints.len() == 2);
    }
    let fits = of_ports(&many("big", "10.0.0.1", 63), 1024);
    assert!(Book::default().apply(&desired(&[fits, web]), &Kernel::default(), begun()).is_empty());
}

#[test]
fn by_source_only_the_client_counts() {
    let service = service("web", "10.0.0.100", &[(1, LIVE)]);
    let by_source = changed(&service, |service| service.balance = Balance::Source);
    let wanted = apply(&mut Book::default(), &[by_source], begun());
    assert_eq!(wanted.services[&0], layout::Service::new(ServiceMode::Nat, true, false));
}

#[test]
fn if_every_backend_is_down_flows_stay_and_new_ones_are_refused() {
    let mut book = Book::default();
    let start = begun();
    apply(&mut book, &[service("web", "10.0.0.100", &[(1, LIVE), (2, LIVE)])], start);
    let all = service("web", "10.0.0.100", &[(1, BackendUse::Down), (2, BackendUse::Down)]);
    let wanted = apply(&mut book, &[all], start);
    let (current, previous) = &wanted.tables[&0];
    assert_eq!((used(current), used(previous)), (BTreeSet::from([0]), BTreeSet::from([1, 2])));
    assert!(wanted.backends.values().all(|backend| backend.up));
    // One that is back takes over from those that are not.
    let one = service("web", "10.0.0.100", &[(1, BackendUse::Down), (2, LIVE)]);
    let wanted = apply(&mut book, &[one], start);
    assert!(!wanted.backends[&1].up && wanted.backends[&2].up);
}

fn in_turn(name: &str, backends: &[(u8, BackendUse)], balance: Balance) -> Arc<ServiceDesired> {
    changed(&service(name, "10.0.0.100", backends), |service| service.balance = balance)
}

/// How many of the first new flows each backend gets, by the last number of its address.
fn given(wanted: &Wanted, first: usize) -> BTreeMap<u8, usize> {
    let mut given: BTreeMap<u8, usize> = BTreeMap::new();
    for backend in wanted.schedules[&0].0.iter().take(first) {
        let IpAddr::V4(ip) = wanted.backends[&u32::from(*backend)].ip else { panic!("IPv4") };
        let count = given.entry(ip.octets()[3]).or_default();
        *count = count.saturating_add(1);
    }
    given
}

#[test]
fn round_robin_is_a_schedule_of_those_that_take_new_flows() {
    let mut book = Book::default();
    let mut web = in_turn("web", &[(1, LIVE), (2, LIVE), (3, LIVE)], Balance::RoundRobin);
    Arc::make_mut(&mut web).backends[1].weight = 200;
    let wanted = apply(&mut book, std::slice::from_ref(&web), begun());
    assert_eq!(wanted.services[&0], layout::Service::new(ServiceMode::Nat, false, true).in_turn());
    assert_eq!(given(&wanted, 400), BTreeMap::from([(1, 100), (2, 200), (3, 100)]));
    assert_eq!(used(&wanted.tables[&0].0).len(), 3, "what nobody knows goes by hash");
    assert!(!book.counts_flows() && book.reschedule(&Live::default()).is_empty());
    // Who drains, or is down, gets none; who comes gets its share.
    let states = [(1, BackendUse::Draining), (2, LIVE), (3, BackendUse::Down), (4, LIVE)];
    let wanted = apply(&mut book, &[in_turn("web", &states, Balance::RoundRobin)], begun());
    assert_eq!(given(&wanted, 400), BTreeMap::from([(2, 200), (4, 200)]));
    let mut down = in_turn("web", &states, Balance::RoundRobin);
    Arc::make_mut(&mut down).up = false;
    assert_eq!(apply(&mut book, &[down], begun()).schedules[&0].0, [0; SLOTS]);
}

#[test]
fn least_connections_is_a_schedule_that_follows_what_is_live() {
    let mut book = Book::default();
    let web = in_turn("web", &[(1, LIVE), (2, LIVE)], Balance::LeastConnections);
    let wanted = apply(&mut book, std::slice::from_ref(&web), begun());
    assert_eq!(given(&wanted, 100), BTreeMap::from([(1, 50), (2, 50)]));
    assert!(book.counts_flows());
    let mut live = Live::default();
    live.handle_count(&BTreeMap::from([(1, 30)]));
    let made = book.reschedule(&live);
    assert_eq!(made.len(), 1);
    assert!(book.reschedule(&live).is_empty(), "nothing else is live");
    let wanted = book.wanted();
    assert!(Arc::ptr_eq(&wanted.schedules[&0], &made[0].1));
    assert_eq!(given(&wanted, 30), BTreeMap::from([(2, 30)]));
    assert_eq!(given(&wanted, 130), BTreeMap::from([(1, 50), (2, 80)]));
    // Something else of the service changes: the same schedule stays.
    let ports = changed(&web, |service| service.ports = PortRange { first: 80, last: 81 });
    let same = apply(&mut book, &[ports], begun());
    assert!(Arc::ptr_eq(&same.schedules[&0], &made[0].1));
    let added = in_turn("web", &[(1, LIVE), (2, LIVE), (3, LIVE)], Balance::LeastConnections);
    apply(&mut book, &[added], begun());
    assert_eq!(book.reschedule(&live).len(), 1);
    assert_eq!(given(&book.wanted(), 60), BTreeMap::from([(2, 30), (3, 30)]));
}

#[test]
fn flows_that_were_given_in_turn_are_looked_for_also_when_others_no_more_are() {
    let mut book = Book::default();
    apply(&mut book, &[in_turn("web", &[(1, LIVE), (2, LIVE)], Balance::LeastConnections)], begun());
    let by_hash = in_turn("web", &[(1, LIVE), (2, LIVE)], Balance::Maglev);
    let wanted = apply(&mut book, &[by_hash], begun());
    assert_eq!(wanted.services[&0], layout::Service::new(ServiceMode::Nat, false, true));
    assert!(wanted.schedules.is_empty());
    assert!(!sifted(&mut book, &[1], begun()), "as long as there are some");
    assert!(sifted(&mut book, &[], begun()));
    assert_eq!(book.wanted().services[&0], layout::Service::new(ServiceMode::Nat, false, false));
}

#[test]
fn a_new_life_finds_a_backend_that_drains_by_its_flows() {
    let mut book = Book::default();
    let states = |second| in_turn("web", &[(1, LIVE), (2, second), (3, LIVE)], Balance::RoundRobin);
    apply(&mut book, &[states(LIVE)], begun());
    apply(&mut book, &[states(BackendUse::Draining)], begun());
    book.handle_timeout(begun() + TCP_HOLD);
    let first = in_turn("web", &[(2, BackendUse::Draining), (1, LIVE), (3, LIVE)], Balance::RoundRobin);
    let before = apply(&mut book, std::slice::from_ref(&first), begun());
    assert!(!used(&before.tables[&0].0).contains(&2) && before.tables[&0].0 == before.tables[&0].1);
    // Another takes the first index that it finds free.
    let fourth =
        in_turn("web", &[(4, LIVE), (2, BackendUse::Draining), (1, LIVE), (3, LIVE)], Balance::RoundRobin);
    let mut again = Book::default();
    assert!(again.apply(&desired(&[fourth]), &Kernel(before), begun()).is_empty());
    let wanted = again.wanted();
    let of = |index: u32| wanted.backends[&index].ip;
    assert_eq!([1, 2, 3, 4].map(of), [1, 2, 3, 4].map(|number| address(number).ip));
}
