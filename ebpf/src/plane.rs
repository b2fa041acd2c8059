//! The forwarding plane as the rest of the node uses it: tables, and the interfaces that it works at.
//!
//! Its tables are pinned: they, and the programs that read them, outlive the process, and its next life adopts them.

mod flows;
pub mod layout;
pub(crate) mod older;
mod ports;
mod schedules;
pub(crate) mod xdp;

use crate::attach::{Attachment, Mode, Place};
use crate::error::{KernelError, system_error};
use crate::fence::remove_others;
use crate::interfaces::{Hook, Interfaces};
use crate::layout::SHARED;
use crate::loader::{
    Array, Hash, PerCpuArray, Pinned, Tables, classifier, counted, load_classifier, open, take_map,
};
use crate::pins::{Pins, remove};
use crate::trial::{SKB_BYTES, SKB_INTERFACE, Trial, context, run};
use aya::Ebpf;
use aya::maps::{Map, MapData, MapError, PerCpuValues};
use aya::pin::PinError;
use aya::programs::TcAttachType;
use flows::Flows;
use layout::{
    Backend, Class, Counters, Endpoint, Event, Flow, Limit, MAPS, MAX_FLOWS, Pin, REASONS, Reply, Room,
    SIZED, Service, Settings, Slots, UNFINISHED, VERSION, entries_for, room_in,
};
use older::{LAYOUTS, Migration, Older, set_aside};
use ports::{Ports, Whose};
use schedules::Schedules;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;
use std::{fs, io};
use xdp::Xdp;

const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/forward.o"));
const PROGRAM: &str = "fulcrum_forward";
const CURRENT: &str = "current";
const PREVIOUS: &str = "previous";
const HOOKS: [Hook; 1] = [Hook { program: PROGRAM, direction: TcAttachType::Ingress }];

/// What outlives the process: the fence's tables, and its own.
const PINNED: [(&[&str], u32); 2] = {
    let [shared] = SHARED;
    [shared, (MAPS, VERSION)]
};

/// The plane, loaded into the kernel.
///
/// Dropped without [`Plane::stop`], it stays at the interfaces and goes on as long as the fence lets it.
pub struct Plane {
    ebpf: Ebpf,
    endpoints: Hash<Endpoint, u32>,
    services: Array<Service>,
    backends: Array<Backend>,
    replies: Hash<Endpoint, Reply>,
    ports: Ports,
    flows: Flows,
    settings: Array<Settings>,
    rooms: Array<Room>,
    limits: Array<Limit>,
    service_counters: PerCpuArray<Counters>,
    backend_counters: PerCpuArray<Counters>,
    reasons: PerCpuArray<u64>,
    current: Tables<Slots>,
    previous: Tables<Slots>,
    schedules: Schedules,
    interfaces: Interfaces,
    /// Once it is wanted.
    xdp: Option<Xdp>,
    pins: Option<Pins>,
    /// Until the last program of an earlier layout is replaced.
    migration: Option<Migration>,
}

impl Plane {
    /// Loads it with the tables of an earlier life, if there are any, and the fence's of this network namespace.
    ///
    /// # Errors
    /// The kernel does not take it, or nothing can be pinned.
    pub fn load(mode: Mode) -> Result<Self, KernelError> {
        Self::load_for(mode, room_in(MAX_FLOWS))
    }

    /// The same with room for so many flows that are known one by one.
    ///
    /// # Errors
    /// The same.
    pub fn load_for(mode: Mode, flows: u32) -> Result<Self, KernelError> {
        let pins = Pins::open().map_err(|why| KernelError::Failed {
            what: "the forwarding plane's tables can't be kept".to_owned(),
            why,
        })?;
        Self::load_with(mode, Some(pins), LAYOUTS, entries_for(flows))
    }

    /// Whether the kernel takes it; nothing of it is left there.
    ///
    /// # Errors
    /// It does not.
    pub fn try_load() -> Result<(), KernelError> {
        let mut ebpf = open("forwarding plane", OBJECT, None)?;
        load_classifier(&mut ebpf, PROGRAM)
    }

