//! Nodes, a network between them and a clock that nobody waits for.

use crate::lab::Lab;
use crate::talk::{Said, Talk};
use fulcrum_config::{Link, Priority, Timing};
use fulcrum_vip_manager::advert::{
    Advert, ChecksumForm, HOP_LIMIT, MULTICAST_IPV4, MULTICAST_IPV6, Received, decode,
};
use fulcrum_vip_manager::announcer::Announcer;
use fulcrum_vip_manager::router::{Action, Fitness, Router, RouterSpec};
use fulcrum_vip_manager::{Reason, Role};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// What a test does to nodes and network.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// A node dies; with a guard that resigns for it or without.
    Kill {
        node: usize,
        guard: bool,
    },
    Start {
        node: usize,
    },
    /// It does not run for so long; its sockets go on filling.
    Freeze {
        node: usize,
        time: Duration,
    },
    /// The process ends in an orderly way.
    Stop {
        node: usize,
    },
    /// Adverts from one to another are lost, on one link or all.
    Cut {
        from: usize,
        to: usize,
        link: Option<usize>,
    },
    /// The link between two is cut, adverts go on.
    CutTalk {
        one: usize,
        other: usize,
    },
    /// Somebody who is no node sends an advert to all, in whatever name.
    Rogue {
        link: usize,
        source: IpAddr,
        priority: u8,
    },
    /// Every cut ends.
    Heal,
    /// A node's interface goes down or comes up.
    Link {
        node: usize,
        link: usize,
        up: bool,
    },
    Fitness {
        node: usize,
        fitness: Fitness,
    },
}

/// How the network treats packets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// Of a thousand adverts, so many are lost.
    pub(crate) loss: u32,
    /// Each takes a random time up to this, so that they also overtake each other.
    pub(crate) delay: Duration,
    /// A node wakes up late by up to this.
    pub(crate) lateness: Duration,
}

#[derive(Debug)]
pub(crate) enum Event {
    Wake {
        node: usize,
        life: u32,
    },
    Resume {
        node: usize,
        life: u32,
        frozen: Duration,
    },
    Arrive {
        to: usize,
        link: usize,
        source: IpAddr,
        message: Vec<u8>,
    },
    Announced {
        by: usize,
        family: usize,
    },
    Clear {
        node: usize,
        life: u32,
    },
    Fault(Fault),
    /// Each node says something to each other one from time to time.
    Beat {
        node: usize,
        life: u32,
    },
    /// It arrives, and the same for what is said between.
    Beaten {
        from: usize,
        to: usize,
        life: u32,
        change: u64,
    },
    Say {
        from: usize,
        to: usize,
        said: Said,
    },
    Said {
        from: usize,
        to: usize,
        said: Said,
    },
}

pub(crate) struct Node {
    pub(crate) router: Option<Router>,
    pub(crate) frozen: bool,
    /// Whether it answers for the VIPs.
    pub(crate) answers: bool,
    /// Counts starts, so that what an earlier process planned is void.
    pub(crate) life: u32,
    planned: Option<Instant>,
    announcer: Announcer,
    /// What waits in its sockets while it is frozen.
    inbox: Vec<(usize, IpAddr, Vec<u8>)>,
    /// Whether each of its links is up.
    up: Vec<bool>,
    fitness: Option<Fitness>,
}

pub(crate) struct World {
    pub(crate) lab: Lab,
    pub(crate) weather: Weather,
    pub(crate) links: Vec<Link>,
    pub(crate) nodes: Vec<Node>,
    /// (from, to, link)
    pub(crate) cuts: BTreeSet<(usize, usize, usize)>,
    /// Adverts lost so far, from one node to another.
    pub(crate) lost: Vec<Vec<u32>>,
    /// Who announced last, as neighbours believe, for each family.
    pub(crate) neighbours: [Option<usize>; 2],
    pub(crate) now: Instant,
    pub(crate) begun: Instant,
    pub(crate) talk: Talk,
    /// How often something was refused because no node claims it.
    pub(crate) refused: u32,
    events: BinaryHeap<Reverse<(Instant, u64)>>,
    bodies: std::collections::HashMap<u64, Event>,
    next: u64,
    random: fastrand::Rng,
    loud: bool,
}

/// What a socket holds.
const INBOX: usize = 200;

