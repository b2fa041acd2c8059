use super::*;
use crate::border::{Echoed, Word};
use choosing::CONNECTIONS_AT_MOST;
use dialing::SECOND;
use fulcrum_config::SharedDigest;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const BEAT: Duration = Duration::from_millis(50);

fn start_of_time() -> Instant {
    #[allow(clippy::disallowed_methods, reason = "any instant will do")]
    Instant::now()
}

fn runs(generation: u64, digest: u128) -> PeerConfig {
    PeerConfig { generation, serial: 1, digest: SharedDigest(digest) }
}

fn link(own: &str, peer: &str, instance: u64, now: Instant) -> Link {
    let settings = Settings { own: NodeName::new(own), peer: NodeName::new(peer), beat: BEAT };
    Link::new(settings, "0.1.0", instance, runs(1, 1), now)
}

/// What the network does with a datagram.
#[derive(Debug, Clone, Copy)]
struct Weather {
    loss_percent: u32,
    twice_percent: u32,
    delay: (u64, u64),
}

const FAIR: Weather = Weather { loss_percent: 0, twice_percent: 0, delay: (1, 1) };

enum Happening {
    Dial(usize),
    /// The number is that of the stream.
    Says(usize, Id, u64, Message),
    Sends(usize, Id, Datagram),
    Closes(usize, Id, Code),
}

/// Two nodes and what is between them. A connection has one number on both sides.
struct World {
    now: Instant,
    links: [Link; 2],
    queue: BTreeMap<(Instant, u64), Happening>,
    order: u64,
    next: Id,
    standing: BTreeMap<Id, ()>,
    random: fastrand::Rng,
    weather: Weather,
    cut: bool,
}

impl World {
    fn new(seed: u64, weather: Weather) -> Self {
        let now = start_of_time();
        Self {
            now,
            links: [link("a", "b", 10, now), link("b", "a", 20, now)],
            queue: BTreeMap::new(),
            order: 0,
            next: 1,
            standing: BTreeMap::new(),
            random: fastrand::Rng::with_seed(seed),
            weather,
            cut: false,
        }
    }

    fn at(&mut self, delay: Duration, happening: Happening) {
        self.order += 1;
        self.queue.insert((self.now + delay, self.order), happening);
    }

    fn delay(&mut self) -> Duration {
        Duration::from_millis(self.random.u64(self.weather.delay.0..=self.weather.delay.1))
    }

    fn act(&mut self) {
        for side in [0, 1] {
            while let Some(action) = self.links[side].poll_action() {
                let delay = self.delay();
                match action {
                    Action::Dial { .. } => self.at(delay, Happening::Dial(side)),
                    Action::Say(id, message) => {
                        self.at(delay, Happening::Says(side, id, self.order, message));
                    }
                    Action::Send(id, datagram) => {
                        let copies = if self.random.u32(0..100) < self.weather.loss_percent {
                            0
                        } else {
                            1 + u32::from(self.random.u32(0..100) < self.weather.twice_percent)
                        };
                        for _ in 0..copies {
                            let delay = self.delay();
                            self.at(delay, Happening::Sends(side, id, datagram));
                        }
                    }
                    Action::Hand(_) => {}
                    Action::Close(id, code) => {
                        self.at(delay, Happening::Closes(side, id, code));
                    }
                }
            }
        }
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.now;
        match happening {
            Happening::Dial(side) if self.cut => {
                self.links[side].handle_dial_failed(Failure::Lost("cut".into()), now);
            }
            Happening::Dial(side) => {
                let id = self.next;
                self.next += 1;
                self.standing.insert(id, ());
                let address = "10.0.0.1:4747".parse().unwrap();
                for end in [side, 1 - side] {
                    self.links[end].handle_connected(id, end == side, address, now);
                }
            }
            _ if self.cut => {}
            Happening::Says(side, id, stream, message) => {
                if self.standing.contains_key(&id) {
                    let read = Message::decode(&message.encode());
                    self.links[1 - side].handle_message(id, stream, read, now);
                }
            }
            Happening::Sends(side, id, datagram) => {
                if self.standing.contains_key(&id) {
                    let read = Datagram::decode(&datagram.encode());
                    self.links[1 - side].handle_datagram(id, read, now);
                }
            }
            Happening::Closes(side, id, code) => {
                self.standing.remove(&id);
                self.links[1 - side].handle_closed(id, Failure::Lost(format!("{code:?}")), now);
            }
        }
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.act();
        loop {
            let next = self.queue.keys().next().map(|(at, _)| *at);
            let timers = self.links.iter().filter_map(Link::poll_timeout);
            let Some(at) = timers.chain(next).min().filter(|at| *at <= end) else { break };
            self.now = at.max(self.now);
            while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let happening = entry.remove();
                self.happen(happening);
                self.act();
            }
            for side in [0, 1] {
                self.links[side].handle_timeout(self.now);
            }
            self.act();
        }
        self.now = end;
    }

    fn states(&self) -> [PeerState; 2] {
        [self.links[0].observed().state, self.links[1].observed().state]
    }

    fn counters(&self, side: usize) -> PeerCounters {
        self.links[side].observed().counters
    }

    /// Both carry the link by the same connection, and there is no other.
    fn is_settled(&self) -> bool {
        let [a, b] = &self.links;
        self.states() == [PeerState::Up; 2]
            && a.current == b.current
            && a.connections.len() == 1
            && b.connections.len() == 1
    }
}

