//! The plane in a network namespace of its own: clients behind eth0, backends behind eth1.

use crate::packets::{OURS, THEIRS};
use fulcrum_ebpf::layout::{Group, State};
use fulcrum_ebpf::plane::layout::{
    Backend, Class, Endpoint, Hop, NO_SERVICE, Reply, SOURCE_OF_FLOWS, Service, ServiceMode, Settings, Slots,
    Transport,
};
use fulcrum_ebpf::plane::{Tried, Verdict};
use fulcrum_ebpf::{Fence, Mode, Plane};
use rustix::time::{ClockId, clock_gettime};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};

pub const SEED: [u8; 16] = *b"one of the seeds";
pub const GROUP: u32 = 5;
/// Backends listen here in mode nat.
pub const BACKEND_PORT: u16 = 8080;

pub fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address and port")
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Client, VIP and first backend of a family.
#[derive(Clone, Copy)]
pub struct Family {
    pub client: SocketAddr,
    pub vip: SocketAddr,
    pub backend: IpAddr,
    /// This node's own, on the backends' side.
    pub own: IpAddr,
}

pub fn families() -> [Family; 2] {
    [
        Family {
            client: at("10.0.0.7:40000"),
            vip: at("10.0.0.100:80"),
            backend: ip("10.0.1.11"),
            own: ip("10.0.1.1"),
        },
        Family {
            client: at("[fd00::7]:40000"),
            vip: at("[fd00::100]:80"),
            backend: ip("fd01::11"),
            own: ip("fd01::1"),
        },
    ]
}

pub fn run(program: &str, arguments: &str) {
    let output = Command::new(program).args(arguments.split_whitespace()).output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments}: {said}");
}

/// What a frame meets first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    Tcx,
    /// And what that passes on, tcx.
    Xdp,
}

pub struct Scene {
    pub plane: Plane,
    shell: Shell,
    pub fence: Fence,
    pub outside: u32,
    pub inside: u32,
}

/// Runs `test` with either shell, in a network namespace that goes with the thread.
pub fn in_a_scene(test: impl Fn(&mut Scene) + Sync) {
    in_a_scene_of(Shell::Tcx, &test);
    in_a_scene_of(Shell::Xdp, &test);
}

pub fn in_a_scene_of(shell: Shell, test: impl Fn(&mut Scene) + Sync) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            #[allow(deprecated, reason = "the files of this thread stay as they are")]
            rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).expect("a namespace; as root");
            let mut scene = Scene::new(shell);
            test(&mut scene);
            scene.plane.stop();
            scene.fence.stop();
        });
        thread.join().expect("no panic");
    });
}

fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).expect("positive") * 1_000_000_000
        + u64::try_from(now.tv_nsec).expect("positive")
}

impl Scene {
    fn new(shell: Shell) -> Self {
        let mac = OURS.map(|byte| format!("{byte:02x}")).join(":");
        for (name, v4, v6) in [("eth0", "10.0.0.2/24", "fd00::2/64"), ("eth1", "10.0.1.1/24", "fd01::1/64")] {
            run("ip", &format!("link add {name} type veth peer name p{name}"));
            run("ip", &format!("link set {name} address {mac}"));
            run("ip", &format!("link set {name} up"));
            run("ip", &format!("link set p{name} up"));
            run("ip", &format!("address add {v4} dev {name}"));
            run("ip", &format!("address add {v6} dev {name} nodad"));
        }
        run("sysctl", "-qw net.ipv4.ip_forward=1");
        run("sysctl", "-qw net.ipv6.conf.all.forwarding=1");
        let index = |name: &str| {
            let text = std::fs::read_to_string("/proc/thread-self/net/dev_mcast").unwrap_or_default();
            text.lines()
                .filter_map(|line| {
                    let mut words = line.split_whitespace();
                    let index: u32 = words.next()?.parse().ok()?;
                    (words.next()? == name).then_some(index)
                })
                .next()
                .expect("the interface")
        };
        let (outside, inside) = (index("eth0"), index("eth1"));
        let mut fence = Fence::load_shared(Mode::Auto).expect("the kernel takes the fence; as root");
        let mut plane = Plane::load(Mode::Auto).expect("the kernel takes the plane");
        plane.attach("eth0", outside).expect("attached");
        if shell == Shell::Xdp {
            for (name, index) in [("eth0", outside), ("eth1", inside)] {
                plane.attach_xdp(name, index).expect("attached by XDP");
                plane.open_xdp(index, OURS).expect("opened");
            }
            know_neighbours();
        }
        plane.set_settings(Settings::new(SEED, true)).expect("set");
        for class in [Class::Workload, Class::Protected] {
            plane.set_room(class, 100_000).expect("set");
        }
        for family in families() {
            fence.set_vip(family.vip.ip(), GROUP).expect("room");
        }
        let mut scene = Self { plane, shell, fence, outside, inside };
        scene.set_state(State::Leading);
        scene
    }

