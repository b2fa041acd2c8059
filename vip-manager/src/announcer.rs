//! When a leader tells neighbours and switches where its VIPs are: gratuitous ARP and unsolicited NA.
//!
//! A burst at takeover, when a rival was seen, after a partition healed and when a link comes up: at once,
//! again after an advert interval (a rival's last word may still be under way), then evenly spaced. After
//! that ever more rarely, up to a refresh well below the 300 s after which switches forget. So neighbours
//! that believed somebody else, whom this node can't hear, are put right in a time that is in proportion.
//!
//! A rival that stays makes bursts begin again, but ever more rarely too.

use fulcrum_config::{AdvertInterval, Timing, Vip};
use std::time::{Duration, Instant};

/// Announcements sent without a pause; more would overrun a socket's buffer.
const STEP: usize = 128;
/// The pause between two steps.
const PAUSE: Duration = Duration::from_millis(1);

/// The schedule of one group's announcements.
#[derive(Debug, Clone)]
pub struct Announcer {
    burst: u32,
    first_gap: Duration,
    spacing: Duration,
    refresh: Duration,
    vips: Vec<Vip>,
    round: Option<Round>,
    /// When the burst began, and how often it began anew before it was over.
    begun: Option<(Instant, u32)>,
}

/// One announcement of every VIP.
#[derive(Debug, Clone)]
struct Round {
    /// When it began or begins.
    at: Instant,
    /// When to go on.
    due: Instant,
    /// The next VIP.
    next: usize,
    /// Its place in the burst; from `burst` on it is a refresh.
    number: u32,
}

impl Announcer {
    /// A silent one.
    #[must_use]
    pub fn new(timing: &Timing, interval: AdvertInterval) -> Self {
        Self {
            burst: timing.announce_burst,
            first_gap: interval.duration().min(timing.announce_spacing),
            spacing: timing.announce_spacing,
            refresh: timing.announce_refresh,
            vips: Vec::new(),
            round: None,
            begun: None,
        }
    }

    /// What to announce from now on: the VIPs that this node answers for. New ones are announced at once if
    /// it leads.
    pub fn handle_vips(&mut self, vips: Vec<Vip>, now: Instant) {
        let new = vips.iter().any(|vip| !self.vips.contains(vip));
        self.vips = vips;
        if new && self.round.is_some() {
            self.handle_announce(now);
        }
    }

    /// The timing was configured anew; what is under way goes on.
    pub fn handle_reconfigured(&mut self, timing: &Timing, interval: AdvertInterval) {
        let (vips, round) = (std::mem::take(&mut self.vips), self.round.take());
        *self = Self { vips, round, begun: self.begun, ..Self::new(timing, interval) };
    }

    /// This node leads, or has to say so again: begins a burst.
    pub fn handle_announce(&mut self, now: Instant) {
        let bursting = self.round.as_ref().is_some_and(|round| round.number < self.burst);
        let times = match self.begun {
            Some((begun, times)) if bursting => {
                if now < after(begun, self.first_gap.saturating_mul(2_u32.saturating_pow(times))) {
                    return;
                }
                times.saturating_add(1)
            }
            Some(_) | None => 0,
        };
        self.begun = Some((now, times));
        self.round = Some(Round { at: now, due: now, next: 0, number: 0 });
    }

    /// This node leads no longer: not one more.
    pub fn handle_retire(&mut self) {
        self.round = None;
        self.begun = None;
    }

    /// The next VIP to announce now, if any. Ask until there is none.
    pub fn poll_announcement(&mut self, now: Instant) -> Option<Vip> {
        let round = self.round.as_mut()?;
        if now < round.due {
            return None;
        }
        if let Some(vip) = self.vips.get(round.next) {
            round.next = round.next.saturating_add(1);
            if round.next.is_multiple_of(STEP) {
                round.due = after(now, PAUSE);
            }
            return Some(vip.clone());
        }
        let number = round.number.saturating_add(1);
        let gap = match number {
            1 if number < self.burst => self.first_gap,
            number if number < self.burst => self.spacing,
            number => {
                let tail = number.saturating_sub(self.burst).saturating_add(1);
                self.spacing.saturating_mul(2_u32.saturating_pow(tail)).min(self.refresh)
            }
        };
        // In step with the last round; after a pause of this process, from now on.
        let at = after(round.at, gap).max(after(now, gap.min(self.first_gap)));
        *round = Round { at, due: at, next: 0, number };
        None
    }

    /// When to ask [`Announcer::poll_announcement`] again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.round.as_ref().map(|round| round.due)
    }
}

fn after(instant: Instant, wait: Duration) -> Instant {
    instant.checked_add(wait).unwrap_or(instant)
}

#[cfg(test)]
mod tests;