#[test]
fn two_nodes_find_each_other_and_measure_the_way() {
    let mut world = World::new(1, Weather { delay: (4, 4), ..FAIR });
    world.run(Duration::from_secs(3));
    assert!(world.is_settled());
    for side in [0, 1] {
        let seen = world.links[side].observed();
        assert_eq!(seen.round_trip, Some(Duration::from_millis(8)));
        assert_eq!((seen.counters.up, seen.counters.down, seen.counters.stale), (1, 0, 0));
        assert_eq!(seen.config, Some(runs(1, 1)));
        assert_eq!(seen.version.as_deref(), Some("0.1.0"));
    }
}

#[test]
fn the_lower_name_dials_and_the_other_if_that_comes_to_nothing() {
    let now = start_of_time();
    let mut low = link("a", "b", 1, now);
    let mut high = link("b", "a", 2, now);
    low.handle_timeout(now);
    high.handle_timeout(now);
    assert_eq!(low.poll_action(), Some(Action::Dial { attempt: 0 }));
    assert_eq!(high.poll_action(), None);
    high.handle_timeout(now + SECOND);
    assert_eq!(high.poll_action(), Some(Action::Dial { attempt: 0 }));
}

#[test]
fn a_change_of_configuration_is_told() {
    let mut world = World::new(1, FAIR);
    world.run(Duration::from_secs(2));
    world.links[0].handle_config(runs(2, 7));
    world.run(Duration::from_millis(100));
    assert_eq!(world.links[1].observed().config, Some(runs(2, 7)));
    assert_eq!(world.links[0].observed().config, Some(runs(1, 1)));
}

fn word_of(group: &str) -> Word {
    let sources = BTreeSet::from([std::net::IpAddr::from([10, 0, 0, 1])]);
    Word { leads: BTreeMap::from([(fulcrum_config::GroupName::new(group), sources)]), ..Word::default() }
}

#[test]
fn what_a_node_leads_is_told_and_void_without_the_link() {
    let mut world = World::new(1, FAIR);
    world.run(Duration::from_secs(2));
    assert_eq!(world.links[1].observed().word.as_deref(), Some(&Word::default()));
    world.links[0].handle_word(word_of("web"));
    world.act();
    world.run(Duration::from_millis(5));
    assert_eq!(world.links[1].observed().word.as_deref(), Some(&word_of("web")));
    world.cut = true;
    world.run(Duration::from_secs(1));
    assert_eq!(world.links[1].observed().word, None);
    world.links[0].handle_word(word_of("other"));
    world.cut = false;
    world.run(Duration::from_secs(8));
    assert_eq!(world.links[1].observed().word.as_deref(), Some(&word_of("other")));
    // Another life of the peer has said nothing yet, and leads nothing.
    world.links[0] = link("a", "b", 11, world.now);
    world.run(Duration::from_secs(4));
    assert_eq!(world.links[1].observed().word.as_deref(), Some(&Word::default()));
}

