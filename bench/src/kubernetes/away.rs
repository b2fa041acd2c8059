//! The API server, our token and the quorum of its etcd are away for a while.

use super::living::begin;
use super::scene::{PATIENCE, Reached, Scene, metric, metrics, service};
use super::{Plan, milliseconds};
use fulcrum_tests::Result;
use fulcrum_tests::lab::Lab;
use fulcrum_tests::probe::Crowd;
use fulcrum_tests::wait::{now, run_for, wait_until};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

const UP: &str = "fulcrum_kubernetes_up{cluster=\"prod\"}";
/// VIPs with connections, and connections of each.
const VIPS: u32 = 5;
const CONNECTIONS: usize = 20;

/// What is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Trouble {
    /// The API server is killed.
    ApiServer,
    /// Our account is deleted, and its token with it.
    Token,
    /// Its etcd has no quorum any more; last, for nothing brings it back.
    Quorum,
}

impl Trouble {
    fn words(self) -> &'static str {
        match self {
            Self::ApiServer => "the API server killed",
            Self::Token => "our token revoked",
            Self::Quorum => "its etcd without quorum",
        }
    }
}

pub(super) fn run(plan: &Plan) -> Result<String> {
    let lab = Lab::new()?;
    let mut scene = begin(&lab, plan)?;
    let client = scene.cluster.client.clone();
    let crowds = (0..VIPS).map(|number| {
        let (_, target) = service(number * (plan.living / VIPS), 1, Reached::NodePorts);
        Crowd::open(&client, target, CONNECTIONS, Duration::from_millis(500), Duration::from_secs(5))
    });
    let crowds = crowds.collect::<Result<Vec<_>>>()?;
    let mut text = format!(
        "\n### The API is away for {} s, {} VIPs, {} connections\n\n",
        plan.away.as_secs(),
        plan.living + 1,
        VIPS as usize * CONNECTIONS
    );
    text.push_str("| what | VIPs moved | connections broken | said in status and metrics after, s | in the words | heard again after, s |\n");
    text.push_str("|---|---:|---:|---:|---|---:|\n");
    for trouble in plan.troubles.iter().copied() {
        eprintln!("{} for {} s", trouble.words(), plan.away.as_secs());
        let (before, lost_before, mut broken) = (epochs(&scene)?, lost(&crowds), 0);
        let begun = now();
        strike(&mut scene, trouble)?;
        let said =
            wait_until("it to be said", Duration::from_secs(90).min(plan.away), || says(&scene).is_some());
        let said = said.map(|()| milliseconds(begun.elapsed()) / 1e3);
        let words: String = says(&scene).unwrap_or_else(|| "nothing".to_owned()).chars().take(100).collect();
        while begun.elapsed() < plan.away {
            run_for(Duration::from_secs(2).min(plan.away));
            let lost = lost(&crowds).saturating_sub(lost_before);
            if lost > broken {
                eprintln!("{lost} connections are broken, after {:?}", begun.elapsed());
                broken = lost;
            }
        }
        // Each move, also one that was taken back, is a new epoch.
        let after = epochs(&scene)?;
        let moved = before.iter().filter(|(group, epoch)| after.get(*group) != Some(epoch)).count();
        if moved > 0 {
            why(&scene, &before, &after);
        }
        let healed = now();
        let again = heal(&mut scene, trouble)?.then(|| {
            wait_until("the API to be heard again", PATIENCE, || {
                scene.nodes.iter().all(|node| metrics(node).is_ok_and(|text| metric(&text, UP) == 1.0))
            })
            .map(|()| milliseconds(healed.elapsed()) / 1e3)
        });
        let seconds = |time: f64| format!("{time:.1}");
        let _ = writeln!(
            text,
            "| {} | {moved} | {broken} | {} | {words} | {} |",
            trouble.words(),
            said.map_or_else(|_| "**not**".to_owned(), seconds),
            again.transpose()?.map_or_else(|| "not brought back".to_owned(), seconds)
        );
    }
    Ok(text)
}

fn lost(crowds: &[Crowd]) -> usize {
    crowds.iter().map(Crowd::lost).sum()
}

/// The number of the leader of each group, as the nodes know it.
fn epochs(scene: &Scene) -> Result<BTreeMap<String, u64>> {
    let mut epochs = BTreeMap::new();
    for node in &scene.nodes {
        let status = node.status()?;
        for group in status.0["groups"].as_array().into_iter().flatten() {
            let name = group["name"].as_str().unwrap_or_default().to_owned();
            let epoch: &mut u64 = epochs.entry(name).or_default();
            *epoch = group["epoch"].as_u64().unwrap_or_default().max(*epoch);
        }
    }
    Ok(epochs)
}

/// Prints what the nodes give as the reason: a machine whose processor is taken away for long moves VIPs, too.
fn why(scene: &Scene, before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) {
    for node in &scene.nodes {
        let Ok(status) = node.status() else { continue };
        let mut reasons = BTreeMap::new();
        let moved = before.iter().filter(|(group, epoch)| after.get(*group) != Some(epoch));
        for group in moved.filter_map(|(name, _)| status.group(name)) {
            *reasons.entry(group["reason"].to_string()).or_insert(0) += 1;
        }
        eprintln!("{}: {reasons:?}", node.machine.name());
        let log = node.process().log();
        let stood = log.lines().filter(|line| line.contains("did not run") || line.contains("stood still"));
        stood.take(5).for_each(|line| eprintln!("  {line}"));
    }
}

fn strike(scene: &mut Scene, trouble: Trouble) -> Result<()> {
    match trouble {
        Trouble::ApiServer => scene.kube.server()?.kill(),
        Trouble::Token => scene
            .kube
            .kubectl(&["delete", "serviceaccount", "fulcrum", "--namespace=fulcrum-system"])
            .map(drop),
        Trouble::Quorum => scene.kube.etcd.lose_quorum(),
    }
}

/// Whether it is brought back.
fn heal(scene: &mut Scene, trouble: Trouble) -> Result<bool> {
    match trouble {
        Trouble::ApiServer => scene.kube.server()?.restart()?,
        Trouble::Token => drop(scene.kube.service_account("fulcrum-system", "fulcrum", "1h")?),
        Trouble::Quorum => return Ok(false),
    }
    Ok(true)
}

/// What all nodes say, in status and metrics, of an API that does not answer.
fn says(scene: &Scene) -> Option<String> {
    let of = |node: &fulcrum_tests::lab::Fulcrum| {
        let status = node.status().ok()?;
        let cluster = status.0["kubernetes"].as_array()?.first()?.clone();
        let is_down = metric(&metrics(node).ok()?, UP) == 0.0;
        let why = cluster["error"].as_str()?.to_owned();
        (is_down && cluster["stale_since"].is_number()).then_some(why)
    };
    let all = scene.nodes.iter().map(of).collect::<Option<Vec<_>>>()?;
    all.into_iter().next()
}