    fn load_with(
        mode: Mode,
        pins: Option<Pins>,
        layouts: &[Older],
        entries: u32,
    ) -> Result<Self, KernelError> {
        let migration = pins.as_ref().and_then(|pins| {
            remove_others(pins);
            set_aside(pins, entries);
            Migration::begin(pins, layouts)
        });
        let sizes = SIZED.map(|name| (name, entries));
        let pinned = pins.as_ref().map(|pins| Pinned { pins, maps: &PINNED, sizes: &sizes });
        let mut ebpf = open("forwarding plane", OBJECT, pinned)?;
        load_classifier(&mut ebpf, PROGRAM)?;
        let endpoints: Hash<Endpoint, u32> = take_map(&mut ebpf, "endpoints")?;
        let replies: Hash<Endpoint, Reply> = take_map(&mut ebpf, "replies")?;
        let used = endpoints.keys().flatten().map(|endpoint| (Whose::Services, endpoint));
        let used = used.chain(replies.keys().flatten().map(|endpoint| (Whose::Backends, endpoint)));
        let ports = told("port", Ports::new(take_map(&mut ebpf, "ports")?, used))?;
        let mut plane = Self {
            ports,
            endpoints,
            services: take_map(&mut ebpf, "services")?,
            backends: take_map(&mut ebpf, "backends")?,
            replies,
            flows: Flows::take(&mut ebpf)?,
            settings: take_map(&mut ebpf, "settings")?,
            rooms: take_map(&mut ebpf, "rooms")?,
            limits: take_map(&mut ebpf, "limits")?,
            service_counters: take_map(&mut ebpf, "service_counters")?,
            backend_counters: take_map(&mut ebpf, "backend_counters")?,
            reasons: take_map(&mut ebpf, "reasons")?,
            current: take_map(&mut ebpf, "current")?,
            previous: take_map(&mut ebpf, "previous")?,
            schedules: Schedules::take(&mut ebpf)?,
            interfaces: Interfaces::new(&HOOKS, Place::PLANE, mode, pins.clone()),
            xdp: None,
            pins,
            migration,
            ebpf,
        };
        plane.copy_older();
        Ok(plane)
    }

    /// Takes over what the plane of an earlier layout, which may go on at the interfaces, has noted since the last time. To be
    /// called just before it is replaced there.
    pub fn copy_older(&mut self) {
        if let Some(migration) = &mut self.migration {
            migration.copy(&mut self.flows);
        }
    }

    /// The same for the last time, if that plane stands at no interface any more: it goes.
    pub fn end_older(&mut self) {
        self.copy_older();
        if self.migration.take().is_some()
            && let Some(pins) = &self.pins
        {
            pins.remove_maps_but(MAPS, |version| version == VERSION);
        }
    }