#[test]
fn a_word_that_a_heartbeat_tells_to_be_old_is_void_and_an_older_one_changes_nothing() {
    let mut world = World::new(1, FAIR);
    world.run(Duration::from_secs(2));
    let now = world.now;
    let id = world.links[1].current.unwrap();
    let said = |sequence, change, word| {
        Ok(Message::Word(Said { instance: 10, sequence, change, word: Arc::new(word) }))
    };
    let seen = &mut world.links[1];
    seen.handle_message(id, 0, said(5, 2, word_of("web")), now);
    seen.handle_message(id, 0, said(4, 1, word_of("other")), now);
    assert_eq!(seen.observed().word.as_deref(), Some(&word_of("web")));
    seen.handle_datagram(id, Ok(Datagram::Beat(1 << 40, Some(3))), now);
    assert_eq!(seen.observed().word, None);
    seen.handle_message(id, 0, said(6, 3, word_of("other")), now);
    assert_eq!(seen.observed().word.as_deref(), Some(&word_of("other")));
}

fn leads_of(groups: &[&str]) -> Option<BTreeSet<fulcrum_config::GroupName>> {
    Some(groups.iter().map(|group| fulcrum_config::GroupName::new(group)).collect())
}

#[test]
fn an_echo_tells_when_its_heartbeat_was_sent_and_what_the_peer_leads() {
    let mut world = World::new(1, FAIR);
    world.run(Duration::from_secs(2));
    let echoed = world.links[1].echoed().unwrap();
    assert_eq!(echoed.leads, leads_of(&[]));
    // A heartbeat, and the way there and back.
    assert!(world.now - echoed.sent <= BEAT + Duration::from_millis(4), "{:?}", world.now - echoed.sent);
    world.links[0].handle_word(word_of("web"));
    world.run(BEAT);
    assert_eq!(world.links[1].echoed().unwrap().leads, leads_of(&["web"]));
    // What was echoed before a pause is as old as it is, and a link that is down tells nothing.
    world.cut = true;
    let before = world.links[1].echoed().unwrap().sent;
    world.run(BEAT * 4);
    assert_eq!(world.links[1].echoed().map(|echoed| echoed.sent), Some(before));
    world.run(Duration::from_secs(1));
    assert_eq!(world.links[1].echoed(), None);
}

#[test]
fn an_echo_that_knows_of_a_change_voids_what_the_peer_said_before() {
    let mut world = World::new(1, FAIR);
    world.run(Duration::from_secs(2));
    let (now, id) = (world.now, world.links[1].current.unwrap());
    let link = &mut world.links[1];
    let (number, change) = (1 << 20, link.heard_change.unwrap().1);
    let connection = link.connections.iter_mut().find(|it| it.id == id).unwrap();
    connection.wait_for(number, now);
    connection.wait_for(number + 1, now + BEAT);
    link.handle_datagram(id, Ok(Datagram::Echo(number + 1, Some(change))), now + BEAT);
    assert_eq!(link.echoed(), Some(Echoed { sent: now + BEAT, leads: leads_of(&[]) }));
    // One that was overtaken is no newer, but what it says of a change holds.
    link.handle_datagram(id, Ok(Datagram::Echo(number, Some(change + 1))), now + BEAT);
    assert_eq!(link.echoed(), Some(Echoed { sent: now + BEAT, leads: None }));
}

