//! A leader, its kernel and a peer, whose hypervisor stops the leader's clock together with the leader.

use super::*;
use crate::fence::{Heartbeat, Order, Permit};
use proptest::prelude::*;
use std::collections::VecDeque;

const SECOND: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(1);
const BEAT: Duration = Duration::from_millis(50);
/// One way.
const DELAY: Duration = Duration::from_millis(1);

/// What happens, in true time.
#[derive(Debug, Clone)]
struct Story {
    /// The guest stands still from then on, for so long, and its clock with it.
    pause: Option<(Duration, Duration)>,
    /// The link to the peer is cut from then on, for so long.
    cut: Option<(Duration, Duration)>,
    /// The peer died before all this.
    dead: bool,
    /// It takes so long for each echo.
    slow: Duration,
    /// How late the leader's loop runs, at most.
    late: Duration,
    /// Of a hundred heartbeats, so many are lost.
    loss: u32,
}

const CALM: Story =
    Story { pause: None, cut: None, dead: false, slow: Duration::ZERO, late: Duration::ZERO, loss: 0 };

/// What came of it, in the leader's own time.
#[derive(Debug, Default, PartialEq)]
struct Ending {
    /// How long the kernel let it speak while the peer led.
    both: Duration,
    /// How long it did not although nobody else led.
    none: Duration,
    /// How long it was silent while the peer led.
    silent: Duration,
}

struct World {
    story: Story,
    random: fastrand::Rng,
    /// The leader's own clock.
    clock: Instant,
    witnesses: Witnesses,
    heartbeat: Heartbeat,
    /// What its kernel knows.
    until: Option<Instant>,
    next_turn: Instant,
    next_beat: Instant,
    /// On the way, each with when it arrives in true time.
    beats: VecDeque<(Duration, Instant)>,
    echoes: VecDeque<(Duration, Echo)>,
    /// The last that arrived.
    echo: Option<Echo>,
    /// The last advert that the peer heard.
    advert: Duration,
    peer_leads: bool,
    ending: Ending,
}

impl World {
    fn new(story: Story, seed: u64) -> Self {
        let clock = start();
        Self {
            story,
            random: fastrand::Rng::with_seed(seed),
            clock,
            witnesses: Witnesses::default(),
            heartbeat: Heartbeat::default(),
            until: None,
            next_turn: clock,
            next_beat: clock,
            beats: VecDeque::new(),
            echoes: VecDeque::new(),
            echo: None,
            advert: Duration::ZERO,
            peer_leads: false,
            ending: Ending::default(),
        }
    }

    fn is_within(at: Duration, span: Option<(Duration, Duration)>) -> bool {
        span.is_some_and(|(begin, time)| at >= begin && at < begin + time)
    }

    /// Adverts reach the peer until it leads. From then on neither hears the other's: the worst case, where nothing but
    /// the echo tells.
    fn run(mut self, time: Duration) -> Ending {
        let mut at = Duration::ZERO;
        while at < time {
            if !self.story.dead {
                self.peer(at);
            }
            if !Self::is_within(at, self.story.pause) {
                self.leader(at);
                let speaks = self.until.is_some_and(|until| until > self.clock);
                match (speaks, self.peer_leads) {
                    (true, true) => self.ending.both += STEP,
                    (false, false) => self.ending.none += STEP,
                    (false, true) => self.ending.silent += STEP,
                    (true, false) => {}
                }
                self.clock += STEP;
            }
            at += STEP;
        }
        self.ending
    }

    fn peer(&mut self, at: Duration) {
        self.peer_leads |= at > self.advert + PATIENCE;
        while let Some((_, sent)) = pop_arrived(&mut self.beats, at) {
            let is_lost = self.random.u32(0..100) < self.story.loss;
            if !is_lost && !Self::is_within(at, self.story.cut) {
                let echo = echo(sent, Some(self.peer_leads));
                self.echoes.push_back((at + self.story.slow + DELAY, echo));
            }
        }
    }

