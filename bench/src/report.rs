//! Tables of medians and ratios, as Markdown.

use crate::proxy::{Cell, Sample, Samples};
use crate::subject::Subject;
use std::fmt::Write;

/// The middle of the values; of an even number, the lower of the two.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// The tables of one run.
pub(crate) fn proxy(samples: &Samples) -> String {
    let mut text = String::new();
    for cell in Cell::ALL {
        if cell.subjects().any(|subject| samples.cells.contains_key(&(cell, subject))) {
            text += &table(samples, cell);
        }
    }
    if !samples.idle.is_empty() {
        text += &idle(samples);
    }
    text
}

fn table(samples: &Samples, cell: Cell) -> String {
    let (title, rate, cost) = match cell {
        Cell::Connections => {
            ("New TCP connections (64 clients; connect, 64 bytes each way, close)", "per second", "us")
        }
        Cell::Requests => ("Request/response, 64 bytes, 64 connections", "per second", "us"),
        Cell::Latency => ("Request/response, 64 bytes, one connection", "per second", "us"),
        Cell::Bulk => ("Bulk, 4 flows", "Gbit/s", "s/GB"),
        Cell::Datagrams => ("UDP request/response, 64 bytes, 64 clients", "per second", "us"),
    };
    let mut text = format!(
        "\n### {title}\n\n| subject | {rate} | p50 us | p99 us | CPU of all, {cost} each | CPU added to direct | errors |\n\
         |---|---:|---:|---:|---:|---:|---:|\n"
    );
    let of = |subject: Subject| samples.cells.get(&(cell, subject)).map_or(&[][..], Vec::as_slice);
    let middle = |subject, value: &dyn Fn(&Sample) -> f64| median(of(subject).iter().map(value));
    let direct = middle(Subject::Direct, &|sample| sample.cost(cell));
    for subject in cell.subjects().filter(|subject| samples.cells.contains_key(&(cell, *subject))) {
        let cost = middle(subject, &|sample| sample.cost(cell));
        let errors: u64 = of(subject).iter().map(|sample| sample.outcome.errors).sum();
        let _ = writeln!(
            text,
            "| {} | {:.*} | {:.0} | {:.0} | {cost:.3} | {:.3} | {errors} |",
            subject.name(),
            if cell == Cell::Bulk { 2 } else { 0 },
            middle(subject, &|sample| sample.rate(cell)),
            middle(subject, &|sample| sample.outcome.p50_us as f64),
            middle(subject, &|sample| sample.outcome.p99_us as f64),
            cost - direct,
        );
    }
    let ours = [Subject::Fulcrum, Subject::FulcrumNat, Subject::FulcrumFullnat];
    ours.into_iter().for_each(|ours| text += &ratios(samples, cell, ours));
    text
}

/// Ours against each peer, round by round, so that drift of the machine cancels out.
fn ratios(samples: &Samples, cell: Cell, ours: Subject) -> String {
    let mut text = format!(
        "\n| {} / peer, medians of rounds | rate | p50 | p99 | CPU added |\n|---|---:|---:|---:|---:|\n",
        ours.name()
    );
    let (Some(ours), Some(direct)) =
        (samples.cells.get(&(cell, ours)), samples.cells.get(&(cell, Subject::Direct)))
    else {
        return String::new();
    };
    for peer in [Subject::HaproxySplice, Subject::HaproxyCopy, Subject::Nginx, Subject::Nftables] {
        let Some(theirs) = samples.cells.get(&(cell, peer)) else { continue };
        let rounds = || ours.iter().zip(theirs).zip(direct);
        let ratio = |value: &dyn Fn(&Sample, &Sample) -> f64| {
            median(rounds().map(|((ours, theirs), direct)| value(ours, direct) / value(theirs, direct)))
        };
        let _ = writeln!(
            text,
            "| {} | {:.2} | {:.2} | {:.2} | {:.2} |",
            peer.name(),
            ratio(&|sample, _| sample.rate(cell)),
            ratio(&|sample, _| sample.outcome.p50_us as f64),
            ratio(&|sample, _| sample.outcome.p99_us as f64),
            ratio(&|sample, direct| sample.cost(cell) - direct.cost(cell)),
        );
    }
    text
}

fn idle(samples: &Samples) -> String {
    let mut text = String::from(
        "\n### Memory for one idle proxied connection\n\n| subject | process, bytes | kernel (clients', backends' and its own sockets), bytes |\n|---|---:|---:|\n",
    );
    for (subject, values) in &samples.idle {
        let process = median(values.iter().map(|idle| idle.process));
        let kernel = median(values.iter().map(|idle| idle.kernel));
        let _ = writeln!(text, "| {} | {process:.0} | {kernel:.0} |", subject.name());
    }
    text
}
