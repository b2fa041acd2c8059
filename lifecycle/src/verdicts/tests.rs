//! Each test looks at what a node sees, one step after another.
#![allow(clippy::arithmetic_side_effects, reason = "a wrong time fails the test")]

use super::*;
use crate::fixture::{backend, config, health, service};
use fulcrum_config::{BackendAddress, BackendName, Mode, Priority};
use fulcrum_health::Verdict as Checked;
use fulcrum_peer::{Judged, PeerCounters, PeerObserved, Usage};
use fulcrum_vip_manager::{GroupObserved, PeerSeen, Reason};

const SECOND: Duration = Duration::from_secs(1);

/// What a node sees, as the test says.
struct World {
    config: Config,
    health: fulcrum_health::Observed,
    vip: fulcrum_vip_manager::Observed,
    lb: fulcrum_lb::Observed,
    peer: fulcrum_peer::Observed,
    verdicts: Verdicts,
    now: Instant,
}

fn main() -> GroupName {
    GroupName::new("main")
}

fn web() -> ServiceName {
    ServiceName::new("web")
}

fn lb2() -> NodeName {
    NodeName::new("lb2")
}

fn tables(current: u64, previous: u64) -> Arc<ServiceTables> {
    Arc::new(ServiceTables { current, previous, older: None })
}

fn verdict(usage: Usage) -> Arc<Verdict> {
    let judged = Judged { usage, weight: 70 };
    Arc::new(Verdict { up: true, backends: BTreeMap::from([(backend("a").address, judged)]) })
}

fn serving(usage: Usage, tables: &Arc<ServiceTables>) -> Serving {
    Serving { verdict: Some(verdict(usage)), tables: Some(Arc::clone(tables)) }
}

impl World {
    /// Node lb1 of two, with a forwarded service and one that is proxied; lb2 leads and says so.
    fn new() -> Self {
        #[allow(clippy::disallowed_methods, reason = "any instant will do")]
        let now = Instant::now();
        let forwarded = Service { mode: Mode::Nat, ..service("web", [backend("a")]) };
        let mut config = config([forwarded, service("api", [backend("a")])]);
        let mut group = (*config.groups[&main()]).clone();
        group.priorities.insert(lb2(), Priority::DEFAULT);
        group.preempt = Preempt::After(SECOND);
        config.groups.insert(main(), Arc::new(group));
        for node in [config.node.clone(), lb2()] {
            config.peer.pins.insert(node, Vec::new());
        }
        let mut world = Self {
            config,
            health: health([("web", true, vec![("a", Checked::Up, 100)])]),
            vip: fulcrum_vip_manager::Observed::default(),
            lb: fulcrum_lb::Observed::default(),
            peer: fulcrum_peer::Observed::default(),
            verdicts: Verdicts::default(),
            now,
        };
        world.is_led_by(Some("lb2"));
        world.has_tables(&tables(1, 1));
        world.link_says(Some(serving(Usage::Live, &tables(1, 1))));
        world
    }

    fn is_led_by(&mut self, node: Option<&str>) {
        let own = node == Some("lb1");
        let seen = |node: &str| PeerSeen {
            node: Some(NodeName::new(node)),
            address: "10.0.0.2".parse().unwrap(),
            priority: 100,
        };
        let group = GroupObserved {
            role: if own { Role::Leader } else { Role::Standby },
            since: self.now,
            reason: Reason::Started,
            epoch: 1,
            priority: Some(100),
            leader: node.filter(|_| !own).map(seen),
            links: BTreeMap::new(),
            addresses: BTreeMap::new(),
            tracks: Vec::new(),
            transitions: 1,
            takeover: None,
            unclaimed: None,
            draining: None,
            finisher: None,
            order: Vec::new(),
            moves_to: None,
            proof: BTreeMap::new(),
        };
        self.vip.groups.insert(main(), group);
    }

    fn has_tables(&mut self, tables: &Arc<ServiceTables>) {
        let all = Arc::new(BTreeMap::from([(web(), Arc::clone(tables))]));
        let flows = fulcrum_lb::FlowsObserved { in_sync: true, ..Default::default() };
        self.lb.plane = Some(fulcrum_lb::PlaneObserved { tables: all, flows, ..Default::default() });
    }

    /// The link to lb2 is up, and this is what lb2 says of the service.
    fn link_says(&mut self, serving: Option<Serving>) {
        let peer = PeerObserved {
            state: PeerState::Up,
            since: self.now,
            reason: "heartbeats come".into(),
            address: None,
            round_trip: None,
            version: None,
            config: None,
            word: None,
            offer: None,
            answer: None,
            text: None,
            serving: Arc::new(serving.map(|serving| (web(), Arc::new(serving))).into_iter().collect()),
            counters: PeerCounters::default(),
        };
        self.peer.peers.insert(lb2(), peer);
    }