impl World {
    #[allow(clippy::disallowed_methods, reason = "an arbitrary moment to count from")]
    pub(crate) fn new(lab: Lab, weather: Weather, seed: u64) -> Self {
        let begun = Instant::now();
        let links = lab.links();
        let count = lab.priorities.len();
        let mut announcer = Announcer::new(&Timing::default(), lab.interval);
        announcer.handle_vips(lab.group().vips, begun);
        let node = |_| Node {
            router: None,
            frozen: false,
            answers: false,
            life: 0,
            planned: None,
            announcer: announcer.clone(),
            inbox: Vec::new(),
            up: vec![true; links.len()],
            fitness: None,
        };
        Self {
            nodes: (0..count).map(node).collect(),
            lost: vec![vec![0; count]; count],
            lab,
            weather,
            links,
            cuts: BTreeSet::new(),
            neighbours: [None; 2],
            now: begun,
            begun,
            events: BinaryHeap::new(),
            bodies: std::collections::HashMap::new(),
            next: 0,
            random: fastrand::Rng::with_seed(seed),
            talk: Talk::new(count),
            refused: 0,
            loud: std::env::var_os("FULCRUM_SEED").is_some(),
        }
    }

    pub(crate) fn fault_at(&mut self, after: Duration, fault: Fault) {
        self.plan(self.begun + after, Event::Fault(fault));
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        self.apply(fault);
    }

    /// Runs for `time`, and calls `look` after whatever happens.
    pub(crate) fn run(&mut self, time: Duration, mut look: impl FnMut(&World)) {
        let end = self.now + time;
        while let Some(Reverse((at, number))) = self.events.peek().copied() {
            if at > end {
                break;
            }
            self.events.pop();
            // What lasts too long does so until the moment before something changes it.
            self.now = at;
            look(self);
            let event = self.bodies.remove(&number).unwrap();
            self.handle(event);
            look(self);
        }
        self.now = end;
        look(self);
    }

    pub(crate) fn role(&self, node: usize) -> Option<Role> {
        self.nodes[node].router.as_ref().map(Router::role)
    }

    /// Alive, not frozen and leading.
    pub(crate) fn leads(&self, node: usize) -> bool {
        let node = &self.nodes[node];
        !node.frozen && node.answers && node.router.is_some()
    }

