//! `fulcrum drill`: looks whether it is safe, asks for service, strikes, and says what was lost.
//!
//! [`mod@plan`] says what is struck and whether the moment is safe, [`probe`] asks for service, [`timeline`] says what was lost,
//! [`history`] keeps it. What happens at the node stands in `node/drill.rs`.
#![allow(clippy::disallowed_methods, reason = "a driver: it runs commands, and waits between two looks")]

mod history;
mod plan;
mod probe;
mod say;
mod strike;
mod timeline;

use crate::cli::drill::{DrillArguments, DrillOptions, HistoryOptions, OtherDrill};
use crate::commands::{print, roll};
use crate::error::Failure;
use crate::roll::report::Look;
use crate::roll::{journal, lock};
use fulcrum_config::Inventory;
use history::{Entry, History, Kind, beside, now};
use plan::{Asked, Plan, in_the_way, is_node, leaders, plan};
use probe::{KNOWN, Pace, Probe};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use timeline::{Measured, measure};

/// How long service is looked at before, and has to be back.
const SECOND: Duration = Duration::from_secs(1);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// What comes of it is waited for so long.
const GIVE_UP: Duration = Duration::from_secs(60);
/// After a cut, and the return of the node to what others lead meanwhile.
const HEALED: Duration = Duration::from_secs(2);
/// How long a node may take to be there again.
const RETURN: Duration = Duration::from_secs(30);

/// How it went, for programs.
#[derive(Debug, Serialize)]
struct Report {
    drills: Vec<Entry>,
    /// Each service.
    services: Vec<Asks>,
    /// When the node answered again, since it was struck.
    back_after_s: Option<f64>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Asks {
    service: String,
    group: String,
    address: SocketAddr,
    #[serde(flatten)]
    measured: Measured,
}

pub(crate) fn drill(arguments: &DrillArguments) -> Result<ExitCode, Failure> {
    match &arguments.other {
        Some(OtherDrill::History(options)) => show_history(options),
        Some(OtherDrill::Strike(options)) => strike::on_this_node(options),
        None => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| Failure::Io { what: "no event loop".to_owned(), error })?;
            runtime.block_on(run(&arguments.options))
        }
    }
}

fn show_history(options: &HistoryOptions) -> Result<ExitCode, Failure> {
    let path = options.history.clone().or_else(|| options.inventory.as_deref().map(beside));
    let history = History::load(&path.unwrap_or_default())?;
    if options.json {
        return print_json(&history.entries);
    }
    print(&history.in_words())
}

fn print_json(value: &impl Serialize) -> Result<ExitCode, Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::Refused(format!("the result can't be shown: {error}")))?;
    print(&format!("{text}\n"))
}

/// Everything that is known before anything is touched.
struct Drill<'a> {
    options: &'a DrillOptions,
    inventory: Inventory,
    history: PathBuf,
    plan: Plan,
}

async fn run(options: &DrillOptions) -> Result<ExitCode, Failure> {
    let file = options.inventory.clone().unwrap_or_default();
    let inventory = roll::inventory(&file)?;
    let history = options.history.clone().unwrap_or_else(|| beside(&file));
    // No roll and no other drill begins meanwhile.
    let _lock = if options.dry_run { None } else { Some(lock::take(&journal::beside(&file, "roll"))?) };
    let look = roll::look(&inventory, None).await;
    let kind = match (options.kill, options.cut) {
        (true, _) => Kind::Kill,
        (_, true) => Kind::Cut,
        (false, false) => Kind::Handover,
    };
    let asked = Asked { kind, group: options.group.as_deref(), node: options.node.as_deref() };
    let plan = plan(&look, asked).map_err(|why| unplanned(&why, &look))?;
    let reasons = unsafe_now(&look, &plan, &file, options)?;
    let drill = Drill { options, inventory, history, plan };
    if !options.json || options.dry_run {
        print(&say::plan(&drill.plan, options))?;
    }
    let is_forced = |group: &String| options.forced.contains(group);
    if !reasons.is_empty() {
        let told = reasons.join("\n  ");
        if !drill.plan.groups.iter().chain(&drill.plan.others).all(is_forced) {
            return Err(Failure::Refused(format!("not now, and nothing was done:\n  {told}")));
        }
        eprintln!("although, as --force says:\n  {told}");
    }
    if options.dry_run {
        let safe = if reasons.is_empty() { "it is safe now" } else { "it would be forced" };
        return print(&format!("{safe}; nothing was done\n"));
    }
    if !options.yes {
        say::confirm()?;
    }
    drill.make().await
}