#[test]
fn a_peer_that_is_behind_is_sent_what_runs_until_it_has_it() {
    let text = |serial| {
        Some(Arc::new(Text {
            serial,
            text: "a: b".into(),
            allocations: None,
            overrides: None,
            fragments: None,
        }))
    };
    let mut world = World::new(1, FAIR);
    let now = world.now;
    for side in [0, 1] {
        world.links[side].handle_changes(None, None, text(1), now);
    }
    world.run(Duration::from_secs(2));
    assert_eq!((world.links[0].observed().text, world.links[1].observed().text), (None, None));
    let now = world.now;
    let sent = |link: &mut Link| {
        let actions = std::iter::from_fn(|| link.poll_action());
        actions.filter(|action| matches!(action, Action::Say(_, Message::Text(_)))).count()
    };
    world.links[0].handle_config(PeerConfig { serial: 2, ..runs(2, 2) });
    world.links[0].handle_changes(None, None, text(2), now);
    assert_eq!(sent(&mut world.links[0]), 1);
    world.links[0].handle_timeout(now + Duration::from_secs(1));
    assert_eq!(sent(&mut world.links[0]), 0);
    // It was lost: the connection ended before it came.
    world.cut = true;
    world.run(Duration::from_secs(2));
    world.cut = false;
    world.run(Duration::from_secs(8));
    assert_eq!(world.links[1].observed().text, text(2));
    assert_eq!(world.links[0].observed().text, None, "it is not behind");
    // It has it now.
    let now = world.now;
    world.links[1].handle_config(PeerConfig { serial: 2, ..runs(2, 2) });
    world.links[1].handle_changes(None, None, text(2), now);
    world.act();
    world.run(Duration::from_millis(50));
    world.links[0].handle_timeout(world.now + Duration::from_secs(20));
    assert_eq!(sent(&mut world.links[0]), 0);
    assert_eq!(world.links[1].observed().text, None);
}

#[test]
fn an_offer_and_its_answer_are_told_again_on_a_new_connection_and_withdrawn() {
    let mut world = World::new(1, FAIR);
    world.run(Duration::from_secs(2));
    let offer = offer(7);
    let answer = Arc::new(Answer { number: 7, serial: 1, errors: vec!["no".to_owned()] });
    let now = world.now;
    world.links[0].handle_changes(Some(Arc::clone(&offer)), None, None, now);
    world.act();
    world.run(Duration::from_millis(50));
    assert_eq!(world.links[1].observed().offer, Some(Arc::clone(&offer)));
    let now = world.now;
    world.links[1].handle_changes(None, Some(Arc::clone(&answer)), None, now);
    world.act();
    world.run(Duration::from_millis(50));
    assert_eq!(world.links[0].observed().answer, Some(Arc::clone(&answer)));
    world.cut = true;
    world.run(Duration::from_secs(2));
    assert_eq!((world.links[1].observed().offer, world.links[0].observed().answer), (None, None));
    world.cut = false;
    world.run(Duration::from_secs(8));
    assert_eq!(world.links[1].observed().offer, Some(offer));
    assert_eq!(world.links[0].observed().answer, Some(answer));
    let now = world.now;
    world.links[0].handle_changes(None, None, None, now);
    world.act();
    world.run(Duration::from_millis(50));
    assert_eq!(world.links[1].observed().offer, None);
}

fn offer(number: u64) -> Arc<Offer> {
    Arc::new(Offer {
        number,
        forced: BTreeSet::new(),
        text: "a: b".into(),
        allocations: None,
        overrides: None,
        fragments: None,
    })
}

#[test]
fn an_offer_that_comes_after_its_withdrawal_is_none() {
    let now = start_of_time();
    let (mut a, hello) = connected(now);
    let said = |offer| Ok(Message::Offer(offer));
    a.handle_message(1, 0, Ok(hello), now);
    a.handle_message(1, 7, said(None), now);
    a.handle_message(1, 6, said(Some(offer(1))), now);
    assert_eq!(a.observed().offer, None);
    a.handle_message(1, 8, said(Some(offer(2))), now);
    assert_eq!(a.observed().offer, Some(offer(2)));
}

