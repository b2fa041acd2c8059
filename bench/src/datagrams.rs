//! How long datagrams are not answered when the leader of a forwarded service goes.

use crate::failover::PATIENCE;
use crate::report::median;
use fulcrum_tests::lab::{Echo, Fulcrum, GROUP, Lab, Pair};
use fulcrum_tests::probe::{Datagrams, Seen};
use fulcrum_tests::wait::{now, run_for, wait_until};
use fulcrum_tests::{LabError, Result};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

const PORT: u16 = 5353;
/// Flows, each with a datagram a millisecond.
const FLOWS: usize = 4;

/// What happens to the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Kill,
    Freeze,
    Cut,
    Handover,
}

impl Event {
    const ALL: [Self; 4] = [Self::Kill, Self::Freeze, Self::Cut, Self::Handover];

    fn words(self) -> &'static str {
        match self {
            Self::Kill => "kill -9",
            Self::Freeze => "frozen",
            Self::Cut => "link cut",
            Self::Handover => "handover",
        }
    }

    fn strike(self, lab: &Lab, leader: &Fulcrum) -> Result<()> {
        match self {
            Self::Kill => leader.kill(),
            Self::Freeze => leader.process().freeze(),
            Self::Cut => lab.switch().cut(&leader.machine),
            Self::Handover => leader.command(&["handover", GROUP]).map(|_| ()),
        }
    }
}

/// Runs every event at both intervals between adverts, and gives a table.
///
/// # Errors
/// A lab can't be built, a pair does not come into service, or a flow changed its backend.
pub(crate) fn run(rounds: usize) -> Result<String> {
    let mut gaps: BTreeMap<(u32, Option<Event>), Vec<f64>> = BTreeMap::new();
    for round in 1..=rounds {
        for interval in [100, 10] {
            for event in Event::ALL {
                eprintln!("round {round}/{rounds}: {interval} ms, {}", event.words());
                let (floor, gap) = once(interval, event)?;
                gaps.entry((interval, Some(event))).or_default().push(gap);
                gaps.entry((interval, None)).or_default().push(floor);
            }
        }
    }
    let mut text = String::from(
        "\n### Gap of UDP flows in mode fullnat, a datagram each millisecond, milliseconds: median / worst\n\n\
         | adverts | event | gap |\n|---|---|---:|\n",
    );
    for interval in [100, 10] {
        for event in [None].into_iter().chain(Event::ALL.map(Some)) {
            let values = gaps.get(&(interval, event)).map_or(&[][..], Vec::as_slice);
            let worst = values.iter().copied().fold(f64::NAN, f64::max);
            let words = event.map_or("nothing (the floor)", Event::words);
            let middle = median(values.iter().copied());
            let _ = writeln!(text, "| {interval} ms | {words} | {middle:.0} / {worst:.0} |");
        }
    }
    Ok(text)
}

fn once(interval: u32, event: Event) -> Result<(f64, f64)> {
    let lab = Lab::new()?;
    let mut pair = Pair::new(&lab)?;
    pair.plan = pair.plan.with_keys()?;
    pair.plan.advert_milliseconds = interval;
    pair.plan.service = vec!["mode: fullnat".into()];
    let vip = pair.service().ip();
    let backends: Vec<String> =
        pair.web.iter().map(|web| format!("'{}:{PORT}'", web.machine.ipv4())).collect();
    pair.plan.services.push(format!(
        "datagrams: {{vip: {vip}, protocol: udp, port: {PORT}, mode: fullnat, backends: [{}]}}",
        backends.join(", ")
    ));
    let _echoes = pair
        .web
        .iter()
        .map(|web| Echo::start(&web.machine, SocketAddr::new(web.machine.ipv4(), PORT)))
        .collect::<Result<Vec<_>>>()?;
    let (first, second) = pair.start_both()?;
    let flows = Datagrams::start(&pair.client, SocketAddr::new(vip, PORT), FLOWS)?;
    let begun = now();
    wait_until("answers", PATIENCE, || flows.are_answered(begun))?;
    run_for(Duration::from_millis(1500));
    let calm = now();
    run_for(Duration::from_millis(500));
    let floor = flows.seen(calm).gap;
    // A moment that does not fall in step with the adverts.
    run_for(Duration::from_micros(fastrand::u64(0..200_000)));
    let struck = now();
    event.strike(&lab, &first)?;
    second.wait_leader(GROUP)?;
    let after = now();
    wait_until("answers after it", PATIENCE, || flows.are_answered(after))?;
    let Seen { backends, gap, .. } = flows.seen(struck);
    if backends.iter().any(|backends| backends.len() != 1) {
        return Err(LabError::new(format!("a flow changed its backend: {backends:?}")));
    }
    Ok((floor.as_secs_f64() * 1e3, gap.as_secs_f64() * 1e3))
}