    /// As the programs read the clock.
    pub fn now(&self) -> u64 {
        now()
    }

    pub fn set_state(&mut self, state: State) {
        self.fence.set_group(GROUP, Group::new(state, 1, now() + 3_600_000_000_000)).expect("set");
    }

    /// Its heartbeat has run out.
    pub fn set_stale(&mut self, state: State) {
        self.fence.set_group(GROUP, Group::new(state, 1, now() - 1)).expect("set");
    }

    /// A service at `vip` for TCP and UDP: `count` backends from `first` on, as indexes 1 and so on of this service
    /// 0's table in turn; replies of the first come from the VIP.
    pub fn serve(&mut self, mode: ServiceMode, vip: SocketAddr, first: IpAddr, count: u16) {
        self.plane
            .set_service(0, Service::new(mode, false, false).with_interface(self.outside))
            .expect("set");
        for number in 0..count {
            self.plane
                .set_backend(u32::from(number) + 1, self.backend(mode, vip, first, number))
                .expect("set");
        }
        let returns = mode == ServiceMode::Fullnat;
        let settings = Settings::new(SEED, true).with_returns(returns).with_told(returns);
        self.plane.set_settings(settings).expect("set");
        self.set_tables(|slot| in_turn(slot, count), |slot| in_turn(slot, count));
        for transport in [Transport::Tcp, Transport::Udp] {
            for port in [0, vip.port()] {
                let endpoint = Endpoint::new(SocketAddr::new(vip.ip(), port), transport);
                let mark = if returns { SOURCE_OF_FLOWS } else { NO_SERVICE };
                let service = if port == 0 { mark } else { 0 };
                self.plane.set_endpoint(endpoint, service).expect("room");
            }
            if mode == ServiceMode::Nat {
                let mark = Endpoint::new(SocketAddr::new(first, 0), transport);
                self.plane.set_reply(mark, Reply::mark()).expect("room");
                let endpoint = Endpoint::new(SocketAddr::new(first, BACKEND_PORT), transport);
                self.plane.set_reply(endpoint, Reply::new(vip, 0, 1)).expect("room");
            }
        }
    }

    /// One of those that [`Scene::serve`] makes.
    pub fn backend(&self, mode: ServiceMode, vip: SocketAddr, first: IpAddr, number: u16) -> Backend {
        let port = if mode == ServiceMode::Dsr { 0 } else { BACKEND_PORT };
        let backend = Backend::new(nth(first, number), port, true, Some(self.hop(nth(first, number))));
        if mode == ServiceMode::Fullnat { backend.with_source(vip.ip()) } else { backend }
    }

    pub fn hop(&self, address: IpAddr) -> Hop {
        Hop { interface: self.inside, address }
    }

    pub fn set_tables(&mut self, current: impl Fn(u16) -> u16, previous: impl Fn(u16) -> u16) {
        self.plane.set_current(0, &table(current)).expect("set");
        self.plane.set_previous(0, &table(previous)).expect("set");
    }

