//! How long it takes to read a file beside which a source says many services. By hand:
//! `cargo run --release -p fulcrum-config --example many_services`
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "a measurement by hand"
)]

use fulcrum_config::{Before, Fragments, Noted, SourceName, UnixTime, parse_after};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

const FILE: &str = "\
nodes:
  lb-1: {addresses: [10.0.0.11], keys: [\"sha256:lXmoZ1C3sy9NRGzHkvNSlTxCk9vVNZ9VTWK6a0NO9mY=\"], priority: 120}
  lb-2: {addresses: [10.0.0.12], keys: [\"sha256:Wk9vCzGrVPt6j1xFCjTmkrOmx2bqVQnIwmpTQyPPOjA=\"]}
interfaces:
  eth0: {networks: [10.0.0.0/14]}
pools:
  public: {addresses: [10.1.0.0/16]}
checks:
  ping: {type: tcp}
";

/// Services with ten backends each; `bad` of them are wrong.
fn text(count: u32, bad: u32, json: bool) -> String {
    let mut text = String::from(if json { "{\"services\":{" } else { "services:\n" });
    for number in 0..count {
        let port = if number < bad { 0 } else { 443 };
        let last = 30_000 + number % 2_000;
        let backends: Vec<String> = (1..=10).map(|host| format!("\"10.0.9.{host}:{last}\"")).collect();
        let backends = backends.join(",");
        if json {
            let comma = if number > 0 { "," } else { "" };
            write!(text, "{comma}\"prod/ns/s{number}\":{{\"vip\":\"auto\",\"share\":\"s{}\",\"port\":{},\"backends\":[{backends}],\"check\":\"ping\"}}", number / 4, port + number % 4).unwrap();
        } else {
            writeln!(text, "  prod/ns/s{number}:\n    vip: auto\n    share: s{}\n    port: {}\n    backends: [{backends}]\n    check: ping", number / 4, port + number % 4).unwrap();
        }
    }
    if json {
        text.push_str("}}");
    }
    text
}

fn main() {
    for (count, bad, json) in
        [(500, 0, false), (5_000, 0, false), (5_000, 0, true), (5_000, 1, false), (5_000, 500, false)]
    {
        let text = text(count, bad, json);
        let says = Noted { what: Arc::from(text.as_str()), by: String::new(), since: UnixTime(1) };
        let fragments = Arc::new(Fragments::default().with(SourceName::new("prod"), Some(says)).unwrap());
        let mut before = Before { fragments, ..Before::default() };
        let mut took = Vec::new();
        for _ in 0..7 {
            let begun = Instant::now();
            let config = parse_after(FILE, "f", "lb-1", &before).unwrap().config;
            took.push(begun.elapsed());
            assert!(config.services.len() + config.sources.set_aside.len() == count as usize);
            before.allocations = Arc::clone(&config.allocations);
        }
        took.sort();
        println!(
            "{count} services of 10 backends ({} KiB{}), {bad} wrong: median {:.1} ms, worst {:.1} ms",
            text.len() >> 10,
            if json { " of JSON" } else { "" },
            took[3].as_secs_f64() * 1e3,
            took[6].as_secs_f64() * 1e3
        );
    }
}
