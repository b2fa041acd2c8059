//! Reading: everything that came in, within bounds.

use super::{Engine, GUARD, KINDS, MONITOR, ROUTES, SEGMENT, VIRTUAL, VRRP};
use crate::advert;
use crate::driver::link::count;
use crate::netlink::Change;
use fulcrum_config::Link;
use std::time::Instant;

/// Packets read in one turn; what is beyond waits until adverts that are due were sent.
const TURN_PACKETS: u32 = 2048;
/// Packets read from one socket before the next has its turn.
const SOCKET_PACKETS: u32 = 64;
/// Turns that read all they may before the loop sleeps for a moment, so that a flood can't take a whole CPU
/// away from everything that has no real-time scheduling.
const BUSY_TURNS: u32 = 4;

impl Engine {
    pub(super) fn read(&mut self, clock: &impl Fn() -> Instant) {
        let mut budget = TURN_PACKETS;
        let mut tokens = std::mem::take(&mut self.tokens);
        while budget > 0 && self.poller.ready(&mut tokens).is_ok() && !tokens.is_empty() {
            let now = clock();
            for token in &tokens {
                let read = match token.checked_rem(KINDS).unwrap_or(0) {
                    MONITOR => self.read_monitor(now),
                    GUARD => self.read_guard(now),
                    ROUTES => self.read_routes(now),
                    kind => self.read_link(token / KINDS, kind, now),
                };
                if matches!(token.checked_rem(KINDS), Some(MONITOR | GUARD | ROUTES)) {
                    self.wake();
                }
                budget = budget.saturating_sub(read.max(1));
            }
        }
        self.tokens = tokens;
        if budget > 0 {
            self.busy_turns = 0;
            return;
        }
        count(&mut self.counters, "turns_full");
        self.busy_turns = self.busy_turns.saturating_add(1);
        if self.busy_turns > BUSY_TURNS {
            crate::driver::pause();
        }
    }

    fn read_link(&mut self, number: u64, kind: u64, now: Instant) -> u32 {
        let link = match kind {
            VIRTUAL => self.devices.link_of(number).cloned(),
            _ => self.links.values().find(|driver| driver.number == number).map(|d| d.link.clone()),
        };
        let Some(link) = link else { return 0 };
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut read = 0;
        while read < SOCKET_PACKETS {
            let more = match kind {
                VRRP => self.read_advert(&link, &mut buffer, now),
                SEGMENT => self.read_segment(&link, &mut buffer),
                _ => self.read_frame(&link, (kind == VIRTUAL).then_some(number), &mut buffer, now),
            };
            if !more {
                break;
            }
            read = read.saturating_add(1);
        }
        self.buffer = buffer;
        read
    }

    /// Reads one advert, and feeds it to its group. Returns whether there was one.
    fn read_advert(&mut self, link: &Link, buffer: &mut [u8], now: Instant) -> bool {
        let Some(driver) = self.links.get_mut(link) else { return false };
        let Some(open) = &driver.open else { return false };
        let received = match open.vrrp.receive(buffer) {
            Ok(Some(Ok(received))) => received,
            Ok(Some(Err(refusal))) => {
                driver.refuse(refusal);
                return true;
            }
            Ok(None) => return false,
            Err(_) => {
                driver.count("receive_errors");
                return false;
            }
        };
        let advert = match advert::decode(&received) {
            Ok(advert) => advert,
            Err(refusal) => {
                driver.refuse(refusal);
                return true;
            }
        };
        driver.count("adverts_received");
        if let Some(open) = &mut driver.open {
            open.senders.read();
        }
        let vrid = advert.vrid;
        let mut groups = self.groups.values_mut();
        let Some(group) = groups.find(|g| g.group.vrid() == Some(vrid) && g.destinations.contains_key(link))
        else {
            driver.count("vrid_of_others");
            return true;
        };
        match group.router.handle_advert(link, received.source, &advert, now) {
            Ok(noted) => driver.note(noted),
            Err(refusal) => driver.refuse(refusal),
        }
        true
    }

    fn read_monitor(&mut self, now: Instant) -> u32 {
        let mut read = 0;
        while read < SOCKET_PACKETS {
            read = read.saturating_add(1);
            match self.monitor.read() {
                Change::Messages(messages) => messages.iter().for_each(|m| self.view.handle_message(m)),
                Change::Overflow => {
                    count(&mut self.counters, "netlink_overflows");
                    tracing::warn!(
                        "the kernel told of more changes than could be read; reading everything anew"
                    );
                    self.resynchronize(now);
                    break;
                }
                Change::Nothing => break,
            }
        }
        self.update_links(now);
        read
    }
}