    /// Attaches it to an interface, unless it is.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn attach(&mut self, interface: &str, index: u32) -> Result<Attachment, KernelError> {
        self.interfaces.attach(&mut self.ebpf, interface, index)
    }

    /// Takes it off all interfaces but these, also off those of an earlier life. `others` are the names of those that
    /// an earlier life may have used.
    pub fn retain(&mut self, keep: impl Fn(u32) -> bool, others: &[String]) {
        self.retain_xdp(&keep);
        self.interfaces.retain(keep, others);
    }

    /// Puts it, by XDP, in front of itself at an interface, natively, unless it is. There it passes everything on until
    /// [`Plane::open_xdp`].
    ///
    /// # Errors
    /// The kernel or the driver refuses.
    pub fn attach_xdp(&mut self, interface: &str, index: u32) -> Result<(), KernelError> {
        if self.xdp.is_none() {
            self.xdp = Some(Xdp::load(&PINNED, self.pins.clone())?);
        }
        self.xdp.as_mut().map_or(Ok(()), |xdp| xdp.attach(interface, index))
    }

    /// Whether an earlier life left it at an interface by XDP: then its driver has been found good.
    #[must_use]
    pub fn is_left_by_xdp(&self, index: u32) -> bool {
        Xdp::is_left(self.pins.as_ref(), index)
    }

    /// From now on it forwards by XDP what comes to an interface at its address `mac`, or at that of a virtual router.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn open_xdp(&mut self, index: u32, mac: [u8; 6]) -> Result<(), KernelError> {
        self.xdp.as_mut().map_or(Ok(()), |xdp| xdp.open(index, mac))
    }

    /// Takes it, by XDP, off all interfaces but these, also off those of an earlier life.
    pub fn retain_xdp(&mut self, keep: impl Fn(u32) -> bool) {
        if let Some(xdp) = &mut self.xdp {
            xdp.retain(&keep);
        }
        if let Some(pins) = &self.pins {
            pins.retain(xdp::PROGRAM, keep);
        }
    }

    /// Takes it, by XDP, off one.
    pub fn detach_xdp(&mut self, index: u32) {
        self.retain_xdp(|other| other != index);
    }

    /// Sends a frame out of an interface where it stands by XDP, in the way that it sends those it forwards.
    ///
    /// # Errors
    /// The kernel or the driver refuses.
    pub fn send_by_xdp(&mut self, index: u32, frame: &[u8]) -> Result<(), KernelError> {
        self.xdp.as_mut().map_or(Ok(()), |xdp| xdp.send(index, frame))
    }

    /// Which service is at an address and port.
    ///
    /// # Errors
    /// There is no room for more than [`layout::MAX_ENDPOINTS`].
    pub fn set_endpoint(&mut self, endpoint: Endpoint, service: u32) -> Result<(), KernelError> {
        told("port", self.ports.add(Whose::Services, endpoint))?;
        told("endpoint", self.endpoints.insert(endpoint, service, 0))
    }

    /// Nothing is there any more, or nothing was.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove_endpoint(&mut self, endpoint: &Endpoint) -> Result<(), KernelError> {
        told("endpoint", removed(self.endpoints.remove(endpoint)))?;
        told("port", self.ports.remove(Whose::Services, endpoint))
    }

    /// What is where.
    pub fn endpoints(&self) -> impl Iterator<Item = (Endpoint, u32)> + '_ {
        self.endpoints.iter().flatten()
    }

    /// A service.
    ///
    /// # Errors
    /// There are no more than [`layout::MAX_SERVICES`].
    pub fn set_service(&mut self, index: u32, service: Service) -> Result<(), KernelError> {
        told("service", self.services.set(index, service, 0))
    }

    /// A service as it was told.
    #[must_use]
    pub fn service(&self, index: u32) -> Option<Service> {
        self.services.get(&index, 0).ok()
    }

    /// A backend; 0 is none.
    ///
    /// # Errors
    /// There are no more than [`layout::MAX_BACKENDS`].
    pub fn set_backend(&mut self, index: u32, backend: Backend) -> Result<(), KernelError> {
        told("backend", self.backends.set(index, backend, 0))
    }

    /// A backend as it was told.
    #[must_use]
    pub fn backend(&self, index: u32) -> Option<Backend> {
        self.backends.get(&index, 0).ok()
    }

    /// What replies from a backend's address and port come from.
    ///
    /// # Errors
    /// There is no room for more than [`layout::MAX_ENDPOINTS`].
    pub fn set_reply(&mut self, endpoint: Endpoint, reply: Reply) -> Result<(), KernelError> {
        told("port", self.ports.add(Whose::Backends, endpoint))?;
        told("reply", self.replies.insert(endpoint, reply, 0))
    }

    /// They come from there itself, or did before.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove_reply(&mut self, endpoint: &Endpoint) -> Result<(), KernelError> {
        told("reply", removed(self.replies.remove(endpoint)))?;
        told("port", self.ports.remove(Whose::Backends, endpoint))
    }

    /// Whose replies come from where.
    pub fn replies(&self) -> impl Iterator<Item = (Endpoint, Reply)> + '_ {
        self.replies.iter().flatten()
    }

    /// What holds for all services.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_settings(&mut self, settings: Settings) -> Result<(), KernelError> {
        told("settings", self.settings.set(0, settings, 0))
    }

    /// How often new connections to a service may come from now on; it begins with the whole burst.
    ///
    /// # Errors
    /// There are no more than [`layout::MAX_SERVICES`].
    pub fn set_limit(&mut self, service: u32, limit: Limit) -> Result<(), KernelError> {
        told("limit", self.limits.set(service, limit, 0))
    }

    /// How many more flows services of a class may note.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_room(&mut self, class: Class, left: u32) -> Result<(), KernelError> {
        let room = Room { left: left.into(), ..self.room(class) };
        told("limit", self.rooms.set(class as u32, room, 0))
    }

    /// What is left of that.
    #[must_use]
    pub fn room(&self, class: Class) -> Room {
        self.rooms.get(&(class as u32), 0).unwrap_or_default()
    }

    /// Who takes new flows of a service from now on.
    ///
    /// # Errors
    /// There are no more than [`layout::MAX_SERVICES`].
    pub fn set_current(&mut self, service: u32, slots: &Slots) -> Result<(), KernelError> {
        told("table", replace(&mut self.current, CURRENT, service, slots, self.pins.as_ref()))
    }

    /// Who took them before.
    ///
    /// # Errors
    /// There are no more than [`layout::MAX_SERVICES`].
    pub fn set_previous(&mut self, service: u32, slots: &Slots) -> Result<(), KernelError> {
        told("table", replace(&mut self.previous, PREVIOUS, service, slots, self.pins.as_ref()))
    }

    /// Who takes the next flow of a service that gives them in turn, the one after it, and so on; it begins with the first.
    ///
    /// # Errors
    /// There are no more than [`layout::MAX_SERVICES`].
    pub fn set_schedule(&mut self, service: u32, slots: &Slots) -> Result<(), KernelError> {
        told("table", self.schedules.set(service, slots))
    }

    /// The tables of a service, as they were told: who takes new flows, and who took them before.
    ///
    /// They are read by pins of their own: to open a map by its number takes more than a service may.
    #[must_use]
    pub fn tables(&self, service: u32) -> Option<(Slots, Slots)> {
        let read = |name| {
            let pin = self.pins.as_ref()?.map_within(name, service, VERSION);
            let map = MapData::from_pin(pin).ok()?;
            let table = Array::<Slots>::try_from(Map::from_map_data(map).ok()?).ok()?;
            table.get(&0, 0).ok()
        };
        Some((read(CURRENT)?, read(PREVIOUS)?))
    }

    /// The flows that were noted one by one.
    pub fn flows(&self) -> impl Iterator<Item = (Flow, Pin)> + '_ {
        self.flows.all()
    }

    /// Those of mode fullnat that no backend has answered yet.
    pub fn opening_flows(&self) -> impl Iterator<Item = (Flow, Pin)> + '_ {
        self.flows.opening()
    }

    /// How many of them there may be, so that none makes room for another.
    #[must_use]
    pub fn room_for_flows(&self) -> u32 {
        room_in(self.flows.entries())
    }

    /// What is known of a flow.
    #[must_use]
    pub fn flow(&self, flow: &Flow) -> Option<Pin> {
        self.flows.get(flow)
    }

    /// A flow of the service of this index goes where `pin` says, whose backend is there already.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_flow(&mut self, flow: &Flow, pin: &Pin, service: u32) -> Result<(), KernelError> {
        let backend = self.backend(pin.backend()).unwrap_or(Backend::NONE);
        told("flow", self.flows.insert(flow, pin, service, &backend))
    }

    /// A flow goes where its slot says. One that is gone already is no error.
    pub fn remove_flow(&mut self, flow: &Flow, pin: &Pin) {
        // Of others than those of mode fullnat there is nothing else.
        let backend = pin.source().and_then(|_| self.backend(pin.backend()));
        self.flows.remove(flow, pin, backend.as_ref());
    }

    /// The next flow that began or ended, if there is one.
    pub fn next_event(&mut self) -> Option<Event> {
        self.flows.next_event()
    }

    /// Is readable once there are such.
    #[must_use]
    pub fn events(&self) -> BorrowedFd<'_> {
        self.flows.as_fd()
    }

    /// What was forwarded of a service.
    #[must_use]
    pub fn service_counters(&self, index: u32) -> Counters {
        sum(&self.service_counters, index)
    }

    /// What was forwarded to a backend, and from it.
    #[must_use]
    pub fn backend_counters(&self, index: u32) -> Counters {
        sum(&self.backend_counters, index)
    }

    /// A service that takes an index begins to count from 0.
    ///
    /// # Errors
    /// There are no more than [`layout::MAX_SERVICES`].
    pub fn clear_service_counters(&mut self, index: u32) -> Result<(), KernelError> {
        clear(&mut self.service_counters, index)
    }

    /// The same for a backend.
    ///
    /// # Errors
    /// There are no more than [`layout::MAX_BACKENDS`].
    pub fn clear_backend_counters(&mut self, index: u32) -> Result<(), KernelError> {
        clear(&mut self.backend_counters, index)
    }

    /// Packets that were not forwarded, by the names in [`REASONS`].
    #[must_use]
    pub fn reasons(&self) -> Vec<(&'static str, u64)> {
        counted(&self.reasons, &REASONS)
    }

    /// What would become of a frame that came in by the interface `index` now, and how long that takes: the mean of
    /// `repeat` runs, each of which finds the frame as the one before has left it.
    ///
    /// # Errors
    /// The kernel can't run it: a frame must have an Ethernet header.
    pub fn try_frame(&mut self, index: u32, frame: &[u8], repeat: u32) -> Result<Tried, KernelError> {
        try_frame(&mut self.ebpf, PROGRAM, index, frame, repeat)
    }

    /// The same for where it stands by XDP.
    ///
    /// # Errors
    /// The same, or it is not there.
    pub fn try_frame_by_xdp(&mut self, index: u32, frame: &[u8], repeat: u32) -> Result<Tried, KernelError> {
        let missing = || KernelError::Failed {
            what: "the frame can't be tried".to_owned(),
            why: "the plane stands nowhere by XDP".to_owned(),
        };
        self.xdp.as_mut().ok_or_else(missing)?.try_frame(index, frame, repeat)
    }

    /// Removes what an earlier life has left, if it is not wanted any more. `interfaces` are the names of those that it
    /// may have used.
    pub fn remove_left(interfaces: &[String]) {
        // Where nothing can be pinned, nothing is left but what clsact has.
        let pins = Pins::open().ok();
        Interfaces::new(&HOOKS, Place::PLANE, Mode::Auto, pins.clone()).retain(|_| false, interfaces);
        if let Some(pins) = pins {
            pins.retain(xdp::PROGRAM, |_| false);
            pins.remove_maps(MAPS);
        }
    }

    /// Takes it off every interface, and forgets its tables.
    pub fn stop(mut self) {
        self.retain(|_| false, &[]);
        if let Some(pins) = &self.pins {
            pins.remove_maps(MAPS);
        }
    }
}