    fn link_is_down(&mut self) {
        self.link_says(None);
        self.peer.peers.get_mut(&lb2()).unwrap().state = PeerState::Down;
    }

    fn look(&mut self) -> bool {
        let Self { config, health, vip, lb, peer, verdicts, now } = self;
        verdicts.handle(&Seen { config, health, vip, lb, peer }, *now)
    }

    fn look_after(&mut self, wait: Duration) -> bool {
        self.now += wait;
        self.look()
    }

    fn by(&self) -> By {
        self.verdicts.view().services[&web()].by.clone()
    }

    fn usage(&self) -> Option<Usage> {
        let verdict = self.verdicts.following().verdicts.get(&web())?;
        Some(verdict.backends[&backend("a").address].usage)
    }

    fn agreement(&self) -> Option<(Comparison, Duration)> {
        let view = self.verdicts.view();
        let agreement = view.services[&web()].tables.get(&lb2())?;
        Some((agreement.comparison, self.now - agreement.since))
    }

    fn is_behind(&self) -> bool {
        self.verdicts.behind().contains(&main())
    }
}

/// The fixture's check: every second, two in a row.
const INTERVAL: Duration = Duration::from_secs(2);

#[test]
fn a_standby_goes_by_the_leaders_verdicts_and_a_proxied_service_by_its_own() {
    let mut world = World::new();
    assert!(world.look());
    assert_eq!((world.by(), world.usage()), (By::Leader(lb2()), Some(Usage::Live)));
    assert_eq!(world.verdicts.following().tables[&web()], tables(1, 1));
    let names: Vec<ServiceName> = world.verdicts.view().services.keys().cloned().collect();
    assert_eq!(names, [web()]);
    assert!(!world.look(), "the same news is none");
    world.link_says(Some(serving(Usage::Down, &tables(2, 1))));
    assert!(world.look());
    assert_eq!(world.usage(), Some(Usage::Down));
}

#[test]
fn whoever_does_not_lead_is_not_followed() {
    let mut world = World::new();
    for leader in [Some("lb3"), None, Some("lb1")] {
        world.is_led_by(leader);
        world.look();
        assert_eq!((world.by(), world.usage()), (By::Own, None), "{leader:?}");
    }
    // Nor one that does not say so itself.
    world.is_led_by(Some("lb2"));
    world.link_says(Some(Serving { verdict: None, tables: Some(tables(1, 1)) }));
    world.look();
    assert_eq!(world.by(), By::Own);
}

#[test]
fn a_node_that_takes_over_keeps_the_verdicts_for_a_health_interval() {
    let mut world = World::new();
    world.link_says(Some(serving(Usage::Draining, &tables(1, 1))));
    world.look();
    world.is_led_by(Some("lb1"));
    world.link_is_down();
    assert!(world.look(), "its older table is nobody's any more");
    assert_eq!((world.by(), world.usage()), (By::Kept(lb2(), world.now + INTERVAL), Some(Usage::Draining)));
    assert!(world.verdicts.following().tables.is_empty());
    assert_eq!(world.verdicts.poll_timeout(), Some(world.now + INTERVAL));
    assert!(!world.look_after(INTERVAL - Duration::from_millis(1)));
    assert_eq!(world.usage(), Some(Usage::Draining));
    assert!(world.look_after(Duration::from_millis(1)));
    assert_eq!((world.by(), world.usage()), (By::Own, None));
    assert!(!world.look_after(INTERVAL));
}

#[test]
fn a_link_that_is_cut_before_or_while_a_node_takes_over_changes_nothing_for_as_long() {
    let mut world = World::new();
    world.look();
    world.link_is_down();
    world.look();
    assert_eq!(world.usage(), Some(Usage::Live));
    world.look_after(SECOND);
    // The whole interval counts from here.
    world.is_led_by(Some("lb1"));
    world.look();
    assert_eq!(world.by(), By::Kept(lb2(), world.now + INTERVAL));
    world.look_after(SECOND);
    assert_eq!(world.by(), By::Kept(lb2(), world.now + SECOND), "once");
    // Without a takeover it goes by its own then, and by the leader's again as soon as it hears them.
    let mut world = World::new();
    world.look();
    world.link_is_down();
    world.look();
    world.look_after(INTERVAL);
    assert_eq!(world.by(), By::Own);
    world.link_says(Some(serving(Usage::Down, &tables(1, 1))));
    world.look();
    assert_eq!(world.by(), By::Leader(lb2()));
}

