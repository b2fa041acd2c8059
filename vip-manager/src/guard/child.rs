//! The guard's own side: a loop that holds everything it needs beforehand, and a thread that only waits for
//! the daemon's death.

use super::message::{Fired, MAX_BYTES, Orders, ToGuard};
use crate::netlink::{Netlink, delete_address, device_delete};
use crate::sys;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send, sendto};
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Time between the two rounds of resignations: one lost frame must not cost a down interval.
const SECOND_ROUND_AFTER: Duration = Duration::from_millis(4);

/// Above the daemon's thread, which closes thousands of sockets while it dies.
const PRIORITY: i32 = 2;

/// The guard's entry: what a program does when it is started as [`super::GuardCommand`] says. Its standard
/// input is the channel to the daemon. Returns when the daemon is gone and everything is done.
#[must_use]
pub fn guard_main() -> ExitCode {
    prepare();
    let stdin = io::stdin();
    match Child::new(stdin.as_fd()).map(Child::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the guard can't work");
            ExitCode::FAILURE
        }
    }
}

/// Makes this process one that outlives the daemon whatever ends that: a signal to the terminal's or the
/// service's processes, memory that runs out, a busy machine.
fn prepare() {
    sys::ignore_group_signals();
    sys::set_process_name(c"fulcrum-guard");
    // Each of these needs a capability that may be missing; the guard works without.
    let _ = rustix::process::setsid();
    spare_from_want_of_memory();
    let _ = sys::lock_memory();
    let _ = sys::schedule_round_robin(PRIORITY);
}

/// When memory runs out others go first, the daemon among them: as far down as this process may go.
fn spare_from_want_of_memory() {
    let steps = (-10..=0).map(|step: i32| step.saturating_mul(100));
    let _ =
        steps.map(|score| std::fs::write("/proc/self/oom_score_adj", score.to_string())).find(Result::is_ok);
}

struct Group {
    orders: Orders,
    /// The requests that remove addresses and devices, ready to be sent.
    removal: Vec<Vec<u8>>,
}

struct Child<'a> {
    channel: BorrowedFd<'a>,
    netlink: Netlink,
    /// Readable once the daemon's thread is dead.
    death: Arc<OwnedFd>,
    senders: BTreeMap<u64, OwnedFd>,
    groups: BTreeMap<String, Group>,
    last_beat: Duration,
}