fn unplanned(why: &str, look: &Look) -> Failure {
    let silent = look.iter().filter_map(|(node, said)| Some((node, said.as_ref().err()?)));
    let silent: Vec<String> =
        silent.map(|(node, why)| format!("\n  {node} does not answer: {why}")).collect();
    Failure::Refused(format!("nothing was done: {why}{}", silent.concat()))
}

/// Why it would be unsafe, or not measure anything.
fn unsafe_now(
    look: &Look,
    plan: &Plan,
    inventory: &Path,
    options: &DrillOptions,
) -> Result<Vec<String>, Failure> {
    let mut reasons = in_the_way(look, plan, options.min_uptime);
    for command in ["roll", "replace"] {
        let journal = journal::Journal::load(&journal::beside(inventory, command))?;
        if let Some(journal) = journal.filter(|journal| journal.current().is_some()) {
            reasons.push(format!("'fulcrum {command}' is not finished: {}", journal.stands()));
        }
    }
    for endpoint in &plan.endpoints {
        if let Some(node) =
            source_to(endpoint.address).and_then(|it| is_node(look, it, endpoint.address.ip()))
        {
            return Err(Failure::Refused(format!(
                "this machine is {node}, which is no client's place: it would answer itself once it leads; nothing was \
                 done\n  run it on another machine that reaches {}",
                endpoint.address
            )));
        }
    }
    Ok(reasons)
}