/// What became of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Where it goes.
    pub verdict: Verdict,
    /// As it goes there.
    pub frame: Vec<u8>,
    /// How long that took.
    pub time: Duration,
}

/// Where a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// On into the kernel.
    Pass,
    /// Nowhere.
    Drop,
    /// Out of an interface.
    Redirect,
}

impl Verdict {
    /// TC_ACT_SHOT and TC_ACT_REDIRECT.
    pub(crate) fn of(value: u32) -> Self {
        match value {
            2 => Self::Drop,
            7 => Self::Redirect,
            _ => Self::Pass,
        }
    }
}

pub(crate) fn try_frame(
    ebpf: &mut Ebpf,
    program: &str,
    index: u32,
    frame: &[u8],
    repeat: u32,
) -> Result<Tried, KernelError> {
    let program = classifier(ebpf, program)?;
    let context: [u8; SKB_BYTES] = context(&[(SKB_INTERFACE, index)]);
    let Trial { value, frame, time } = run(program, &context, frame, repeat)?;
    Ok(Tried { verdict: Verdict::of(value), frame, time })
}

fn told<T, E: std::error::Error + 'static>(what: &str, result: Result<T, E>) -> Result<T, KernelError> {
    result.map_err(|error| KernelError::of(format!("the forwarding plane can't take a {what}"), &error))
}

