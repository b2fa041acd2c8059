//! A proxy of its own for each test, on loopback addresses that no other test uses.
#![allow(dead_code, missing_docs, unreachable_pub)] // Each test program uses a part of this.
#![allow(clippy::arithmetic_side_effects, clippy::disallowed_methods)] // Small numbers; it has to wait.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // What may panic in tests may in their helpers.

use fulcrum_config::{
    Backend, BackendAddress, BackendName, Balance, GroupName, Mode, OnDown, Service, ServiceName,
};
use fulcrum_lb::{BackendState, BackendUse, Desired, Observed, Options, ServiceDesired, ServiceObserved};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Nothing in these tests takes so long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A loopback address that no other test uses, not even one of another run at the same time.
pub fn address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 0x40 | (high & 0x3f), low, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A server on an address of its own.
pub struct Server {
    pub address: SocketAddr,
}

impl Server {
    /// Serves each connection on a thread of its own; ends with the process.
    pub fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((address(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serve = Arc::clone(&serve);
                std::thread::spawn(move || serve(stream));
            }
        });
        Self { address }
    }

    /// Sends back what it gets, and its FIN after the client's.
    pub fn echo() -> Self {
        Self::start(|mut stream| {
            let mut buffer = vec![0; 65_536];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..count]).is_err() {
                    return;
                }
            }
        })
    }

    /// Says its name, then waits for the client to close.
    pub fn named(name: &'static str) -> Self {
        Self::start(move |mut stream| {
            let _ = stream.write_all(name.as_bytes());
            let _ = stream.read_to_end(&mut Vec::new());
        })
    }
}

/// An address on which nobody listens.
pub fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind((address(), 0)).unwrap();
    listener.local_addr().unwrap()
}

pub fn backend(name: &str, address: SocketAddr) -> Backend {
    let address = BackendAddress { ip: address.ip(), port: Some(address.port()) };
    Backend::new(BackendName::new(name), address)
}

pub fn service(name: &str, backends: &[SocketAddr]) -> Service {
    let backends = backends.iter().enumerate();
    let vips = vec![address().into()];
    Service {
        mode: Mode::Proxy,
        balance: Balance::RoundRobin,
        backends: backends.map(|(index, at)| Arc::new(backend(&format!("b{index}"), *at))).collect(),
        on_down: OnDown::Reset { spread: Duration::from_secs(1) },
        ..Service::new(ServiceName::new(name), GroupName::new("group"), vips, 8080)
    }
}

/// Every backend live.
pub fn up(service: Service) -> ServiceDesired {
    let live = |backend: &Arc<Backend>| BackendState {
        backend: Arc::clone(backend),
        usage: BackendUse::Live,
        weight: u32::from(backend.weight.get()) * 100,
    };
    let backends = service.backends.iter().map(live).collect();
    ServiceDesired { service: Arc::new(service), up: true, protected: false, backends, sources: vec![] }
}

/// A running engine.
pub struct Proxy {
    pub desired: watch::Sender<Desired>,
    pub observed: watch::Receiver<Observed>,
}

impl Proxy {
    pub fn start(services: Vec<ServiceDesired>) -> Self {
        Self::start_with(services, Options { workers: Some(2), ..Options::default() })
    }

    pub fn start_with(services: Vec<ServiceDesired>, options: Options) -> Self {
        let (desired, receiver) = watch::channel(table(services));
        let observed = fulcrum_lb::start(receiver, options).unwrap();
        let proxy = Self { desired, observed };
        proxy.wait(|observed| observed.ready);
        proxy
    }

    /// Changes one service.
    pub fn change(&self, service: ServiceDesired) {
        let name = service.service.name.clone();
        self.desired.send_modify(|desired| {
            desired.services.insert(name, Arc::new(service));
        });
    }

    /// Changes one service, and waits until every worker has the change.
    pub fn apply(&self, service: ServiceDesired) {
        let name = service.service.name.clone();
        self.desired.send_modify(|desired| {
            desired.services.insert(name, Arc::new(service));
            desired.revision += 1;
        });
        let revision = self.desired.borrow().revision;
        self.wait(|observed| observed.applied == revision);
    }

    /// Waits until what is observed is as wanted.
    pub fn wait(&self, wanted: impl Fn(&Observed) -> bool) -> Observed {
        let start = Instant::now();
        loop {
            let observed = self.observed.borrow().clone();
            if wanted(&observed) {
                return observed;
            }
            assert!(start.elapsed() < PATIENCE, "observed at the end: {observed:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The same for one service.
    pub fn wait_service(&self, name: &str, wanted: impl Fn(&ServiceObserved) -> bool) -> ServiceObserved {
        let name = ServiceName::new(name);
        let found = |observed: &Observed| observed.services.get(&name).is_some_and(&wanted);
        self.wait(found).services.remove(&name).unwrap()
    }
}

pub fn table(services: Vec<ServiceDesired>) -> Desired {
    let named = |service: ServiceDesired| (service.service.name.clone(), Arc::new(service));
    Desired { services: services.into_iter().map(named).collect(), ..Desired::default() }
}

pub fn vip(service: &ServiceDesired) -> SocketAddr {
    SocketAddr::new(service.service.vips[0], service.service.ports.first)
}

/// A connection that does not wait for ever.
pub fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Closes with RST.
pub fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// All that comes until the other side closes.
pub fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Sends, closes that direction, and returns the reply.
pub fn exchange(to: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = connect(to);
    stream.write_all(request).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    read_all(&mut stream)
}

/// How a connection that is not wanted ends: before `connect` has returned, or after.
pub fn refusal(to: SocketAddr) -> Option<std::io::ErrorKind> {
    match TcpStream::connect_timeout(&to, PATIENCE) {
        Ok(mut stream) => {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            read_error(&mut stream)
        }
        Err(error) => Some(error.kind()),
    }
}

/// How reading ends, if not orderly.
pub fn read_error(stream: &mut TcpStream) -> Option<std::io::ErrorKind> {
    stream.read_to_end(&mut Vec::new()).err().map(|error| error.kind())
}

pub fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::spawn(work)
}