#[test]
fn an_offer_holds_on_the_connection_that_it_was_made_on_and_in_that_life() {
    let (now, address) = (start_of_time(), "10.0.0.1:4747".parse().unwrap());
    for instance in [20, 21] {
        let (mut a, hello) = connected(now);
        a.handle_message(1, 0, Ok(hello.clone()), now);
        a.handle_message(1, 1, Ok(Message::Offer(Some(offer(1)))), now);
        assert_eq!(a.observed().offer, Some(offer(1)));
        let Message::Hello(hello) = hello else { panic!("{hello:?}") };
        a.handle_connected(2, true, address, now);
        a.handle_message(2, 0, Ok(Message::Hello(Hello { instance, ..hello.clone() })), now);
        assert_eq!(a.current, Some(2));
        assert_eq!(a.observed().offer, None, "withdrawn where it was not heard");
        // What the old connection still brings is old.
        a.handle_message(1, 2, Ok(Message::Offer(Some(offer(2)))), now);
        assert_eq!(a.observed().offer, None);
        // What is said on a connection may come before the hello.
        a.handle_connected(3, true, address, now);
        a.handle_message(3, 1, Ok(Message::Offer(Some(offer(3)))), now);
        assert_eq!(a.observed().offer, None);
        a.handle_message(3, 0, Ok(Message::Hello(Hello { instance, ..hello })), now);
        assert_eq!(a.observed().offer, Some(offer(3)));
    }
}

#[test]
fn of_forwarded_services_each_knows_what_the_other_says_whatever_happened_between_them() {
    let name = fulcrum_config::ServiceName::new;
    for seed in 0..40 {
        let weather = Weather { loss_percent: 10, twice_percent: 5, delay: (1, 40) };
        let mut world = World::new(seed, weather);
        world.run(Duration::from_secs(2));
        for _ in 0..12 {
            let side = world.random.usize(0..2);
            let count = world.random.u64(0..4);
            let up = world.random.bool();
            let verdict = crate::Verdict { up, ..Default::default() };
            let serving = Arc::new(crate::Serving { verdict: Some(Arc::new(verdict)), tables: None });
            let services = (0..count).map(|it| (name(&it.to_string()), Arc::clone(&serving)));
            let now = world.now;
            world.links[side].handle_serving(Arc::new(services.collect()), now);
            world.act();
            // Messages of a connection are lost only together with it.
            world.cut = world.random.u32(0..4) == 0;
            world.run(Duration::from_millis(if world.cut { 1500 } else { 300 }));
            if world.cut {
                assert!(world.links[side].observed().serving.is_empty(), "nothing is known without a link");
            }
            world.cut = false;
        }
        world.run(Duration::from_secs(12));
        assert_eq!(world.states(), [PeerState::Up; 2]);
        for side in [0, 1] {
            let said = world.links[side].teller_wants();
            assert_eq!(world.links[1 - side].observed().serving, said, "seed {seed}");
        }
    }
}

#[test]
fn a_cut_is_noticed_within_the_silence_and_heals_by_itself() {
    let mut world = World::new(1, FAIR);
    world.run(Duration::from_secs(2));
    world.cut = true;
    world.run(Duration::from_millis(600));
    assert_eq!(world.states(), [PeerState::Down; 2]);
    assert_eq!((world.counters(0).silent, world.counters(1).silent), (1, 1));
    world.run(Duration::from_secs(60));
    let dials = world.counters(0).dials;
    assert!((400..700).contains(&dials), "{dials}");
    world.cut = false;
    world.run(Duration::from_secs(8));
    assert!(world.is_settled());
    assert_eq!(world.counters(0).up, 2);
}

#[test]
fn a_peer_whose_heartbeats_for_somebody_else_come_is_not_silent() {
    let mut world = World::new(1, FAIR);
    world.run(Duration::from_secs(2));
    world.cut = true;
    for _ in 0..10 {
        let (id, now) = (world.links[0].current.unwrap(), world.now);
        world.links[0].handle_alive(id, now);
        world.run(Duration::from_millis(100));
    }
    assert_eq!(world.states(), [PeerState::Up, PeerState::Down]);
}

#[test]
fn a_peer_that_starts_anew_replaces_its_old_connection() {
    let mut world = World::new(1, FAIR);
    world.run(Duration::from_secs(2));
    // The process dies without a word, and the next one is there at once.
    world.links[1] = link("b", "a", 21, world.now);
    world.run(Duration::from_secs(4));
    assert!(world.is_settled());
    assert_eq!(world.links[0].remote.as_ref().unwrap().instance, 21);
}

