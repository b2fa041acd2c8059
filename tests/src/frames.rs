//! Frames as they are on the wire: watching a port, sending what no decent program would, asking who has an
//! address.

mod neighbour;
mod speaker;

pub use neighbour::{NeighbourProbe, neighbour_question};
pub use speaker::speaks_for;

use crate::LabError;
use crate::error::{Context, Result};
use crate::lab::{Machine, Namespace};
use pnet::datalink::{self, Channel, Config, DataLinkReceiver, DataLinkSender};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use socket2::{Domain, Protocol, Socket, Type};
use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A frame and when it was seen.
#[derive(Debug, Clone)]
pub struct Frame {
    /// When it was seen.
    pub at: Instant,
    /// From the destination MAC to the last byte.
    pub bytes: Vec<u8>,
}

/// Watches an interface.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    frames: Arc<Mutex<Vec<Frame>>>,
    thread: Option<JoinHandle<()>>,
}

/// How many frames a capture keeps.
const FRAMES_MAX: usize = 100_000;
/// Bytes that may wait to be read.
const BUFFER: usize = 16 << 20;
/// Every protocol (`ETH_P_ALL`).
const ETHERNET_ALL: u16 = 3;

impl Capture {
    /// Watches an interface of a namespace; keeps the frames that `wanted` wants.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn start(
        namespace: &Namespace,
        interface: &str,
        wanted: impl Fn(&[u8]) -> bool + Send + 'static,
    ) -> Result<Self> {
        let interface = interface.to_owned();
        let (_, mut receiver) = namespace.enter(|| open(&interface))??;
        let stop = Arc::new(AtomicBool::new(false));
        let frames = Arc::new(Mutex::new(Vec::new()));
        let (thread_stop, thread_frames) = (Arc::clone(&stop), Arc::clone(&frames));
        let thread = std::thread::Builder::new()
            .name("capture".into())
            .spawn(move || {
                while !thread_stop.load(Ordering::Relaxed) {
                    // An error is the timeout, or the interface is gone for a while.
                    let Ok(bytes) = receiver.next() else { continue };
                    if wanted(bytes) {
                        let mut frames = thread_frames.lock().unwrap_or_else(PoisonError::into_inner);
                        if frames.len() < FRAMES_MAX {
                            frames.push(Frame { at: Instant::now(), bytes: bytes.to_vec() });
                        }
                    }
                }
            })
            .context("start a capture")?;
        Ok(Self { stop, frames, thread: Some(thread) })
    }

    /// What has been seen until now.
    #[must_use]
    pub fn frames(&self) -> Vec<Frame> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Sends frames from a machine's interface as they are.
///
/// # Errors
/// The interface is gone or takes none.
pub fn inject(machine: &Machine, frames: &[Vec<u8>]) -> Result<()> {
    machine.namespace().enter(|| {
        let (mut sender, _) = open("eth0")?;
        frames.iter().try_for_each(|frame| send(sender.as_mut(), frame))
    })?
}

/// Sends a frame, a little later where the machine has no room for it now.
fn send(sender: &mut dyn DataLinkSender, frame: &[u8]) -> Result<()> {
    let mut tries = 0_u32;
    loop {
        let sent =
            sender.send_to(frame, None).ok_or_else(|| LabError::new("a frame that fits into no buffer"))?;
        match sent {
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) && tries < 1000 => {
                tries = tries.saturating_add(1);
                std::thread::sleep(Duration::from_millis(1));
            }
            sent => return sent.context("send a frame"),
        }
    }
}

/// Opens an interface of the namespace that the calling thread is in.
pub(crate) fn open(name: &str) -> Result<(Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>)> {
    let interfaces = datalink::interfaces();
    let interface = interfaces
        .iter()
        .find(|interface| interface.name == name)
        .ok_or_else(|| LabError::new(format!("no interface {name}")))?;
    let every = Protocol::from(i32::from(ETHERNET_ALL.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(every)).context("open a packet socket")?;
    // A burst of thousands of frames is to be seen whole.
    set_socket_recv_buffer_size_force(&socket, BUFFER).context("enlarge its buffer")?;
    let config = Config {
        read_timeout: Some(Duration::from_millis(20)),
        socket_fd: Some(socket.into_raw_fd()),
        ..Config::default()
    };
    match datalink::channel(interface, config).context(format!("open {name}"))? {
        Channel::Ethernet(sender, receiver) => Ok((sender, receiver)),
        _ => Err(LabError::new(format!("{name} is not Ethernet"))),
    }
}