    /// Nobody is there.
    pub fn empty(&mut self) {
        self.set_tables(|_| 0, |_| 0);
    }

    /// A frame from a client.
    pub fn outside(&mut self, frame: &[u8]) -> Outcome {
        self.tried(self.outside, frame)
    }

    /// A frame from a backend.
    pub fn inside(&mut self, frame: &[u8]) -> Outcome {
        self.tried(self.inside, frame)
    }

    /// By one shell after the other, as in the kernel.
    pub fn try_frame(&mut self, interface: u32, frame: &[u8]) -> Tried {
        if self.shell == Shell::Xdp {
            let mut tried = self.plane.try_frame_by_xdp(interface, frame, 1).expect("runs by XDP");
            match tried.verdict {
                Verdict::Pass => assert!(tried.frame == frame, "what XDP passes on is as it came"),
                Verdict::Redirect => {
                    assert_eq!(tried.frame[..12], [THEIRS, OURS].concat());
                    tried.frame[..12].copy_from_slice(&frame[..12]);
                    return tried;
                }
                Verdict::Drop => return tried,
            }
        }
        self.plane.try_frame(interface, frame, 1).expect("runs")
    }

    fn tried(&mut self, interface: u32, frame: &[u8]) -> Outcome {
        let before = self.plane.reasons();
        let tried = self.try_frame(interface, frame);
        let after = self.plane.reasons();
        let mut changed = before.iter().zip(&after).filter(|(before, after)| before.1 != after.1);
        let counted = changed.next().map(|(_, after)| after.0);
        assert!(changed.next().is_none(), "one frame, one counter");
        let untouched = tried.frame == frame;
        let Tried { verdict, frame, .. } = tried;
        Outcome { verdict, frame, counted, untouched }
    }
}

/// What became of one frame.
pub struct Outcome {
    pub verdict: Verdict,
    pub frame: Vec<u8>,
    pub counted: Option<&'static str>,
    pub untouched: bool,
}

impl Outcome {
    /// It went out of an interface, and nothing was counted but that it was forwarded.
    pub fn forwarded(self) -> Vec<u8> {
        assert_eq!((self.verdict, self.counted), (Verdict::Redirect, None));
        self.frame
    }

    /// It was answered.
    pub fn answered(self, reason: &str) -> Vec<u8> {
        assert_eq!((self.verdict, self.counted), (Verdict::Redirect, Some(reason)));
        self.frame
    }

    pub fn dropped(self, reason: &str) {
        assert_eq!((self.verdict, self.counted), (Verdict::Drop, Some(reason)));
    }

    /// The kernel gets it as it came.
    pub fn passed(self) {
        assert_eq!((self.verdict, self.counted), (Verdict::Pass, None));
        assert!(self.untouched);
    }
}

/// As if the kernel had asked for them.
fn know_neighbours() {
    let mac = THEIRS.map(|byte| format!("{byte:02x}")).join(":");
    let mut lines = String::new();
    for (interface, v4, v6) in [("eth0", "10.0.0.", "fd00::"), ("eth1", "10.0.1.", "fd01::")] {
        for number in (3..40).filter(|number| interface == "eth0" || *number > 10) {
            for address in [v4, v6] {
                lines += &format!("neighbour add {address}{number} lladdr {mac} dev {interface}\n");
            }
        }
    }
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("runs");
    ip.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("taken");
    assert!(ip.wait().expect("ends").success());
}

fn in_turn(slot: u16, count: u16) -> u16 {
    slot.checked_rem(count).map_or(0, |rest| rest + 1)
}

pub fn nth(first: IpAddr, number: u16) -> IpAddr {
    match first {
        IpAddr::V4(first) => (u32::from(first) + u32::from(number)).to_be_bytes().into(),
        IpAddr::V6(first) => (u128::from(first) + u128::from(number)).to_be_bytes().into(),
    }
}

pub fn table(backend: impl Fn(u16) -> u16) -> Slots {
    Slots(std::array::from_fn(|slot| backend(u16::try_from(slot).expect("small"))))
}
