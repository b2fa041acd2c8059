//! `fulcrum capture`.
#![allow(
    clippy::disallowed_methods,
    reason = "packets are shown with the time of day, and looked for again and again"
)]

use crate::capture::{Names, Pcapng, Record, first_endpoint, line};
use crate::cli::inspect::CaptureOptions;
use crate::client::Client;
use crate::commands::status::ask;
use crate::error::Failure;
use fulcrum_lb::KernelError;
use fulcrum_lb::capture::{Capture, Packet, endpoint};
use fulcrum_lifecycle::Status;
use rustix::time::{ClockId, clock_gettime};
use std::fs::OpenOptions;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The kernel has room for packets of so long, if there are many.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The kernel goes on for two seconds by itself.
const RENEW_EVERY: Duration = Duration::from_millis(500);

pub(crate) fn capture(options: &CaptureOptions) -> Result<ExitCode, Failure> {
    let mut capture = Capture::open(options.snaplen).map_err(refused)?;
    let names = names(options, &mut capture)?;
    let output = Output::open(options)?;
    let mut session = Session { capture, names, output, begun: now(ClockId::Monotonic), packets: 0 };
    let written = session.run(options);
    session.capture.stop();
    // A reader that went away (`| head`) is no failure.
    if let Err(error) = written.and_then(|()| session.output.flush())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        return Err(Failure::Io { what: "what was captured can't be written".to_owned(), error });
    }
    eprintln!("{}", summary(session.packets, session.capture.missed()));
    Ok(ExitCode::SUCCESS)
}

fn summary(packets: u64, missed: u64) -> String {
    let missed = match missed {
        0 => String::new(),
        missed => format!("; {missed} were too many at once and are missing"),
    };
    format!("{packets} packets captured{missed}")
}

fn refused(error: KernelError) -> Failure {
    match error {
        KernelError::Forbidden => {
            Failure::Forbidden { what: "packets can't be captured by this user".to_owned() }
        }
        error @ KernelError::Failed { .. } => Failure::Refused(error.to_string()),
    }
}

/// The names of what the kernel knows by numbers; only packets of the service are asked for, if one is named.
fn names(options: &CaptureOptions, capture: &mut Capture) -> Result<Names, Failure> {
    let mut names = Names::default();
    let status = match ask::<Status>(&Client::new(&options.connect)) {
        Ok(status) => status,
        Err(failure) if options.service.is_some() => return Err(failure),
        Err(failure) => {
            eprintln!("services and backends are shown without their names: {failure}");
            return Ok(names);
        }
    };
    let mut found = options.service.is_none();
    for service in status.services {
        let index = first_endpoint(&service)
            .and_then(|(address, is_tcp)| capture.service_at(&endpoint(address, is_tcp)));
        if options.service.as_ref() == Some(&service.name) {
            let index = index.ok_or_else(|| Failure::Refused(not_forwarded(&service.name, &service.mode)))?;
            capture.set_service(index);
            found = true;
        }
        if let Some(index) = index {
            names.add(index, service);
        }
    }
    match &options.service {
        Some(name) if !found => {
            Err(Failure::Refused(format!("there is no service {name}\n  'fulcrum status' shows all of them")))
        }
        Some(_) | None => Ok(names),
    }
}

fn not_forwarded(name: &str, mode: &str) -> String {
    format!(
        "service {name} is not served by the forwarding plane but by mode {mode}, so its packets go through the kernel\n  \
         use 'tcpdump' for it"
    )
}

/// A capture that is written down.
struct Session {
    capture: Capture,
    names: Names,
    output: Output,
    /// By the monotonic clock.
    begun: Duration,
    packets: u64,
}

impl Session {
    /// Until there is enough, or somebody ends it.
    fn run(&mut self, options: &CaptureOptions) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let until = options.seconds.map(|seconds| self.begun.saturating_add(Duration::from_secs(seconds)));
        runtime.block_on(async {
            let (mut interrupt, mut terminate) =
                (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
            let mut renew_at = Duration::ZERO;
            loop {
                let time = now(ClockId::Monotonic);
                let over = until.is_some_and(|until| time >= until);
                if time >= renew_at && !over {
                    self.capture.renew(time).map_err(io::Error::other)?;
                    renew_at = time.saturating_add(RENEW_EVERY);
                }
                if self.take(options.count)? || over {
                    return Ok(());
                }
                tokio::select! {
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                    _ = interrupt.recv() => return self.take(options.count).map(drop),
                    _ = terminate.recv() => return self.take(options.count).map(drop),
                }
            }
        })
    }

    /// Writes what waits; says whether that is enough.
    fn take(&mut self, count: Option<u64>) -> io::Result<bool> {
        let mut any = false;
        while let Some(packet) = self.capture.next() {
            if !packet.leaves {
                if count.is_some_and(|count| self.packets >= count) {
                    return Ok(true);
                }
                self.packets = self.packets.saturating_add(1);
            }
            self.names.learn(&packet, &self.capture);
            self.output.write(&packet, &self.names, self.begun)?;
            any = true;
        }
        if any {
            self.output.flush()?;
        }
        Ok(count.is_some_and(|count| self.packets >= count))
    }
}

enum Output {
    Lines(io::Stdout),
    /// With what is added to a time of the monotonic clock for the time of day.
    File(Pcapng<BufWriter<Box<dyn Write>>>, Duration),
}

impl Output {
    fn open(options: &CaptureOptions) -> Result<Self, Failure> {
        let Some(path) = &options.write else { return Ok(Self::Lines(io::stdout())) };
        let failed = |error| Failure::Io { what: format!("{} can't be written", path.display()), error };
        let out: Box<dyn Write> = if path.as_os_str() == "-" {
            if io::stdout().is_terminal() {
                return Err(Failure::Refused(
                    "a pcapng file is nothing for a terminal\n  name a file, or pipe it: 'fulcrum capture --write - | tshark -r -'"
                        .to_owned(),
                ));
            }
            Box::new(io::stdout())
        } else {
            // What clients send is in it.
            let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
            Box::new(opened.map_err(failed)?)
        };
        let offset = now(ClockId::Realtime).saturating_sub(now(ClockId::Monotonic));
        let mut file = Pcapng::new(BufWriter::new(out), options.snaplen).map_err(failed)?;
        file.flush().map_err(failed)?;
        Ok(Self::File(file, offset))
    }

    fn write(&mut self, packet: &Packet, names: &Names, begun: Duration) -> io::Result<()> {
        match self {
            Self::Lines(out) => out.write_all(line(packet, names, begun).as_bytes()),
            Self::File(file, offset) => file.write(Record {
                time: packet.time.saturating_add(*offset),
                interface: names.interface(packet.interface),
                leaves: packet.leaves,
                length: packet.length,
                bytes: &packet.bytes,
                comment: &names.fate(packet),
            }),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Lines(out) => out.flush(),
            Self::File(file, _) => file.flush(),
        }
    }
}

fn now(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}