/// The address that this machine reaches another from. Nothing is sent.
fn source_to(address: SocketAddr) -> Option<std::net::IpAddr> {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(address).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

impl Drill<'_> {
    async fn make(&self) -> Result<ExitCode, Failure> {
        let Self { options, plan, .. } = self;
        let pace = Pace { interval: options.interval, timeout: options.timeout };
        let mut probe = Probe::start(&plan.endpoints, pace)?;
        self.prove_service(&probe).await?;
        let struck = probe.now();
        let mut taken = self.strike().await?;
        let mut notes = self.watch(&probe, struck, &mut taken).await;
        probe.stop();
        let (back, led, left) = self.wait_return(&probe, struck).await;
        notes.extend(left);
        if probe.own_faults() > 0 {
            notes.push(format!(
                "this machine could not even try {} connections (ports, files): use a longer --interval",
                probe.own_faults()
            ));
        }
        let services = self.services(&probe, struck);
        let drills = self.entries(&services, &probe, &taken, &led);
        History::add(&self.history, drills.clone())?;
        let is_well = notes.is_empty() && drills.iter().all(|drill| drill.is_over && drill.to.is_some());
        let report = Report { drills, services, back_after_s: back.map(|it| it.as_secs_f64()), notes };
        if options.json {
            print_json(&report)?;
        } else {
            print(&say::report(&report, plan, options))?;
        }
        Ok(ExitCode::from(u8::from(!is_well)))
    }

    /// What does not work well before can't be measured.
    async fn prove_service(&self, probe: &Probe) -> Result<(), Failure> {
        tokio::time::sleep(SECOND.saturating_add(self.options.timeout)).await;
        for (place, endpoint) in self.plan.endpoints.iter().enumerate() {
            let samples = probe.samples(place);
            let failed = samples.iter().filter(|sample| !sample.is_answered).count();
            if failed > 0 || samples.is_empty() {
                return Err(Failure::Refused(format!(
                    "service {} at {} is not well seen from here: {failed} of {} connections failed within {} ms each; \
                     nothing was done\n  if this machine is far away, give it more --timeout; else look at 'fulcrum status'",
                    endpoint.service,
                    endpoint.address,
                    samples.len(),
                    self.options.timeout.as_millis()
                )));
            }
        }
        Ok(())
    }

    /// Waits until others lead and service was back for a second. Gives what is worth saying.
    async fn watch(
        &self,
        probe: &Probe,
        struck: Duration,
        taken: &mut BTreeMap<String, String>,
    ) -> Vec<String> {
        let lasts = if self.plan.kind == Kind::Cut { self.options.lasts } else { Duration::ZERO };
        let least = KNOWN.max(if lasts.is_zero() { lasts } else { lasts.saturating_add(HEALED) });
        let bound = GIVE_UP.saturating_add(lasts);
        let mut others = self.inventory.clone();
        others.nodes.retain(|place| place.name.as_str() != self.plan.node);
        loop {
            let since = probe.now().saturating_sub(struck);
            if taken.len() < self.plan.groups.len() {
                let look = roll::look(&others, None).await;
                for group in &self.plan.groups {
                    if let Some(leader) = leaders(&look, group).into_iter().next() {
                        taken.entry(group.clone()).or_insert(leader);
                    }
                }
            }
            let is_taken = taken.len() >= self.plan.groups.len();
            let back = probe.now().saturating_sub(SECOND).max(struck);
            if is_taken && since >= least && probe.is_clean_since(back) {
                return Vec::new();
            }
            if since >= bound {
                let what = if is_taken { "service is not back" } else { "no other node took every group" };
                return vec![format!(
                    "{what} {} s after: look at 'fulcrum status' of each node",
                    since.as_secs()
                )];
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until all nodes answer, and one leads each group. Gives when the one that was struck did, who leads, and what is
    /// missing.
    async fn wait_return(
        &self,
        probe: &Probe,
        struck: Duration,
    ) -> (Option<Duration>, BTreeMap<String, String>, Option<String>) {
        let begun = Instant::now();
        let mut back = None;
        loop {
            let look = roll::look(&self.inventory, None).await;
            if back.is_none() && look.get(&self.plan.node).is_some_and(Result::is_ok) {
                back = Some(probe.now().saturating_sub(struck));
            }
            let mut led = BTreeMap::new();
            for group in &self.plan.groups {
                if let [one] = leaders(&look, group).as_slice() {
                    led.insert(group.clone(), one.clone());
                }
            }
            if back.is_some() && led.len() == self.plan.groups.len() {
                return (back, led, None);
            }
            if begun.elapsed() >= RETURN {
                let node = &self.plan.node;
                let what = if back.is_none() {
                    format!(
                        "{node} does not answer after {} s: start its daemon ('systemctl start fulcrum')",
                        RETURN.as_secs()
                    )
                } else {
                    "not every group has one leader: look at 'fulcrum status' of each node".to_owned()
                };
                return (back, led, Some(what));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn services(&self, probe: &Probe, struck: Duration) -> Vec<Asks> {
        let endpoints = self.plan.endpoints.iter().enumerate();
        let asks = endpoints.map(|(place, endpoint)| Asks {
            service: endpoint.service.clone(),
            group: endpoint.group.clone(),
            address: endpoint.address,
            measured: measure(&probe.samples(place), struck),
        });
        asks.collect()
    }

    /// Of each group the service that was away longest.
    fn entries(
        &self,
        services: &[Asks],
        probe: &Probe,
        taken: &BTreeMap<String, String>,
        led: &BTreeMap<String, String>,
    ) -> Vec<Entry> {
        let (at, by) = (now(), say::who());
        let entry = |group: &String| {
            let own = || services.iter().enumerate().filter(|(_, asks)| asks.group == *group);
            let measured = || own().map(|(_, asks)| &asks.measured);
            let worst = measured().max_by(|one, other| one.outage_ms.total_cmp(&other.outage_ms))?;
            let held: Vec<(usize, usize)> = own().map(|(place, _)| probe.held(place)).collect();
            Some(Entry {
                at,
                by: by.clone(),
                kind: self.plan.kind,
                group: group.clone(),
                from: self.plan.node.clone(),
                to: taken.get(group).cloned(),
                leads: led.get(group).cloned(),
                outage_ms: worst.outage_ms,
                is_over: measured().all(|it| it.is_over),
                resolution_ms: worst.resolution_ms,
                requests: measured().map(|it| it.requests).fold(0, usize::saturating_add),
                failed: measured().map(|it| it.failed).fold(0, usize::saturating_add),
                held: held.iter().map(|it| it.0).fold(0, usize::saturating_add),
                broken: held.iter().map(|it| it.1).fold(0, usize::saturating_add),
            })
        };
        self.plan.groups.iter().filter_map(entry).collect()
    }
}