/// What was not there is removed as well.
fn removed(result: Result<(), MapError>) -> Result<(), MapError> {
    let is_missing =
        |error: &MapError| system_error(error).is_some_and(|error| error.kind() == io::ErrorKind::NotFound);
    if result.as_ref().is_err_and(is_missing) { Ok(()) } else { result }
}

fn sum(counters: &PerCpuArray<Counters>, index: u32) -> Counters {
    let values = counters.get(&index, 0);
    values.map_or(Counters::default(), |values| {
        values.iter().fold(Counters::default(), |sum, value| sum.plus(value))
    })
}

fn clear(counters: &mut PerCpuArray<Counters>, index: u32) -> Result<(), KernelError> {
    let zeros = aya::util::nr_cpus()
        .map_err(|(_, error)| error)
        .and_then(|cpus| PerCpuValues::try_from(vec![Counters::default(); cpus]));
    let zeros = zeros.map_err(|error| KernelError::of("the processors can't be counted", &error))?;
    told("counter", counters.set(index, zeros, 0))
}

/// A new table in place of the old one, in one step. That may take the kernel 20 ms and more: it waits for programs that
/// still read the old one. Killed meanwhile, the next life finds the old one.
fn replace(
    tables: &mut Tables<Slots>,
    name: &str,
    service: u32,
    slots: &Slots,
    pins: Option<&Pins>,
) -> Result<(), ReplaceError> {
    let mut table = Array::<Slots>::create(1, 0)?;
    table.set(0, slots, 0)?;
    let Some(pins) = pins else { return Ok(tables.set(service, &table, 0)?) };
    let (unfinished, pin) =
        (pins.map_within(name, service, UNFINISHED), pins.map_within(name, service, VERSION));
    remove(&unfinished);
    table.pin(&unfinished)?;
    let table = Array::<Slots>::try_from(Map::from_map_data(MapData::from_pin(&unfinished)?)?)?;
    tables.set(service, &table, 0)?;
    Ok(fs::rename(unfinished, pin)?)
}

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
enum ReplaceError {
    Map(#[from] MapError),
    Pin(#[from] PinError),
    Rename(#[from] io::Error),
}

impl std::fmt::Debug for Plane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plane").field("interfaces", &self.interfaces).finish_non_exhaustive()
    }
}
