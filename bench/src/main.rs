//! Every number we publish, measured beside its peers in one run on one machine.
#![allow(
    clippy::disallowed_methods,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a measuring tool: it reads the clock, starts its subjects, and runs on no load balancer"
)]

mod cgroup;
mod cluster;
mod datagrams;
mod failover;
mod five;
mod flood;
mod flows;
mod handovers;
mod kubernetes;
mod load;
mod proxy;
mod report;
mod results;
mod serve;
mod services;
mod subject;
mod topology;
mod upgrades;

use clap::{Parser, Subcommand};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Parser)]
#[command(name = "fulcrum-bench", about = "Measures Fulcrum beside HAProxy, nginx and keepalived")]
struct Arguments {
    /// Put the tables into this file, in the place of the last run's.
    #[arg(long)]
    results: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// All of the below, with their defaults; takes about 50 minutes.
    All,
    /// The proxy beside HAProxy, nginx stream, nftables and the direct path.
    Proxy {
        /// Times that every subject has its turn.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Length of each load.
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// Idle connections held to measure memory; 0 skips it.
        #[arg(long, default_value_t = 9_500)]
        idle: usize,
        /// Only these, separated by commas: connections, requests, latency, bulk, datagrams.
        #[arg(long, value_delimiter = ',')]
        cells: Vec<String>,
        /// Only these: direct, nftables, fulcrum, haproxysplice, haproxycopy, nginx.
        #[arg(long, value_delimiter = ',')]
        subjects: Vec<String>,
    },
    /// The forwarding plane beside nftables DNAT and the direct path.
    Forwarding {
        /// Times that every subject has its turn.
        #[arg(long, default_value_t = 15)]
        rounds: usize,
        /// Length of each load.
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
        /// Only these, separated by commas: connections, requests, latency, bulk, datagrams.
        #[arg(long, value_delimiter = ',')]
        cells: Vec<String>,
    },
    /// Takeovers beside keepalived + HAProxy: kill -9, freeze, link cut, planned stop.
    Failover {
        /// Times that every event has its turn.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Flows of UDP through the forwarding plane, a datagram each millisecond: kill -9, freeze, link cut, handover.
    Datagrams {
        /// Times that every event has its turn.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Five nodes in one group at the shortest interval: leader after leader is lost.
    Five {
        /// Groups built and taken down node by node.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// N nodes that elect leaders: one is lost; one with 1,000 VIPs is lost; the cost of being one of N.
    Cluster {
        /// How many nodes, one after the other.
        #[arg(long, value_delimiter = ',', default_values_t = [2, 5, 32])]
        nodes: Vec<u8>,
        /// What is measured.
        #[arg(long, value_delimiter = ',', default_values = ["gaps", "cost", "many", "spread"])]
        parts: Vec<cluster::Part>,
        /// Times that every event has its turn.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// New connections to a control plane, quiet and while workloads of the same node are flooded.
    Flood {
        /// Times that every flood has its turn.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Length of each flood, and of the quiet time before it.
        #[arg(long, default_value_t = 4.0)]
        seconds: f64,
        /// Only these, separated by commas: proxy, nat, dsr, fullnat.
        #[arg(long, value_delimiter = ',')]
        modes: Vec<String>,
    },
    /// Flows of the forwarding plane that are known one by one: their memory on both nodes, and what telling of them takes.
    Flows {
        /// So many are known at the end; 0 leaves their memory out.
        #[arg(long, default_value_t = 1_000_000)]
        flows: u32,
        /// New ones a second while telling is measured.
        #[arg(long, default_value_t = 20_000)]
        rate: u32,
        /// For so long each time.
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
        /// Times that each way to choose has its turn; 0 leaves telling out.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// Handovers to and fro in each mode, under new connections and beside active and idle ones.
    Handovers {
        /// Handovers in each mode.
        #[arg(long, default_value_t = 20)]
        count: usize,
        /// Connections that ask all the time, and as many that are idle.
        #[arg(long, default_value_t = 1_000)]
        flows: usize,
        /// Only these, separated by commas: proxy, nat, dsr, fullnat.
        #[arg(long, value_delimiter = ',')]
        modes: Vec<String>,
    },
    /// The leader's binary is replaced under new connections and beside long ones.
    Upgrades {
        /// Long connections.
        #[arg(long, default_value_t = 1_000)]
        flows: usize,
        /// The new process takes over on the same node, not by way of the other one.
        #[arg(long)]
        in_place: bool,
        /// Only these, separated by commas: proxy, nat, dsr, fullnat.
        #[arg(long, value_delimiter = ',')]
        modes: Vec<String>,
    },
    /// Many services on one node: cold start, and one of them changed.
    Services {
        /// How many services.
        #[arg(long, default_value_t = 5_000)]
        count: u16,
        /// Times it is done.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Services of a Kubernetes cluster: changes beside many others, an API that is away, a cold start. Takes a
    /// kube-apiserver (`make kube-apiserver`), about eight minutes and 3 GB of memory.
    Kubernetes {
        /// What is measured.
        #[arg(long, value_delimiter = ',', default_values = ["living", "away", "cold"])]
        parts: Vec<kubernetes::Part>,
        /// Services that live while others are created.
        #[arg(long, default_value_t = 500)]
        living: u32,
        /// Services of the cold start, with ten endpoints each.
        #[arg(long, default_value_t = 5_000)]
        services: u32,
        /// Of them, so many share an address.
        #[arg(long, default_value_t = 10)]
        share: u32,
        /// Times that each change is made.
        #[arg(long, default_value_t = 15)]
        rounds: u32,
        /// For how many seconds the API is away; the target's are 600.
        #[arg(long, default_value_t = 30)]
        away: u64,
        /// In which ways it is away, one after the other.
        #[arg(long, value_delimiter = ',', default_values = ["api-server", "token", "quorum"])]
        troubles: Vec<kubernetes::Trouble>,
        /// How packets get to the backends, as a cluster's `mode` has it.
        #[arg(long, default_value = "auto")]
        mode: String,
    },
    /// Wait until a service answers (inside the clients' namespace).
    #[command(hide = true)]
    Await { kind: String, target: SocketAddr },
    /// Be the backend (inside its namespace).
    #[command(hide = true)]
    Serve { addresses: Vec<std::net::Ipv4Addr> },
    /// Be the clients (inside their namespace); prints one JSON object.
    #[command(hide = true)]
    Load { kind: load::Kind, target: SocketAddr, clients: usize, seconds: f64 },
    /// Hold idle connections until standard input ends; prints how many.
    #[command(hide = true)]
    Hold { target: SocketAddr, count: usize },
}

fn main() -> ExitCode {
    let Arguments { results, command } = Arguments::parse();
    match run(results.as_deref(), command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fulcrum-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(results: Option<&Path>, command: Command) -> io::Result<()> {
    match command {
        Command::All => [
            "proxy",
            "forwarding",
            "failover",
            "datagrams",
            "five",
            "cluster",
            "flood",
            "flows",
            "handovers",
            "upgrades",
            "upgrades --in-place",
            "services",
            "kubernetes",
        ]
        .into_iter()
        .try_for_each(|it| {
            let arguments = std::iter::once("fulcrum-bench").chain(it.split(' '));
            run(results, Arguments::parse_from(arguments).command)
        }),
        Command::Proxy { rounds, seconds, idle, cells, subjects } => {
            let cells = proxy::Cell::ALL.into_iter().filter(|cell| named(&cells, cell)).collect();
            let subjects =
                subject::Subject::TCP.into_iter().filter(|subject| named(&subjects, subject)).collect();
            let plan = proxy::Plan { rounds, seconds, cells, subjects, idle_connections: idle };
            let how = format!("fulcrum-bench proxy --rounds {rounds} --seconds {seconds} --idle {idle}");
            results::publish(results, "proxy", &how, &report::proxy(&proxy::run(&plan)?))
        }
        Command::Forwarding { rounds, seconds, cells } => {
            let cells = proxy::Cell::ALL.into_iter().filter(|cell| named(&cells, cell)).collect();
            let subjects = subject::Subject::FORWARDING.to_vec();
            let plan = proxy::Plan { rounds, seconds, cells, subjects, idle_connections: 0 };
            let how = format!("fulcrum-bench forwarding --rounds {rounds} --seconds {seconds}");
            results::publish(results, "forwarding", &how, &report::proxy(&proxy::run(&plan)?))
        }
        Command::Failover { rounds } => {
            let table = failover::run(rounds).map_err(io::Error::other)?;
            results::publish(
                results,
                "failover",
                &format!("fulcrum-bench failover --rounds {rounds}"),
                &table,
            )
        }
        Command::Datagrams { rounds } => {
            let table = datagrams::run(rounds).map_err(io::Error::other)?;
            let how = format!("fulcrum-bench datagrams --rounds {rounds}");
            results::publish(results, "datagrams", &how, &table)
        }
        Command::Five { rounds } => {
            let table = five::run(rounds).map_err(io::Error::other)?;
            results::publish(results, "five nodes", &format!("fulcrum-bench five --rounds {rounds}"), &table)
        }
        Command::Cluster { nodes, parts, rounds } => {
            let table = cluster::run(&nodes, &parts, rounds).map_err(io::Error::other)?;
            let how = format!("fulcrum-bench cluster --rounds {rounds}");
            results::publish(results, "cluster", &how, &table)
        }
        Command::Handovers { count, flows, modes } => {
            let table = handovers::run(count, flows, &modes).map_err(io::Error::other)?;
            let how = format!("fulcrum-bench handovers --count {count} --flows {flows}");
            results::publish(results, "handovers", &how, &table)
        }
        Command::Upgrades { flows, modes, in_place } => {
            let table = upgrades::run(flows, &modes, in_place).map_err(io::Error::other)?;
            let (name, more) = if in_place { ("upgrades-in-place", " --in-place") } else { ("upgrades", "") };
            let how = format!("fulcrum-bench upgrades --flows {flows}{more}");
            results::publish(results, name, &how, &table)
        }
        Command::Flood { rounds, seconds, modes } => {
            let table = flood::run(rounds, seconds, &modes).map_err(io::Error::other)?;
            let how = format!("fulcrum-bench flood --rounds {rounds} --seconds {seconds}");
            results::publish(results, "flood", &how, &table)
        }
        Command::Flows { flows, rate, seconds, rounds } => {
            let plan = flows::Plan { flows, rate, seconds, rounds };
            let table = flows::run(&plan).map_err(io::Error::other)?;
            let how = format!("fulcrum-bench flows --flows {flows} --rate {rate} --rounds {rounds}");
            results::publish(results, "flows", &how, &table)
        }
        Command::Services { count, rounds } => {
            let how = format!("fulcrum-bench services --count {count} --rounds {rounds}");
            results::publish(results, "services", &how, &services::run(count, rounds)?)
        }
        Command::Kubernetes { parts, living, services, share, rounds, away, troubles, mode } => {
            let how = format!("fulcrum-bench kubernetes --rounds {rounds} --away {away}");
            let away = Duration::from_secs(away);
            let share = share.max(1);
            let plan = kubernetes::Plan { parts, living, services, share, rounds, away, troubles, mode };
            let table = kubernetes::run(&plan).map_err(io::Error::other)?;
            results::publish(results, "kubernetes", &how, &table)
        }
        Command::Await { kind, target } => services::wait_for(&kind, target),
        Command::Serve { addresses } => serve::run(&addresses),
        Command::Load { kind, target, clients, seconds } => {
            let load = load::Load { kind, target, clients, duration: Duration::from_secs_f64(seconds) };
            println!("{}", serde_json::to_string(&load::run(load)?)?);
            Ok(())
        }
        Command::Hold { target, count } => load::hold(target, count),
    }
}

/// Whether `thing` is among `names`, or no names were given.
fn named(names: &[String], thing: &impl std::fmt::Debug) -> bool {
    names.is_empty() || names.iter().any(|name| *name == format!("{thing:?}").to_lowercase())
}

/// Waits for something outside that can't be waited for otherwise.
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
