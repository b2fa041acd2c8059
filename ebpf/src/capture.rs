//! What the forwarding plane does with packets, one by one: for `fulcrum capture`.
//!
//! It is another process that asks, by what the daemon pinned. The programs hand packets out until a moment that is said
//! again and again, so that whoever asks may be killed. `c/include/capture.h` says the same in C.

mod packet;

pub use packet::{Fate, Packet};

use crate::error::KernelError;
use crate::loader::{Array, Hash};
use crate::pins::Pins;
use crate::plane::layout::{Backend, Endpoint, VERSION};
use aya::maps::{Map, MapData, MapError, RingBuf};
use std::net::{IpAddr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};
use std::time::Duration;

/// The most bytes of a packet that are captured.
pub const MAX_BYTES: u32 = 2048;
/// The most packets a second; what is beyond that is counted.
pub const MAX_PACKETS: u32 = 10_000;
/// How long the programs go on by themselves.
const LASTS: Duration = Duration::from_secs(2);
/// One of these is captured at a time, in each network namespace.
const LOCK: &[u8] = b"fulcrum-capture";

/// As the programs read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub(crate) struct Asked {
    until: u64,
    interval: u64,
    tolerance: u64,
    length: u32,
    service: u32,
}

/// What the programs keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub(crate) struct State {
    arrival: u64,
    missed: u64,
}

const _: () = assert!(size_of::<Asked>() == 32);
const _: () = assert!(size_of::<State>() == 16);

/// A capture under way; dropped, it ends.
pub struct Capture {
    asked: Array<Asked>,
    state: Array<State>,
    ring: RingBuf<MapData>,
    endpoints: Hash<Endpoint, u32>,
    backends: Array<Backend>,
    /// What was missed before.
    missed: u64,
    length: u32,
    service: Option<u32>,
    /// A name that the kernel takes back when this process ends, however that happens.
    _lock: UnixListener,
}

impl Capture {
    /// Finds the plane of this network namespace, and prepares to capture `length` bytes of each packet.
    ///
    /// # Errors
    /// There is none, this user may not see it, or somebody else captures.
    pub fn open(length: u32) -> Result<Self, KernelError> {
        let pins = Pins::find()?;
        let lock = UnixAddress::from_abstract_name(LOCK).and_then(|name| UnixListener::bind_addr(&name));
        let lock = lock.map_err(|error| {
            if error.kind() != std::io::ErrorKind::AddrInUse {
                return KernelError::of("the capture can't be kept from others", &error);
            }
            KernelError::Failed {
                what: "somebody else captures here".to_owned(),
                why: "one can at a time; wait until that one ends".to_owned(),
            }
        })?;
        let state: Array<State> = opened(&pins, "capture_state")?;
        let mut capture = Self {
            asked: opened(&pins, "capture")?,
            ring: opened(&pins, "captured")?,
            endpoints: opened(&pins, "endpoints")?,
            backends: opened(&pins, "backends")?,
            missed: state.get(&0, 0).unwrap_or_default().missed,
            state,
            length: length.clamp(1, MAX_BYTES),
            service: None,
            _lock: lock,
        };
        // What somebody left who was killed.
        while capture.ring.next().is_some() {}
        Ok(capture)
    }

    /// The index of the service at an endpoint.
    #[must_use]
    pub fn service_at(&self, endpoint: &Endpoint) -> Option<u32> {
        self.endpoints.get(endpoint, 0).ok().filter(|index| *index != crate::plane::layout::NO_SERVICE)
    }

    /// The address of a backend; port 0 is the one that the client connected to.
    #[must_use]
    pub fn backend(&self, index: u32) -> Option<(IpAddr, u16)> {
        let address = self.backends.get(&index, 0).ok()?.address();
        (!address.0.is_unspecified()).then_some(address)
    }

    /// Only packets of this service from now on.
    pub fn set_service(&mut self, index: u32) {
        self.service = Some(index);
    }

    /// Begins, or goes on for two seconds more, from `now` of the monotonic clock on.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn renew(&mut self, now: Duration) -> Result<(), KernelError> {
        let pace = 1_000_000_000_u64.div_ceil(u64::from(MAX_PACKETS));
        let until = now.saturating_add(LASTS).as_nanos();
        self.ask(Asked {
            until: u64::try_from(until).unwrap_or(u64::MAX),
            interval: pace,
            // A tenth of a second's worth at once.
            tolerance: pace.saturating_mul(u64::from(MAX_PACKETS / 10)),
            length: self.length,
            service: self.service.map_or(0, |index| index.saturating_add(1)),
        })
    }

    fn ask(&mut self, asked: Asked) -> Result<(), KernelError> {
        self.asked.set(0, asked, 0).map_err(|error| KernelError::of("the plane can't be asked", &error))
    }

    /// The next packet, if one waits: as it came in, and if it went out, as it left after that.
    #[allow(clippy::should_implement_trait, reason = "it may have one later, when it had none before")]
    pub fn next(&mut self) -> Option<Packet> {
        loop {
            let item = self.ring.next()?;
            if let Some(packet) = Packet::read(&item) {
                return Some(packet);
            }
        }
    }

    /// Packets that were too many.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.state.get(&0, 0).unwrap_or_default().missed.saturating_sub(self.missed)
    }

    /// Ends it: nothing more comes but what waits.
    pub fn stop(&mut self) {
        // If that fails, it ends by itself.
        let _ = self.ask(Asked::default());
    }
}

impl std::fmt::Debug for Capture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capture").field("service", &self.service).finish_non_exhaustive()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The endpoint that packets from or to an address and port are of.
#[must_use]
pub fn endpoint(address: SocketAddr, is_tcp: bool) -> Endpoint {
    use crate::plane::layout::Transport::{Tcp, Udp};
    Endpoint::new(address, if is_tcp { Tcp } else { Udp })
}

fn opened<M: TryFrom<Map, Error = MapError>>(pins: &Pins, name: &str) -> Result<M, KernelError> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        KernelError::of(format!("the forwarding plane's table {name} can't be opened"), error)
    };
    let map = MapData::from_pin(pins.map(name, VERSION)).map_err(|error| failed(&error))?;
    let map = Map::from_map_data(map).map_err(|error| failed(&error))?;
    M::try_from(map).map_err(|error| failed(&error))
}
