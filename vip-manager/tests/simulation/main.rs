//! Whole groups of routers on a virtual clock, with seeded loss, delay, reordering, cuts, freezes and deaths.
//!
//! `FULCRUM_SEEDS` says how many seeds each test runs; `FULCRUM_SEED` runs one alone and prints what happens.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test: what goes wrong in it is to stop it"
)]

mod check;
mod cluster;
mod five;
mod frozen;
mod lab;
mod one_way;
mod random;
mod rogue;
mod start;
mod talk;
mod world;

/// Runs `test` for each seed of this run, and says how to run the one that fails again.
fn for_each_seed(name: &str, default: u64, test: impl Fn(u64)) {
    if let Some(seed) = variable("FULCRUM_SEED") {
        return test(seed);
    }
    for seed in 0..variable("FULCRUM_SEEDS").unwrap_or(default) {
        let again = Again { name, seed };
        test(seed);
        std::mem::forget(again);
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

/// Dropped by a panic.
struct Again<'a> {
    name: &'a str,
    seed: u64,
}

impl Drop for Again<'_> {
    fn drop(&mut self) {
        eprintln!(
            "seed {} fails; again with:\n  FULCRUM_SEED={} cargo test -p fulcrum-vip-manager --test simulation {} -- --nocapture",
            self.seed, self.seed, self.name
        );
    }
}