    fn leader(&mut self, at: Duration) {
        // What came during the pause has waited in its sockets.
        while let Some((_, echo)) = pop_arrived(&mut self.echoes, at) {
            self.echo = Some(echo);
            self.turn();
        }
        if self.clock >= self.next_beat {
            self.next_beat = self.clock + BEAT;
            self.beats.push_back((at + DELAY, self.clock));
        }
        if self.clock >= self.next_turn {
            let late = u64::try_from(self.story.late.as_millis()).unwrap();
            self.next_turn = self.clock + INTERVAL + Duration::from_millis(self.random.u64(0..=late));
            self.advert = at;
            self.turn();
        }
    }

    fn turn(&mut self) {
        let echoes: Echoes = self.echo.iter().map(|echo| (NodeName::new("b"), echo.clone())).collect();
        let permit = Permit::Leading { interval: INTERVAL, patience: PATIENCE, most: None, offered: false };
        let opinion = self.witnesses.judge(permit.lead(), &group(), echoes.iter(), self.clock);
        if let Some(order) = self.heartbeat.poll_order(permit.witnessed(opinion, self.clock), self.clock) {
            self.heartbeat.handle_told(order);
            self.until = match order {
                Order::Leading(until) | Order::Draining(until) => Some(until),
                Order::Silent => None,
            };
        }
    }
}

fn pop_arrived<T>(on_the_way: &mut VecDeque<(Duration, T)>, at: Duration) -> Option<(Duration, T)> {
    on_the_way.front().is_some_and(|(arrives, _)| *arrives <= at).then(|| on_the_way.pop_front())?
}

fn milliseconds(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

/// For all that the guest knows no time has passed.
#[test]
fn a_guest_whose_clock_stood_still_is_silent_from_the_first_echo_on() {
    for begins in 0..200 {
        let begin = SECOND + Duration::from_millis(begins);
        let story = Story { pause: Some((begin, SECOND * 5)), ..CALM };
        // As long as adverts need at most to settle who leads.
        let ending = World::new(story, 0).run(begin + SECOND * 5 + PATIENCE);
        assert!(ending.both <= BEAT + DELAY * 2 + STEP, "paused at {begin:?}: {ending:?}");
        assert!(ending.silent >= PATIENCE - BEAT - DELAY * 2 - STEP, "paused at {begin:?}: {ending:?}");
        assert_eq!(ending.none, Duration::ZERO, "paused at {begin:?}");
    }
}

proptest! {
    #[test]
    fn whatever_the_pause_a_guest_does_not_speak_on_beside_the_new_leader(
        begin in milliseconds(500..2500),
        time in milliseconds(400..10_000),
        slow in milliseconds(0..40),
        seed: u64,
    ) {
        let story = Story { pause: Some((begin, time)), slow, ..CALM };
        let ending = World::new(story, seed).run(begin + time + PATIENCE);
        prop_assert!(ending.both <= BEAT + slow + DELAY * 2 + STEP, "{:?}", ending);
        prop_assert_eq!(ending.none, Duration::ZERO);
    }

    #[test]
    fn a_leader_speaks_on_whatever_becomes_of_its_link_and_peer(
        cut in (milliseconds(0..1500), milliseconds(0..3000)),
        slow in milliseconds(0..1000),
        late in milliseconds(0..50),
        loss in 0_u32..=100,
        dead: bool,
        seed: u64,
    ) {
        let story = Story { pause: None, cut: Some(cut), dead, slow, late, loss };
        prop_assert_eq!(World::new(story, seed).run(SECOND * 4), Ending::default());
    }

    #[test]
    fn a_guest_that_comes_back_and_has_no_living_peer_speaks_on(
        begin in milliseconds(500..1500),
        time in milliseconds(1..3000),
        seed: u64,
    ) {
        let story = Story { pause: Some((begin, time)), dead: true, ..CALM };
        prop_assert_eq!(World::new(story, seed).run(begin + time + SECOND * 2), Ending::default());
    }

    /// Both think that they lead, and only the link tells: the leader is not silent for ever.
    #[test]
    fn a_guest_that_leads_on_for_all_that_its_adverts_say_speaks_again(
        begin in milliseconds(500..1500),
        time in milliseconds(400..3000),
        seed: u64,
    ) {
        let story = Story { pause: Some((begin, time)), ..CALM };
        let ending = World::new(story, seed).run(begin + time + SECOND * 2);
        prop_assert!(ending.silent <= PATIENCE + INTERVAL + STEP, "{:?}", ending);
    }
}