impl<'a> Child<'a> {
    fn new(channel: BorrowedFd<'a>) -> io::Result<Self> {
        Ok(Self {
            channel,
            netlink: Netlink::open()?,
            death: Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?),
            senders: BTreeMap::new(),
            groups: BTreeMap::new(),
            last_beat: monotonic(),
        })
    }

    fn run(mut self) {
        let mut buffer = vec![0; MAX_BYTES];
        loop {
            match self.look(&mut buffer, monotonic) {
                Some(due) => self.fire(due),
                None => return self.fire_all(),
            }
            self.wait();
        }
    }

    /// The groups whose peers have stopped waiting; `None` when the daemon is gone.
    fn look(&mut self, buffer: &mut [u8], clock: impl FnOnce() -> Duration) -> Option<Vec<String>> {
        // Before what the daemon has said is read: what it says from now on, while this process may not run, is no silence.
        let looked = clock();
        // All that the daemon has said comes first: after a pause of the whole machine its beats wait here.
        loop {
            match self.receive(buffer, RecvFlags::DONTWAIT) {
                Read::Message => {}
                Read::Nothing => break,
                Read::Gone => return None,
            }
        }
        if rustix::io::read(&*self.death, &mut [0; 8]).is_ok() {
            return None;
        }
        let silent_for = looked.saturating_sub(self.last_beat);
        let due = self.groups.iter().filter(|(_, group)| group.orders.down_interval <= silent_for);
        Some(due.map(|(name, _)| name.clone()).collect())
    }

    fn wait(&self) {
        let timeout = self.next_deadline().map(|deadline| {
            let wait = deadline.saturating_sub(monotonic()).saturating_add(Duration::from_micros(100));
            Timespec::try_from(wait).unwrap_or_default()
        });
        let mut descriptors =
            [PollFd::new(&self.channel, PollFlags::IN), PollFd::new(&*self.death, PollFlags::IN)];
        // Interrupted or not, the loop looks at everything again.
        let _ = poll(&mut descriptors, timeout.as_ref());
    }

    fn receive(&mut self, buffer: &mut [u8], flags: RecvFlags) -> Read {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(self.channel, &mut [IoSliceMut::new(buffer)], &mut control, flags);
        let length = match received {
            Ok(message) if message.bytes == 0 => return Read::Gone,
            Ok(message) => message.bytes,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Read::Nothing,
            Err(_) => return Read::Gone,
        };
        let mut sender = None;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(mut sockets) = message {
                sender = sockets.next();
            }
        }
        if let Some(message) = ToGuard::decode(buffer.get(..length).unwrap_or_default()) {
            self.handle_message(message, sender);
        }
        Read::Message
    }

    fn handle_message(&mut self, message: ToGuard, sender: Option<OwnedFd>) {
        match message {
            ToGuard::Beat { at_nanoseconds } => {
                self.last_beat = self.last_beat.max(Duration::from_nanos(at_nanoseconds));
            }
            ToGuard::Life => drop(sender.map(|memory| self.watch(memory))),
            ToGuard::Sender { number } => match sender {
                Some(sender) => drop(self.senders.insert(number, sender)),
                None => drop(self.senders.remove(&number)),
            },
            ToGuard::Group { name, orders: Some(orders) } => {
                let removal = self.removal(&orders);
                self.groups.insert(name, Group { orders, removal });
            }
            ToGuard::More { name, orders } => {
                let removal = self.removal(&orders);
                if let Some(group) = self.groups.get_mut(&name) {
                    group.orders.extend(orders);
                    group.removal.extend(removal);
                }
            }
            ToGuard::Group { name, orders: None } => drop(self.groups.remove(&name)),
        }
    }

    fn removal(&mut self, orders: &Orders) -> Vec<Vec<u8>> {
        let addresses = orders.addresses.iter().map(|(index, address)| delete_address(*index, *address));
        let devices = orders.devices.iter().map(|index| device_delete(*index));
        self.netlink.prepare(addresses.chain(devices).collect())
    }

    /// Waits for the death of the daemon's thread beside the loop; without, the end of the channel tells.
    fn watch(&self, memory: OwnedFd) {
        let death = Arc::clone(&self.death);
        let watching = std::thread::Builder::new().name("life".to_owned()).spawn(move || {
            let _ = sys::schedule_round_robin(PRIORITY);
            if matches!(sys::wait_for_death(&memory), Ok(true)) {
                let _ = rustix::io::write(&*death, &1u64.to_ne_bytes());
            }
        });
        drop(watching);
    }

    fn next_deadline(&self) -> Option<Duration> {
        let shortest = self.groups.values().map(|group| group.orders.down_interval).min()?;
        Some(self.last_beat.saturating_add(shortest))
    }

    /// Acts for the groups whose peers have stopped waiting, and says so to the daemon if it lives.
    fn fire(&mut self, due: Vec<String>) {
        if due.is_empty() {
            return;
        }
        let groups: Vec<Group> = due.iter().filter_map(|name| self.groups.remove(name)).collect();
        self.act(&groups);
        for group in due {
            if let Ok(bytes) = serde_json::to_vec(&Fired { group }) {
                let _ = send(self.channel, &bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            }
        }
    }

    fn fire_all(&mut self) {
        let groups: Vec<Group> = std::mem::take(&mut self.groups).into_values().collect();
        if !groups.is_empty() {
            self.act(&groups);
        }
    }

    #[allow(clippy::disallowed_methods, reason = "nothing else is left to do between the rounds")]
    fn act(&mut self, groups: &[Group]) {
        self.resign(groups);
        for requests in groups.iter().flat_map(|group| &group.removal) {
            self.netlink.send_prepared(requests);
        }
        std::thread::sleep(SECOND_ROUND_AFTER);
        self.resign(groups);
    }

    fn resign(&self, groups: &[Group]) {
        for resignation in groups.iter().flat_map(|group| &group.orders.resignations) {
            let Some(sender) = self.senders.get(&resignation.sender) else { continue };
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let destination: SocketAddr = match resignation.destination {
                IpAddr::V4(address) => (address, 0).into(),
                IpAddr::V6(address) => SocketAddrV6::new(address, 0, 0, resignation.interface).into(),
            };
            // A link that is gone has no one to resign to.
            let _ = sendto(sender, &resignation.bytes, flags, &destination);
        }
    }
}

enum Read {
    Message,
    Nothing,
    Gone,
}

#[cfg(test)]
mod tests;

fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default()
}