#[test]
fn a_node_that_hands_over_follows_the_one_that_took_over() {
    let mut world = World::new();
    world.is_led_by(Some("lb1"));
    world.link_says(Some(Serving { verdict: None, tables: Some(tables(1, 1)) }));
    world.look();
    assert_eq!(world.by(), By::Own);
    world.is_led_by(Some("lb2"));
    world.look();
    assert_eq!(world.by(), By::Own, "lb2 has not said yet that it leads");
    world.link_says(Some(serving(Usage::Live, &tables(1, 1))));
    world.look();
    assert_eq!(world.by(), By::Leader(lb2()));
}

#[test]
fn a_health_interval_has_bounds() {
    let with = |interval: u64, rise, fall| {
        let mut service = service("web", [backend("a")]);
        let mut check = (**service.check.as_ref().unwrap()).clone();
        (check.interval, check.rise, check.fall) = (Duration::from_millis(interval), rise, fall);
        service.check = Some(Arc::new(check));
        kept(&service)
    };
    assert_eq!(with(2000, 2, 3), SECOND * 6);
    assert_eq!(with(10, 1, 1), SECOND);
    assert_eq!(with(60_000, 10, 1), SECOND * 60);
    assert_eq!(kept(&Service { check: None, ..service("web", []) }), SECOND);
}

#[test]
fn a_dispute_is_shown_and_since_when() {
    let mut world = World::new();
    world.health = health([("web", false, vec![("a", Checked::Down, 100)])]);
    world.look();
    let begun = world.now;
    world.look_after(SECOND);
    let a = BackendName::new("a");
    assert_eq!(world.verdicts.view().services[&web()].disputed, Some((BTreeSet::from([a]), begun)));
    world.link_says(Some(serving(Usage::Down, &tables(1, 1))));
    world.look();
    assert_eq!(world.verdicts.view().services[&web()].disputed, None);
    // A backend that the leader does not know is no dispute: nobody said anything of it.
    let nobody = Serving { verdict: Some(Arc::default()), tables: None };
    world.link_says(Some(nobody));
    world.look();
    assert_eq!(world.verdicts.view().services[&web()].disputed, None);
}

#[test]
fn tables_are_compared_where_one_of_the_two_leads() {
    let mut world = World::new();
    world.look();
    assert_eq!(world.agreement(), Some((Comparison::InSync, Duration::ZERO)));
    for (own, theirs, expected) in [
        (Some(tables(2, 1)), Some(tables(1, 1)), Comparison::Current),
        (Some(tables(1, 2)), Some(tables(1, 1)), Comparison::Previous),
        (None, Some(tables(1, 1)), Comparison::NotHere),
        (Some(tables(1, 1)), None, Comparison::NotTold),
    ] {
        match own {
            Some(own) => world.has_tables(&own),
            None => world.lb.plane = None,
        }
        world.link_says(Some(Serving { tables: theirs, ..serving(Usage::Live, &tables(0, 0)) }));
        world.look_after(SECOND);
        let (comparison, since) = world.agreement().unwrap();
        assert_eq!(comparison, expected);
        // Since it is not in sync, however.
        assert_eq!(since > Duration::ZERO, expected != Comparison::Current, "{expected:?}");
    }
    world.is_led_by(Some("lb3"));
    world.link_says(Some(Serving { verdict: None, tables: Some(tables(9, 9)) }));
    world.look();
    assert_eq!(world.agreement(), None);
    world.is_led_by(Some("lb1"));
    world.look();
    assert_eq!(world.agreement().map(|(comparison, _)| comparison), Some(Comparison::Current));
    world.link_is_down();
    world.look();
    assert_eq!(world.agreement(), None);
}

#[test]
fn a_node_is_behind_until_it_has_what_the_leader_has() {
    let mut world = World::new();
    world.link_says(None);
    world.look();
    assert!(world.is_behind() && world.verdicts.view().waits.contains_key(&main()));
    world.link_says(Some(serving(Usage::Live, &tables(1, 5))));
    world.look();
    assert!(world.is_behind(), "its older table is another");
    world.has_tables(&tables(1, 5));
    let has_flows = |world: &mut World, all: bool| {
        let plane = world.lb.plane.as_mut().unwrap();
        plane.flows.in_sync = all;
    };
    has_flows(&mut world, false);
    world.look();
    assert!(world.is_behind(), "it does not know all flows");
    has_flows(&mut world, true);
    world.look();
    assert!(!world.is_behind() && world.verdicts.view().waits.is_empty());
    world.is_led_by(Some("lb1"));
    world.link_is_down();
    world.look();
    assert!(!world.is_behind(), "it leads");
}

