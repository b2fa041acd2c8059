use super::*;
use crate::balance::Seed;
use crate::splice::Pipes;
use crate::table::Tables;
use crate::{BackendState, BackendUse, Desired, ServiceDesired};
use fulcrum_config::{Backend, BackendAddress, BackendName, GroupName, Service, ServiceName};
use rustix::event::epoll::CreateFlags;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

#[test]
fn a_token_survives_epoll() {
    for key in [0, 1, 20_000, u32::MAX >> 1] {
        for generation in [0, 7, u32::MAX >> 1] {
            for which in [Which::Client, Which::Backend] {
                let token = Token { key, generation };
                let data = token.data(which).u64();
                assert_eq!(Token::from_data(data), (token, which));
                assert_eq!(data >> 63, 0, "that bit marks what is no connection");
            }
        }
    }
}

/// What an idle connection costs, beside the links of its timer.
#[test]
fn a_connection_is_small() {
    assert!(size_of::<Connection>() <= 256, "{} bytes", size_of::<Connection>());
}

/// What a worker has, and a connection whose client says nothing.
struct Bench {
    epoll: OwnedFd,
    moving: Moving,
    wheel: Wheel,
    log: LogQueue,
    connection: Connection,
    _others: (TcpStream, TcpListener),
}

impl Bench {
    fn new(change: impl FnOnce(&mut Service)) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = listener.local_addr().unwrap();
        let peer = TcpStream::connect(at).unwrap();
        let (client, from) = listener.accept().unwrap();
        client.set_nonblocking(true).unwrap();
        let address = BackendAddress { ip: at.ip(), port: Some(at.port()) };
        let backend = Arc::new(Backend::new(BackendName::new("b"), address));
        let name = ServiceName::new("a");
        let mut service = Service::new(name.clone(), GroupName::new("g"), vec![at.ip()], at.port());
        change(&mut service);
        let desired = ServiceDesired {
            service: Arc::new(service),
            up: true,
            protected: false,
            backends: vec![BackendState { backend, usage: BackendUse::Live, weight: 100 }],
            sources: vec![],
        };
        let mut tables = Tables::new(Seed::default(), 1, moment());
        let services = [(name.clone(), Arc::new(desired))].into();
        tables.apply(&Desired { services, ..Desired::default() });
        let service = Arc::clone(tables.service(&name).unwrap());
        let token = Token { key: 0, generation: 0 };
        Self {
            epoll: epoll::create(CreateFlags::CLOEXEC).unwrap(),
            moving: Moving::new(Pipes::new(0)),
            wheel: Wheel::new(),
            log: LogQueue::start(|_| ()).unwrap(),
            connection: Connection::new(token, client.into(), from, at, service, 0),
            _others: (peer, listener),
        }
    }

    fn at(&mut self, now: u64, work: impl FnOnce(&mut Connection, &mut Context<'_>) -> Next) -> Next {
        let (epoll, moving, wheel, log) = (&self.epoll, &mut self.moving, &mut self.wheel, &self.log);
        let mut context = Context { worker: 0, epoll, moving, wheel, log, now, instant: moment() };
        work(&mut self.connection, &mut context)
    }
}

#[allow(clippy::disallowed_methods)] // Any moment will do.
fn moment() -> Instant {
    Instant::now()
}

#[test]
fn a_backend_has_the_whole_time_to_accept_however_early_the_timer_comes() {
    let mut bench = Bench::new(|service| service.timeouts.connect = Duration::from_secs(100));
    // It has long accepted, but nothing has been said of that.
    assert_eq!(bench.at(1_000, Connection::start), Next::Wait);
    for now in [2_000, 66_500, 100_999] {
        assert_eq!(bench.at(now, Connection::handle_timeout), Next::Wait, "{now}");
        assert!(bench.connection.is_connecting() && bench.wheel.poll_timeout().is_some());
    }
    assert_eq!(bench.at(101_000, Connection::handle_timeout), Next::End(End::ConnectFailed));
}

#[test]
fn a_header_has_its_whole_time_to_come_however_early_the_timer_comes() {
    let everybody = "0.0.0.0/0".parse().unwrap();
    let mut bench = Bench::new(|service| service.proxy_protocol.receive_from = vec![everybody]);
    assert_eq!(bench.at(1_000, Connection::start), Next::Wait);
    assert_eq!(bench.at(4_999, Connection::handle_timeout), Next::Wait);
    assert!(bench.wheel.poll_timeout().is_some());
    assert_eq!(bench.at(5_000, Connection::handle_timeout), Next::End(End::Refused));
}
