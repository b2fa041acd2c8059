//! What this node tracks for a group: failures count at once, recovery after a while (damping).

use crate::border::{Reason, TrackObserved};
use crate::router::Fitness;
use fulcrum_config::{Priority, Track, TrackEffect};
use std::time::{Duration, Instant};

/// The tracks of one group.
#[derive(Debug)]
pub struct Tracks {
    tracks: Vec<Tracked>,
    damping: Duration,
}

#[derive(Debug)]
struct Tracked {
    track: Track,
    state: State,
    /// It was good at some time: until then there is nothing to forgive. A node that starts fails its own
    /// tracks for a moment, and must not enter with a handicap.
    proven: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    Failed,
    /// Good again, and believed at that time.
    Recovering(Instant),
}

impl Tracks {
    /// All count as good until told otherwise.
    #[must_use]
    pub fn new(tracks: &[Track], damping: Duration) -> Self {
        let fresh = |track: &Track| Tracked { track: track.clone(), state: State::Good, proven: false };
        Self { tracks: tracks.iter().map(fresh).collect(), damping }
    }

    /// Configured anew: what is known of tracks that stay is kept.
    pub fn handle_reconfigured(&mut self, tracks: &[Track], damping: Duration) {
        let known = |track: &Track| {
            let before = self.tracks.iter().find(|tracked| same_subject(&tracked.track, track));
            let (state, proven) = before.map_or((State::Good, false), |it| (it.state, it.proven));
            Tracked { track: track.clone(), state, proven }
        };
        *self = Self { tracks: tracks.iter().map(known).collect(), damping };
    }

    /// Every track for which `is` holds is good or bad now.
    pub fn handle(&mut self, is: impl Fn(&Track) -> bool, good: bool, now: Instant) {
        for tracked in self.tracks.iter_mut().filter(|tracked| is(&tracked.track)) {
            tracked.state = match (tracked.state, good) {
                (_, false) => State::Failed,
                (State::Failed, true) if !tracked.proven => State::Good,
                (State::Failed, true) => now.checked_add(self.damping).map_or(State::Good, State::Recovering),
                (state @ (State::Good | State::Recovering(_)), true) => state,
            };
            tracked.proven |= good;
        }
        self.handle_timer(now);
    }

    /// Forgives what has been good for long enough.
    pub fn handle_timer(&mut self, now: Instant) {
        for tracked in &mut self.tracks {
            if matches!(tracked.state, State::Recovering(until) if until <= now) {
                tracked.state = State::Good;
            }
        }
    }

    /// When to call [`Tracks::handle_timer`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let untils = self.tracks.iter().filter_map(|tracked| match tracked.state {
            State::Recovering(until) => Some(until),
            State::Good | State::Failed => None,
        });
        untils.min()
    }

    /// What the tracks leave of `priority`.
    #[must_use]
    pub fn fitness(&self, priority: Priority) -> Fitness {
        let mut left = priority;
        for tracked in self.tracks.iter().filter(|tracked| tracked.state != State::Good) {
            match effect(&tracked.track) {
                TrackEffect::Ineligible => {
                    return Fitness::LastResort(Reason::TrackFailed(what(&tracked.track)));
                }
                TrackEffect::Lower(amount) => left = left.lowered(amount),
            }
        }
        Fitness::Fit(left)
    }

    /// For people.
    #[must_use]
    pub fn observed(&self) -> Vec<TrackObserved> {
        let observed = |tracked: &Tracked| TrackObserved {
            what: what(&tracked.track),
            good: tracked.state == State::Good,
        };
        self.tracks.iter().map(observed).collect()
    }
}

fn effect(track: &Track) -> TrackEffect {
    match track {
        Track::Link { effect, .. } | Track::Gateway { effect, .. } | Track::DataPlane { effect } => *effect,
    }
}

fn what(track: &Track) -> String {
    match track {
        Track::Link { interface, .. } => format!("link {interface}"),
        Track::Gateway { address, interface, .. } => format!("gateway {address} on {interface}"),
        Track::DataPlane { .. } => "data plane".to_owned(),
    }
}

fn same_subject(one: &Track, other: &Track) -> bool {
    what(one) == what(other)
}

#[cfg(test)]
mod tests;
