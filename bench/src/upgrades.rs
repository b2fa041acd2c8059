//! What clients see of another version on the node that serves them: new connections that fail, long ones that break.

use crate::failover::PATIENCE;
use crate::handovers::{MODES, allow_files};
use crate::load::{self, Kind, Load};
use fulcrum_tests::lab::{Family, Lab, Upgradable, forward, install};
use fulcrum_tests::probe::Crowd;
use fulcrum_tests::wait::{now, run_for};
use fulcrum_tests::{LabError, Result};
use std::fmt::Write;
use std::thread;
use std::time::Duration;

/// How often each long connection asks.
const EVERY: Duration = Duration::from_millis(500);
/// How long proxied connections last after the upgrade was asked for: the drain waits for them.
const LASTS: Duration = Duration::from_secs(8);
/// Clients, each of which makes one connection after the other, until some time after the upgrade.
const CLIENTS: usize = 24;
const LOAD: Duration = Duration::from_secs(30);

/// Runs all of it, and gives a table.
///
/// # Errors
/// A lab can't be built, or an upgrade is refused.
pub(crate) fn run(flows: usize, modes: &[String], in_place: bool) -> Result<String> {
    let how = if in_place { " --in-place" } else { "" };
    let mut text = format!(
        "\n### The leader's binary is replaced by `fulcrum upgrade-binary{how}`, {flows} long connections, new ones as fast as they go\n\n\
         Proxied connections end by themselves {} s after the upgrade was asked for, within the drain's deadline; forwarded ones last.\n\n\
         | mode | new connections a second | failed | long connections broken | the upgrade took |\n|---|---:|---:|---:|---:|\n",
        LASTS.as_secs()
    );
    for (name, mode) in
        MODES.into_iter().filter(|(name, _)| modes.is_empty() || modes.iter().any(|it| it == name))
    {
        eprintln!("{name}");
        allow_files(4 * flows as u64 + 2_000)?;
        let lab = Lab::new()?;
        let mut made = Ok(());
        let mut scene = Upgradable::new(&lab, |pair| {
            if let Some(mode) = mode {
                made = forward(pair, mode, Family::Ipv4);
            }
        })?;
        made?;
        let new = install(&scene.linked.pair.lb2)?;
        let (client, service) = (scene.linked.pair.client.clone(), scene.linked.pair.service());
        let crowd = Crowd::open(&client, service, flows, EVERY, PATIENCE)?;
        let load = Load { kind: Kind::Http, target: service, clients: CLIENTS, duration: LOAD };
        let load = thread::spawn(move || client.namespace().enter(|| load::run(load)));
        run_for(Duration::from_secs(3));
        let begun = now();
        let crowd = thread::spawn(move || {
            run_for(if mode.is_none() { LASTS } else { LOAD - Duration::from_secs(5) });
            crowd.lost()
        });
        let said = if in_place {
            scene.upgrade_in_place(&new)?
        } else {
            scene.upgrade(&new, 1)?.map_err(LabError::new)?
        };
        let took = begun.elapsed();
        eprintln!("{said}");
        let broken = crowd.join().map_err(|_| LabError::new("the long connections panicked"))?;
        let outcome = load.join().map_err(|_| LabError::new("the load panicked"))???;
        let _ = writeln!(
            text,
            "| {name} | {:.0} | {} of {} | {broken} of {flows} | {:.1} s |",
            outcome.operations as f64 / outcome.seconds,
            outcome.errors,
            outcome.operations + outcome.errors,
            took.as_secs_f64()
        );
    }
    Ok(text)
}
