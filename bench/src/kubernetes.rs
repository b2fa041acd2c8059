//! Services of a Kubernetes cluster with a real kube-apiserver: how long changes take, what many of them cost, and what an API
//! that is away costs.

mod api;
mod away;
mod cold;
mod living;
mod scene;

use crate::report::median;
pub(crate) use away::Trouble;
use fulcrum_tests::Result;
use std::fmt::Write;
use std::time::Duration;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// A Service is created, and endpoints change, while others live; then nothing happens.
    Living,
    /// The API server, its etcd's quorum and our token are away.
    Away,
    /// Nodes start before a cluster with very many Services.
    Cold,
}

/// How much of it.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) parts: Vec<Part>,
    /// Services that live while others are created.
    pub(crate) living: u32,
    /// Services of the cold start, of ten endpoints each.
    pub(crate) services: u32,
    /// Of them, so many share an address.
    pub(crate) share: u32,
    pub(crate) rounds: u32,
    /// How long the API is away.
    pub(crate) away: Duration,
    /// In which ways, one after the other.
    pub(crate) troubles: Vec<Trouble>,
    /// How packets get to the backends.
    pub(crate) mode: String,
}

/// What is asked for, in tables.
///
/// # Errors
/// There is no kube-apiserver, a lab can't be built, or it comes to nothing.
pub(crate) fn run(plan: &Plan) -> Result<String> {
    let mut text = String::new();
    for part in &plan.parts {
        text += &match part {
            Part::Living => living::run(plan)?,
            Part::Away => away::run(plan)?,
            Part::Cold => cold::run(plan)?,
        };
    }
    Ok(text)
}

/// A table of milliseconds.
fn table(rows: &[(&str, Vec<f64>)]) -> String {
    let mut text = String::from("| what, milliseconds | median | worst | times |\n|---|---:|---:|---:|\n");
    for (what, values) in rows {
        let worst = values.iter().copied().fold(f64::NAN, f64::max);
        let middle = median(values.iter().copied());
        let _ = writeln!(text, "| {what} | {middle:.0} | {worst:.0} | {} |", values.len());
    }
    text
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
