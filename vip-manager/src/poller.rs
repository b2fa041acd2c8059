//! Waits for any of a changing set of sockets, or for a deadline, with the timer's full resolution.
//!
//! All sockets stand in one epoll set, which is the only descriptor that the runtime knows. Its own timers
//! round to whole milliseconds; a timerfd does not.

use rustix::event::{Timespec, epoll};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;

/// Events taken in one round; more stay ready for the next.
const EVENTS: usize = 64;
/// The timer's token.
const TIMER: u64 = u64::MAX;

pub(crate) struct Poller {
    epoll: AsyncFd<OwnedFd>,
    timer: OwnedFd,
}

impl Poller {
    /// Must be called inside a runtime.
    pub(crate) fn new() -> io::Result<Self> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        epoll::add(&set, &timer, epoll::EventData::new_u64(TIMER), epoll::EventFlags::IN)?;
        Ok(Self { epoll: crate::sys::watch(set)?, timer })
    }

    /// Adds a socket; `token` comes back from [`Poller::ready`]. A socket that is closed leaves by itself.
    pub(crate) fn add(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token);
        Ok(epoll::add(self.epoll.get_ref(), socket, data, epoll::EventFlags::IN)?)
    }

    /// Waits until a socket is readable or `deadline` has come. Cancel safe.
    pub(crate) async fn wait(&self, now: Instant, deadline: Option<Instant>) -> io::Result<()> {
        self.arm(now, deadline)?;
        self.epoll.readable().await?.clear_ready();
        Ok(())
    }

    /// The tokens of the sockets that are readable now, without waiting.
    pub(crate) fn ready(&self, tokens: &mut Vec<u64>) -> io::Result<()> {
        tokens.clear();
        let mut events: [std::mem::MaybeUninit<epoll::Event>; EVENTS] =
            [std::mem::MaybeUninit::uninit(); EVENTS];
        let (ready, _) = epoll::wait(self.epoll.get_ref(), &mut events, Some(&Timespec::default()))?;
        for event in ready {
            match event.data.u64() {
                TIMER => drop(rustix::io::read(&self.timer, &mut [0u8; 8])),
                token => tokens.push(token),
            }
        }
        Ok(())
    }

    fn arm(&self, now: Instant, deadline: Option<Instant>) -> io::Result<()> {
        // Zero would disarm the timer: a deadline that has passed fires at once instead.
        let wait = deadline.map_or(Duration::ZERO, |deadline| {
            deadline.saturating_duration_since(now).max(Duration::from_nanos(1))
        });
        let value = Timespec::try_from(wait).map_err(|_| io::ErrorKind::InvalidInput)?;
        let interval = Timespec::default();
        timerfd_settime(
            &self.timer,
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: interval, it_value: value },
        )?;
        Ok(())
    }
}