#[test]
fn a_new_key_on_either_side_takes_a_new_connection_without_the_link_going_down() {
    for side in [0, 1] {
        let mut world = World::new(1, FAIR);
        world.run(Duration::from_secs(2));
        let before = world.links[0].current;
        let now = world.now;
        world.links[side].handle_new_key(now);
        world.run(Duration::from_secs(3));
        assert!(world.is_settled(), "{side}");
        assert_ne!(world.links[0].current, before);
        for side in [0, 1] {
            assert_eq!((world.counters(side).down, world.counters(side).replaced), (0, 1));
        }
    }
}

/// What was on its way on the old connection is not heard any more: all must be told anew.
#[test]
fn what_goes_by_another_connection_has_another_session_though_the_peer_lives_on() {
    let mut world = World::new(1, FAIR);
    world.run(Duration::from_secs(2));
    let before = [0, 1].map(|side| world.links[side].carrier().unwrap());
    let now = world.now;
    world.links[0].handle_new_key(now);
    world.run(Duration::from_secs(3));
    for side in [0, 1] {
        let (carrier, session) = world.links[side].carrier().unwrap();
        assert_eq!(world.counters(side).down, 0);
        assert_ne!(carrier, before[side].0);
        assert_ne!(session, before[side].1);
    }
}
#[test]
fn whoever_says_another_name_is_refused() {
    let now = start_of_time();
    let mut link = link("a", "b", 1, now);
    link.handle_connected(1, true, "10.0.0.1:4747".parse().unwrap(), now);
    let Some(Action::Say(1, Message::Hello(mut hello))) = link.poll_action() else { panic!() };
    hello.node = "c".into();
    link.handle_message(1, 0, Ok(Message::Hello(hello)), now);
    let last = std::iter::from_fn(|| link.poll_action()).last();
    assert_eq!(last, Some(Action::Close(1, Code::WrongName)));
    let seen = link.observed();
    assert_eq!(seen.state, PeerState::Refused);
    assert!(seen.reason.contains("says that it is c"), "{}", seen.reason);
}

#[test]
fn a_connection_without_a_hello_is_given_up() {
    let now = start_of_time();
    let mut link = link("a", "b", 1, now);
    link.handle_connected(1, true, "10.0.0.1:4747".parse().unwrap(), now);
    for beat in 0..80_u32 {
        let then = now + BEAT * beat;
        link.handle_datagram(1, Ok(Datagram::Beat(beat.into(), None)), then);
        link.handle_timeout(then);
    }
    let actions: Vec<Action> = std::iter::from_fn(|| link.poll_action()).collect();
    assert!(actions.contains(&Action::Close(1, Code::Silent)));
    assert_eq!(link.observed().state, PeerState::Down);
}

#[test]
fn connections_are_bounded() {
    let now = start_of_time();
    let mut link = link("a", "b", 1, now);
    for id in 0..10 {
        link.handle_connected(id, false, "10.0.0.1:4747".parse().unwrap(), now);
    }
    assert_eq!(link.connections.len(), CONNECTIONS_AT_MOST);
    assert_eq!(link.observed().counters.too_many, 6);
}

#[test]
fn echoes_of_nothing_and_doubled_beats_count_as_stale_and_prove_nothing() {
    let now = start_of_time();
    let mut link = link("a", "b", 1, now);
    link.handle_connected(1, false, "10.0.0.1:4747".parse().unwrap(), now);
    for datagram in
        [Datagram::Echo(0, None), Datagram::Beat(3, None), Datagram::Beat(3, None), Datagram::Beat(2, None)]
    {
        link.handle_datagram(1, Ok(datagram), now);
    }
    assert_eq!((link.observed().counters.stale, link.observed().counters.beats_received), (3, 1));
    link.handle_timeout(now);
    link.handle_datagram(1, Ok(Datagram::Echo(0, None)), now);
    link.handle_datagram(1, Ok(Datagram::Echo(0, None)), now);
    assert_eq!((link.observed().counters.stale, link.observed().counters.echoes), (4, 1));
    assert_eq!(link.observed().state, PeerState::Down);
}