#[test]
fn it_does_not_wait_for_ever() {
    let mut world = World::new();
    world.link_is_down();
    // As long as nobody leads nobody is waited for.
    world.is_led_by(None);
    world.look();
    world.look_after(WAITS * 2);
    assert!(world.is_behind() && world.verdicts.poll_given_up().is_none());
    world.is_led_by(Some("lb2"));
    world.look();
    assert_eq!(world.verdicts.poll_timeout(), Some(world.now + WAITS));
    world.look_after(WAITS - SECOND);
    assert!(world.is_behind());
    world.look_after(SECOND);
    assert!(!world.is_behind() && world.verdicts.view().waits.is_empty());
    assert_eq!(world.verdicts.poll_given_up(), Some(main()));
    world.look_after(SECOND);
    assert!(!world.is_behind() && world.verdicts.poll_given_up().is_none(), "told once");
    // What was in sync meanwhile begins anew.
    world.link_says(Some(serving(Usage::Live, &tables(1, 1))));
    world.look();
    world.link_is_down();
    world.look();
    assert!(world.is_behind());
}

#[test]
fn without_keys_or_forwarded_services_there_is_nothing_to_wait_for() {
    let mut world = World::new();
    world.link_is_down();
    let keys = std::mem::take(&mut world.config.peer.pins);
    world.look();
    assert!(!world.is_behind());
    world.config.peer.pins = keys;
    world.look();
    assert!(world.is_behind());
    world.config.services.remove(&web());
    world.look();
    assert!(!world.is_behind() && world.verdicts.view().services.is_empty());
}

#[test]
fn what_is_served_is_what_the_leader_says_and_of_others_what_is_seen_here() {
    let address = BackendAddress { ip: "10.1.0.9".parse().unwrap(), port: Some(8080) };
    let mut other = backend("b");
    other.address = address;
    let config = config([Service { mode: Mode::Nat, ..service("web", [backend("a"), other]) }]);
    let mut seen = health([("web", false, vec![("a", Checked::Down, 100), ("b", Checked::Up, 40)])]);
    let checked = seen.services.get_mut(&web()).unwrap();
    checked.backends.get_mut(&BackendName::new("b")).unwrap().address = address;
    let judged = verdict(Usage::Live);
    let following = Following { verdicts: BTreeMap::from([(web(), judged)]), ..Following::default() };
    let nothing = fulcrum_lb::Desired::default();
    let desired = plan::lb_desired(&config, &seen, &following, &nothing).unwrap();
    let service = &desired.services[&web()];
    let states: Vec<_> = service.backends.iter().map(|state| (state.usage, state.weight)).collect();
    let live = fulcrum_lb::BackendUse::Live;
    assert_eq!((service.up, states), (true, vec![(live, 70), (live, 40)]));
    assert!(plan::lb_desired(&config, &seen, &following, &desired).is_none());
    let own = plan::lb_desired(&config, &seen, &Following::default(), &desired).unwrap();
    assert!(!own.services[&web()].up);
    // Tables of the leader are a change by themselves.
    let tables = BTreeMap::from([(web(), tables(1, 2))]);
    let following = Following { tables: tables.clone(), ..following };
    assert_eq!(plan::lb_desired(&config, &seen, &following, &desired).unwrap().follow, tables);
}

#[test]
fn what_the_peers_are_told_is_what_the_data_plane_was() {
    let mut world = World::new();
    let nothing = fulcrum_lb::Desired::default();
    let desired = plan::lb_desired(&world.config, &world.health, &Following::default(), &nothing).unwrap();
    let say = |world: &World, before: &Arc<fulcrum_peer::Services>| {
        plan::serving(&world.config, &world.vip, &desired, &world.lb, before)
    };
    let standby = say(&world, &Arc::default());
    let expected = Serving { verdict: None, tables: Some(tables(1, 1)) };
    assert_eq!(*standby, BTreeMap::from([(web(), Arc::new(expected))]));
    assert!(Arc::ptr_eq(&standby, &say(&world, &standby)));
    world.is_led_by(Some("lb1"));
    let leader = say(&world, &standby);
    let judged = Judged { usage: Usage::Live, weight: 100 };
    assert_eq!(leader[&web()].verdict.as_ref().unwrap().backends, [(backend("a").address, judged)].into());
}