    pub(crate) fn leaders(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.leads(*node)).collect()
    }

    /// Whether adverts of one reach the other.
    pub(crate) fn hears(&self, from: usize, to: usize) -> bool {
        (0..self.links.len()).any(|link| self.reaches(from, to, link))
    }

    /// Whether they hear each other on one link both ways.
    pub(crate) fn mutual(&self, one: usize, other: usize) -> bool {
        (0..self.links.len()).any(|link| self.reaches(one, other, link) && self.reaches(other, one, link))
    }

    pub(crate) fn reaches(&self, from: usize, to: usize, link: usize) -> bool {
        !self.cuts.contains(&(from, to, link)) && self.nodes[from].up[link] && self.nodes[to].up[link]
    }

    pub(crate) fn plan(&mut self, at: Instant, event: Event) {
        self.bodies.insert(self.next, event);
        self.events.push(Reverse((at, self.next)));
        self.next += 1;
    }

    pub(crate) fn random(&mut self, most: Duration) -> Duration {
        Duration::from_nanos(self.random.u64(0..=u64::try_from(most.as_nanos()).unwrap()))
    }

    pub(crate) fn say(&self, node: usize, what: impl FnOnce() -> String) {
        if self.loud {
            eprintln!("{:>12.6}s node{node} {}", (self.now - self.begun).as_secs_f64(), what());
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Wake { node, life } => {
                // One that was replaced by an earlier one is void, or each would plan another.
                let is_planned = self.nodes[node].planned == Some(self.now);
                if self.nodes[node].life == life && !self.nodes[node].frozen && is_planned {
                    self.nodes[node].planned = None;
                    self.turn(node, |router, now| router.handle_timer(now));
                }
            }
            Event::Resume { node, life, frozen } => {
                if self.nodes[node].life == life {
                    self.resume(node, frozen);
                }
            }
            Event::Arrive { to, link, source, message } => self.arrive(to, link, source, message),
            Event::Announced { by, family } => self.neighbours[family] = Some(by),
            Event::Clear { node, life } => {
                if self.nodes[node].life == life && !self.nodes[node].frozen {
                    self.turn(node, |router, now| router.handle_clear(now));
                }
            }
            Event::Fault(fault) => self.apply(fault),
            Event::Beat { node, life } => self.beat(node, life),
            Event::Beaten { from, to, life, change } => self.beaten(from, to, life, change),
            Event::Say { from, to, said } => self.send_said(from, to, said),
            Event::Said { from, to, said } => self.hear_said(from, to, said),
        }
    }

    fn arrive(&mut self, to: usize, link: usize, source: IpAddr, message: Vec<u8>) {
        let node = &mut self.nodes[to];
        if node.router.is_none() || !node.up[link] {
            return;
        }
        if node.frozen {
            if node.inbox.len() < INBOX {
                node.inbox.push((link, source, message));
            }
            return;
        }
        let advert = self.decode(link, source, &message);
        let link = self.links[link].clone();
        self.say(to, || format!("hears {} from {source}", advert.priority));
        self.turn(to, |router, now| {
            let _ = router.handle_advert(&link, source, &advert, now);
        });
    }

    fn decode(&self, link: usize, source: IpAddr, message: &[u8]) -> Advert {
        let destination = destination(&self.links[link]);
        decode(&Received { source, destination, hop_limit: HOP_LIMIT, message }).unwrap()
    }

    /// Notices the pause and drains the sockets before any timer, as the driver does.
    fn resume(&mut self, node: usize, frozen: Duration) {
        self.nodes[node].frozen = false;
        self.say(node, || "resumes".to_owned());
        if frozen > self.lab.interval.duration() * 2 {
            self.turn(node, |router, now| router.handle_stall(frozen, now));
        }
        for (link, source, message) in std::mem::take(&mut self.nodes[node].inbox) {
            self.arrive(node, link, source, message);
        }
        self.turn(node, |router, now| {
            router.handle_clear(now);
            router.handle_timer(now);
        });
    }

    pub(crate) fn turn(&mut self, node: usize, act: impl FnOnce(&mut Router, Instant)) {
        let now = self.now;
        let Some(router) = &mut self.nodes[node].router else { return };
        act(router, now);
        while let Some(action) = self.nodes[node].router.as_mut().and_then(Router::poll_action) {
            self.act(node, action);
        }
        self.announce(node);
        self.publish(node);
        let state = &self.nodes[node];
        let times = [state.router.as_ref().and_then(Router::poll_timeout), state.announcer.poll_timeout()];
        if let Some(due) = times.into_iter().flatten().min() {
            let at = due.max(now) + self.random(self.weather.lateness);
            // An earlier wake-up than planned; a later one is harmless.
            if self.nodes[node].planned.is_none_or(|planned| due < planned || planned < now) {
                self.nodes[node].planned = Some(at);
                let life = self.nodes[node].life;
                self.plan(at, Event::Wake { node, life });
            }
        }
    }

    fn act(&mut self, node: usize, action: Action) {
        let now = self.now;
        match action {
            Action::SendAdvert { link, advert } => self.send(node, &link, &advert),
            Action::Lead { reason } => {
                self.say(node, || format!("LEADS: {reason:?}"));
                self.nodes[node].answers = true;
                self.nodes[node].announcer.handle_announce(now);
            }
            Action::Refuse { .. } => self.refused += 1,
            Action::Announce => self.nodes[node].announcer.handle_announce(now),
            Action::Retire { reason } => {
                self.say(node, || format!("RETIRES: {reason:?}"));
                self.nodes[node].answers = false;
                self.nodes[node].announcer.handle_retire();
            }
        }
    }

    fn announce(&mut self, node: usize) {
        let now = self.now;
        while let Some(vip) = self.nodes[node].announcer.poll_announcement(now) {
            let family = usize::from(vip.address.is_ipv6());
            let at = now + self.random(self.weather.delay);
            self.plan(at, Event::Announced { by: node, family });
        }
    }

    fn send(&mut self, node: usize, link: &Link, advert: &Advert) {
        let source = Lab::address(node, link);
        let message = advert.encode(source, destination(link));
        let link = self.links.iter().position(|known| known == link).unwrap();
        self.say(node, || format!("sends {} from {source}", advert.priority));
        for to in (0..self.nodes.len()).filter(|to| *to != node) {
            if !self.reaches(node, to, link) {
                continue;
            }
            if self.random.u32(0..1000) < self.weather.loss {
                self.lost[node][to] += 1;
                continue;
            }
            let at = self.now + self.random(self.weather.delay);
            self.plan(at, Event::Arrive { to, link, source, message: message.clone() });
        }
    }

    fn apply(&mut self, fault: Fault) {
        if self.loud {
            eprintln!("{:>12.6}s {fault:?}", (self.now - self.begun).as_secs_f64());
        }
        match fault {
            Fault::Start { node } => self.start(node),
            Fault::Kill { node, guard } => self.kill(node, guard),
            Fault::Freeze { node, time } => {
                if self.nodes[node].router.is_some() && !self.nodes[node].frozen {
                    self.nodes[node].frozen = true;
                    let life = self.nodes[node].life;
                    self.plan(self.now + time, Event::Resume { node, life, frozen: time });
                }
            }
            Fault::Stop { node } => {
                if !self.nodes[node].frozen {
                    self.turn(node, |router, now| router.handle_stop(now));
                }
            }
            Fault::Cut { from, to, link } => {
                for each in 0..self.links.len() {
                    if link.is_none_or(|link| link == each) {
                        self.cuts.insert((from, to, each));
                    }
                }
            }
            Fault::CutTalk { one, other } => {
                self.talk.cuts.extend([(one, other), (other, one)]);
            }
            Fault::Rogue { link, source, priority } => self.rogue(link, source, priority),
            Fault::Heal => {
                self.cuts.clear();
                self.talk.cuts.clear();
            }
            Fault::Link { node, link, up } => {
                self.nodes[node].up[link] = up;
                let address = up.then(|| Lab::address(node, &self.links[link]));
                let link = self.links[link].clone();
                self.turn(node, |router, now| router.handle_link(&link, address, now));
            }
            Fault::Fitness { node, fitness } => {
                self.nodes[node].fitness = Some(fitness.clone());
                self.turn(node, |router, now| router.handle_fitness(fitness, now));
            }
        }
    }

    fn start(&mut self, node: usize) {
        if self.nodes[node].router.as_ref().is_some_and(|router| !router.is_stopped()) {
            return;
        }
        let config = self.lab.config(node);
        let spec = RouterSpec::new(&config, &self.lab.group());
        let life = self.nodes[node].life + 1;
        let state = &mut self.nodes[node];
        state.life = life;
        state.frozen = false;
        state.planned = None;
        let mut router = Router::new(spec, self.now);
        router.set_first_question(self.random.u64(..));
        state.router = Some(router);
        if self.lab.keys {
            self.talk.start(node);
            self.plan(self.now, Event::Beat { node, life });
        }
        let (links, up) = (self.links.clone(), self.nodes[node].up.clone());
        let fitness = self.nodes[node].fitness.clone();
        self.turn(node, |router, now| {
            if let Some(fitness) = fitness {
                router.handle_fitness(fitness, now);
            }
            for (link, up) in links.iter().zip(up) {
                router.handle_link(link, up.then(|| Lab::address(node, link)), now);
            }
        });
        self.plan(self.now + Duration::from_millis(300), Event::Clear { node, life });
    }

    /// The network has no reason to lose or delay what is sent from nearby.
    fn rogue(&mut self, link: usize, source: IpAddr, priority: u8) {
        let listed = self.lab.group().vips_on(&self.links[link]).collect();
        let advert = Advert {
            vrid: self.lab.group().vrid().unwrap(),
            priority,
            interval: self.lab.interval,
            addresses: listed,
            checksum: ChecksumForm::PseudoHeader,
        };
        let message = advert.encode(source, destination(&self.links[link]));
        for to in 0..self.nodes.len() {
            self.plan(self.now, Event::Arrive { to, link, source, message: message.clone() });
        }
    }

    fn kill(&mut self, node: usize, guard: bool) {
        let state = &mut self.nodes[node];
        let leads = state.answers;
        state.answers = false;
        state.life += 1;
        state.announcer.handle_retire();
        state.inbox.clear();
        state.frozen = false;
        let Some(router) = state.router.take() else { return };
        if guard && leads {
            for link in self.links.clone() {
                if let Some(advert) = router.advert(&link, 0) {
                    self.send(node, &link, &advert);
                }
            }
        }
    }
}

fn destination(link: &Link) -> IpAddr {
    match link.family {
        fulcrum_config::Family::Ipv4 => MULTICAST_IPV4.into(),
        fulcrum_config::Family::Ipv6 => MULTICAST_IPV6.into(),
    }
}

/// A fitness that a failed track leaves.
pub(crate) fn last_resort() -> Fitness {
    Fitness::LastResort(Reason::TrackFailed("gateway".to_owned()))
}

/// The fitness of a node whose tracks are all good.
pub(crate) fn fit(priority: u8) -> Fitness {
    Fitness::Fit(Priority::new(priority).unwrap())
}