/// Who is to restore a node learns from its peers whether it lives.
#[test]
fn a_hello_says_whether_there_is_a_link_already() {
    let (now, address) = (start_of_time(), "10.0.0.1:4747".parse().unwrap());
    let linked = |hello: Message| {
        let Message::Hello(hello) = hello else { panic!("{hello:?}") };
        hello.linked
    };
    let (mut a, hello) = connected(now);
    a.handle_message(1, 0, Ok(hello), now);
    while a.poll_action().is_some() {}
    a.handle_connected(2, false, address, now);
    assert_eq!(linked(hello_of(&mut a)), Some(true));

    a.handle_closed(1, Failure::Lost("gone".into()), now);
    a.handle_connected(3, false, address, now);
    assert_eq!(linked(hello_of(&mut a)), Some(false));
}

fn hello_of(link: &mut Link) -> Message {
    let is_hello = |action: &Action| matches!(action, Action::Say(_, Message::Hello(_)));
    match std::iter::from_fn(|| link.poll_action()).find(is_hello) {
        Some(Action::Say(_, message)) => message,
        other => panic!("no hello: {other:?}"),
    }
}

fn handed(link: &mut Link) -> Vec<u8> {
    std::iter::from_fn(|| link.poll_action())
        .filter_map(|action| if let Action::Hand(bytes) = action { bytes.first().copied() } else { None })
        .collect()
}

/// Two links with one connection, and what the second says first.
fn connected(now: Instant) -> (Link, Message) {
    let (mut a, mut b) = (link("a", "b", 10, now), link("b", "a", 20, now));
    let address = "10.0.0.1:4747".parse().unwrap();
    a.handle_connected(1, true, address, now);
    b.handle_connected(1, false, address, now);
    let hello = hello_of(&mut b);
    (a, hello)
}

#[test]
fn what_a_data_plane_says_is_handed_on_in_order_and_after_the_hello() {
    let now = start_of_time();
    let (mut a, hello) = connected(now);
    let said = |number: u8| Ok(Message::Flows { number: number.into(), bytes: vec![number].into() });
    for number in [2, 0] {
        a.handle_message(1, 0, said(number), now);
    }
    assert_eq!(handed(&mut a), Vec::<u8>::new());
    a.handle_message(1, 0, Ok(hello), now);
    assert_eq!(handed(&mut a), [0]);
    for number in [3, 1, 0, 1] {
        a.handle_message(1, 0, said(number), now);
    }
    assert_eq!(handed(&mut a), [1, 2, 3]);
}

#[test]
fn who_leaves_out_a_number_is_not_listened_to_for_ever() {
    let now = start_of_time();
    let (mut a, hello) = connected(now);
    a.handle_message(1, 0, Ok(hello), now);
    for number in 1..=65 {
        assert!(a.current().is_some(), "{number}");
        a.handle_message(1, 0, Ok(Message::Flows { number, bytes: Arc::default() }), now);
    }
    assert_eq!(
        (handed(&mut a), a.current().is_some(), a.observed().counters.malformed),
        (Vec::new(), false, 1)
    );
}

proptest! {
    /// Whatever the network does to datagrams, once it is fair again both agree on one connection.
    #[test]
    fn any_weather_ends_in_one_connection(
        seed in any::<u64>(),
        loss_percent in 0..60_u32,
        twice_percent in 0..30_u32,
        delay in 0..120_u64,
        cuts in 0..4_u32,
    ) {
        let mut world = World::new(seed, Weather { loss_percent, twice_percent, delay: (0, delay) });
        for _ in 0..cuts {
            let until = world.random.u64(0..4_000);
            world.run(Duration::from_millis(until));
            world.cut = !world.cut;
        }
        let side = world.random.usize(0..2);
        let now = world.now;
        world.links[side].handle_new_key(now);
        world.run(Duration::from_secs(2));
        world.cut = false;
        world.weather = FAIR;
        world.run(Duration::from_secs(20));
        prop_assert!(world.is_settled(), "{:?} {:?}", world.links[0], world.links[1]);
    }
}
