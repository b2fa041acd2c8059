//! `fulcrum roll`: nodes that are really destroyed and made anew, one after another, while requests go on.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    reason = "a test stops at what it did not expect, and starts processes"
)]

use fulcrum_tests::Result;
use fulcrum_tests::lab::{
    Cluster, Fulcrum, GROUP, Lab, Linked, Machine, Pair, fulcrum_binary, ipv4, wait_settled,
};
use fulcrum_tests::probe::{Crowd, Options, Probe, Session, request};
use fulcrum_tests::wait::{now, run_for, wait_for, wait_until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(240);
const SECOND: Duration = Duration::from_secs(1);
const CONNECTIONS: usize = 60;

/// The inventory, and a program that destroys a node and makes it anew: its processes, its network namespace with its
/// link to the switch, and its state. Its file and its key are what a real one is made with.
struct Scene {
    inventory: PathBuf,
    recreate: PathBuf,
    /// While this file is there, what is made anew does not start.
    broken: PathBuf,
}

impl Scene {
    fn new(lab: &Lab, nodes: &[&Machine]) -> Result<Self> {
        Self::with(lab, nodes, "")
    }

    /// A node is made with these lines of a shell, too, run in its network namespace.
    fn with(lab: &Lab, nodes: &[&Machine], further: &str) -> Result<Self> {
        let directory = lab.directory();
        let (inventory, recreate) = (directory.join("nodes.yaml"), directory.join("recreate"));
        let (broken, binary) = (directory.join("broken"), fulcrum_binary()?);
        let (mut list, mut cases) = ("nodes:\n".to_owned(), String::new());
        for node in nodes {
            let (name, space, socket) = (node.name(), node.namespace().name(), Fulcrum::socket_of(node));
            let switch = format!("{}switch", space.strip_suffix(name).unwrap_or_default());
            let (config, state) = (node.file("fulcrum.yaml"), node.file("state"));
            // Writing to a String does not fail.
            writeln!(
                list,
                "  - name: {name}\n    fulcrum: [nsenter, --net=/run/netns/{space}, env, FULCRUM_SOCKET={}, {}]\n    config: {}",
                socket.display(),
                binary.display(),
                config.display()
            )
            .ok();
            writeln!(
                cases,
                "{name}) ns={space}; switch={switch}; port={}; mac={}; four={}; six={}; config={}; state={}; log={} ;;",
                node.port(),
                node.mac(),
                node.ipv4(),
                node.ipv6(),
                config.display(),
                state.display(),
                node.file("fulcrum.log").display()
            )
            .ok();
        }
        fs::write(&inventory, list)?;
        let script = RECREATE
            .replace("CASES", &cases)
            .replace("FURTHER", further)
            .replace("BROKEN", &broken.display().to_string())
            .replace("BINARY", &binary.display().to_string());
        fs::write(&recreate, script)?;
        Ok(Self { inventory, recreate, broken })
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(fulcrum_binary()?);
        command.arg("roll").arg("--inventory").arg(&self.inventory).args(arguments).stdin(Stdio::null());
        Ok(command)
    }

    fn exec(&self) -> String {
        format!("sh {} {{node}}", self.recreate.display())
    }

    /// Runs it to its end, and shows what it said.
    fn roll(&self, arguments: &[&str]) -> Result<(Output, String)> {
        let output = self.command(arguments)?.output()?;
        let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        println!("{said}");
        Ok((output, said))
    }

    /// Starts it; what it says goes to a file.
    fn start(&self, arguments: &[&str]) -> Result<Child> {
        let log = fs::File::options().create(true).append(true).open(self.inventory.with_extension("log"))?;
        Ok(self.command(arguments)?.stdout(log.try_clone()?).stderr(log).spawn()?)
    }

    /// Which node it is at, and which step.
    fn at(&self) -> Option<(String, String)> {
        let mut path = self.inventory.clone().into_os_string();
        path.push(".roll");
        let journal: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        let entry = journal["nodes"].as_array()?.iter().find(|entry| entry["step"] != "done")?;
        Some((entry["node"].as_str()?.to_owned(), entry["step"].as_str()?.to_owned()))
    }
}

const RECREATE: &str = r#"set -eu
case "$1" in
CASES
*) echo "no such node: $1"; exit 1 ;;
esac
echo "destroys $1"
if [ -e /run/netns/$ns ]; then
    for pid in $(ip netns pids $ns); do kill -9 $pid 2>/dev/null || true; done
    while [ -n "$(ip netns pids $ns)" ]; do sleep 0.05; done
    rm -rf /sys/fs/bpf/fulcrum/$(stat -Lc %i /run/netns/$ns)
    ip netns del $ns
fi
ip -n $switch link del $port 2>/dev/null || true
rm -rf $state
echo "makes $1"
ip netns add $ns
for what in all default; do
    for setting in accept_dad accept_ra disable_ipv6; do
        nsenter --net=/run/netns/$ns sh -c "echo 0 > /proc/sys/net/ipv6/conf/$what/$setting"
    done
done
ip link add eth0 netns $ns type veth peer name $port netns $switch
ip -n $switch link set $port master br0
ip -n $switch link set $port up
ip -n $ns link set lo up
ip -n $ns link set eth0 address $mac up
ip -n $ns addr add $four/24 dev eth0
ip -n $ns addr add $six/64 dev eth0 nodad
nsenter --net=/run/netns/$ns sh -ec "FURTHER"
[ -e BROKEN ] && exit 0
setsid nsenter --net=/run/netns/$ns BINARY run $config >>$log 2>&1 </dev/null &
"#;

/// When its daemon was started, roughly: grows with each time it is made anew.
fn uptime(node: &Fulcrum) -> Result<u64> {
    Ok(node.status()?.0["uptime_seconds"].as_u64().unwrap_or_default())
}

/// Of one group, at most, while five nodes are changed: each leads it once, and takes it back for an even spread.
const HANDOVERS: usize = 10;
/// What fails at most where a leader of proxied services hands over once. Nothing fails for any other reason.
const IN_A_HANDOVER: usize = 2;
/// A request that takes longer has lost a packet, which its client sends again after a second.
const LATE: Duration = Duration::from_millis(300);

/// Requests that have time to send a lost packet again, as those of a client have.
fn probe(client: &Machine, service: SocketAddr, interval: u64) -> Result<Probe> {
    let options =
        Options { interval: Duration::from_millis(interval), timeout: 3 * SECOND, ..Options::default() };
    let (begun, probe) = (now(), Probe::start(client, service, options)?);
    wait_for("a first answer", LONG, || probe.answered_since(begun))?;
    Ok(probe)
}

fn assert_served(what: &str, probe: Probe, handovers: usize) {
    let timeline = probe.finish();
    let (failed, gap) = (timeline.failed(), timeline.longest_gap());
    let late = timeline.samples().iter().filter(|sample| sample.is_answer() && sample.took > LATE).count();
    println!("{what}: {failed} failed, {late} late, longest gap {gap:?}, {:?}", timeline.outcomes());
    assert!(failed <= handovers * IN_A_HANDOVER && gap < SECOND, "{what}");
}

#[test]
fn both_nodes_of_a_pair_are_destroyed_and_made_anew_while_requests_go_on() {
    Lab::run(|lab| {
        let Linked { pair, nodes } = Linked::new(lab, |_| {}, Fulcrum::start)?;
        let [first, second] = &nodes[..] else { unreachable!("two nodes") };
        let scene = Scene::new(lab, &[&pair.lb1, &pair.lb2])?;
        let exec = scene.exec();
        let (output, plan) = scene.roll(&["--exec", &exec, "--dry-run"])?;
        assert!(output.status.success() && plan.contains("1 of 2: lb2, which leads 0 of 1 group"), "{plan}");
        assert!(scene.at().is_none(), "a dry run keeps nothing");

        let probe = probe(&pair.client, pair.service(), 2)?;
        let begun = now();
        let mut running = scene.start(&["--exec", &exec])?;
        wait_until("it to begin", LONG, || scene.at().is_some_and(|(node, _)| node == "lb2"))?;
        let (refused, said) = scene.roll(&["--exec", &exec])?;
        assert_eq!(refused.status.code(), Some(1));
        assert!(said.contains("another roll of this inventory is going on"), "{said}");
        let mut ended = None;
        wait_until("its end", LONG, || {
            ended = running.try_wait().ok().flatten();
            ended.is_some()
        })?;
        let said = fs::read_to_string(scene.inventory.with_extension("log"))?;
        println!("{said}");
        assert_eq!(ended.and_then(|ended| ended.code()), Some(0));
        assert!(said.contains("all nodes are changed"), "{said}");
        run_for(SECOND);
        assert_served("pair", probe, 1);
        println!("in {:?}", begun.elapsed());
        for node in [first, second] {
            assert!(uptime(node)? <= begun.elapsed().as_secs(), "{} was not made anew", node.machine.name());
        }
        wait_settled(&[first, second])?;
        Ok(())
    });
}

#[test]
fn a_node_that_does_not_come_back_stops_the_roll_and_all_is_served() {
    Lab::run(|lab| {
        let Linked { pair, nodes } = Linked::new(lab, |_| {}, Fulcrum::start)?;
        let [first, second] = &nodes[..] else { unreachable!("two nodes") };
        let scene = Scene::new(lab, &[&pair.lb1, &pair.lb2])?;
        let exec = scene.exec();
        let probe = probe(&pair.client, pair.service(), 2)?;
        fs::write(&scene.broken, "")?;
        let quick = ["--exec", &exec, "--no-preflight", "--ready-deadline", "3s"];
        let (output, said) = scene.roll(&quick)?;
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("stopped at lb2") && said.contains("lb2 does not answer"), "{said}");
        assert!(said.contains("to come: lb1"), "{said}");
        assert!(first.status()?.role(GROUP) == Some("leader"));

        let (again, said) = scene.roll(&quick)?;
        assert_eq!(again.status.code(), Some(1));
        assert!(said.contains("a roll is not finished") && said.contains("--resume"), "{said}");
        let (other, said) = scene.roll(&["--exec", "./other {node}", "--resume"])?;
        assert_eq!(other.status.code(), Some(1));
        assert!(said.contains("leave --exec out"), "{said}");

        // Mended by hand: it goes on with what is left, and does not destroy it once more.
        fs::remove_file(&scene.broken)?;
        let _mended = pair.start(&pair.lb2)?;
        second.wait_hears_leader(GROUP)?;
        let (output, said) = scene.roll(&["--resume"])?;
        assert!(output.status.success(), "{said}");
        assert!(!said.contains("destroys lb2") && said.contains("destroys lb1"), "{said}");
        assert_served("pair", probe, 1);
        let (done, said) = scene.roll(&["--resume"])?;
        assert!(!done.status.success() && said.contains("no roll is unfinished"), "{said}");
        Ok(())
    });
}

#[test]
fn a_roll_that_is_killed_at_each_of_its_steps_goes_on_where_it_was() {
    Lab::run(|lab| {
        let Linked { pair, nodes } = Linked::new(lab, |_| {}, Fulcrum::start)?;
        let [first, second] = &nodes[..] else { unreachable!("two nodes") };
        let scene = Scene::new(lab, &[&pair.lb1, &pair.lb2])?;
        let exec = scene.exec();
        let probe = probe(&pair.client, pair.service(), 2)?;
        let mut killed = BTreeSet::new();
        let mut running = scene.start(&["--exec", &exec])?;
        loop {
            let mut ended = None;
            let at = wait_for("a step", LONG, || {
                ended = running.try_wait().ok().flatten();
                let new = scene.at().filter(|at| !killed.contains(at));
                (ended.is_some() || new.is_some()).then_some(new)
            })?;
            if let Some(ended) = ended {
                assert!(ended.success(), "{:?}", fs::read_to_string(scene.inventory.with_extension("log")));
                break;
            }
            running.kill()?;
            running.wait()?;
            killed.extend(at);
            running = scene.start(&["--resume"])?;
        }
        println!("killed at {killed:?}");
        for step in ["others", "preflight", "change", "return"] {
            for node in ["lb1", "lb2"] {
                assert!(killed.contains(&(node.to_owned(), step.to_owned())), "{node}, {step}: {killed:?}");
            }
        }
        wait_settled(&[first, second])?;
        assert_served("pair", probe, 1);
        Ok(())
    });
}

/// Nothing that the kernel forwards ends with a node: of connections that are open all the while, each lives, on its backend.
fn connections_live(mode: &str, prepare: impl Fn(&mut Pair) -> Result<String>) {
    Lab::run(|lab| {
        let mut further = Ok(String::new());
        let prepared = |pair: &mut Pair| {
            pair.plan.service = vec![format!("mode: {mode}")];
            further = prepare(pair);
        };
        let Linked { pair, nodes } = Linked::new(lab, prepared, Fulcrum::start)?;
        let (further, nodes) = (further?, nodes.iter().collect::<Vec<_>>());
        let probe = probe(&pair.client, pair.service(), 2)?;
        let crowd = Crowd::open(&pair.client, pair.service(), CONNECTIONS, SECOND / 5, 15 * SECOND)?;
        let scene = Scene::with(lab, &[&pair.lb1, &pair.lb2], &further)?;
        let (output, said) = scene.roll(&["--exec", &scene.exec()])?;
        assert!(output.status.success(), "{said}");
        let stall = crowd.wait_answered()?;
        println!("{mode}: {CONNECTIONS} connections live, the longest stall {stall:?}");
        assert_served(mode, probe, 0);
        wait_settled(&nodes)?;
        Ok(())
    });
}

#[test]
fn connections_of_fullnat_live_through_a_roll_of_both_nodes() {
    connections_live("fullnat", |_| Ok(String::new()));
}

#[test]
fn connections_of_dsr_live_through_a_roll_of_both_nodes() {
    connections_live("dsr", |pair| {
        for web in &pair.web {
            web.machine.set("net/ipv4/conf/all/arp_ignore", "1")?;
            web.machine.set("net/ipv4/conf/all/arp_announce", "2")?;
            web.machine.run("ip", &["address", "add", "10.77.0.100/32", "dev", "lo"])?;
        }
        Ok(String::new())
    });
}

#[test]
fn connections_of_nat_live_through_a_roll_of_both_nodes() {
    connections_live("nat", |pair| {
        // The client is behind a network of its own, and replies come through whoever leads.
        let route = format!("route add 192.0.2.0/24 via {}", pair.client.ipv4());
        pair.client.run("ip", &["address", "add", "192.0.2.50/32", "dev", "lo"])?;
        pair.client.run("ip", &["route", "add", "10.77.0.100/32", "dev", "eth0", "src", "192.0.2.50"])?;
        for node in [&pair.lb1, &pair.lb2] {
            node.set("net/ipv4/ip_forward", "1")?;
            node.run("ip", &route.split(' ').collect::<Vec<_>>())?;
        }
        for web in &pair.web {
            web.machine.run("ip", &["route", "add", "192.0.2.0/24", "via", "10.77.0.101"])?;
        }
        pair.plan.gateways = vec![ipv4(101)];
        Ok(format!("echo 1 > /proc/sys/net/ipv4/ip_forward; ip {route}"))
    });
}

#[test]
fn proxied_connections_that_do_not_finish_are_cut_at_the_deadline_and_counted() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        pair.plan = pair.plan.clone().with_keys()?;
        let (first, _second) = pair.start_both()?;
        wait_until("both to agree", LONG, || first.status().is_ok_and(|status| status.agrees_with("lb2")))?;
        let mut sessions: Vec<Session> =
            (0..3).map(|_| Session::open(&pair.client, pair.service(), LONG)).collect::<Result<_>>()?;
        let scene = Scene::new(lab, &[&pair.lb1, &pair.lb2])?;
        let (output, said) = scene.roll(&["--exec", &scene.exec(), "--no-preflight", "--deadline", "3s"])?;
        assert!(output.status.success(), "{said}");
        assert!(said.contains("3 connections to finish"), "{said}");
        assert!(said.contains("3 connections had not finished at the deadline and are cut"), "{said}");
        for session in &mut sessions {
            assert!(session.ask().is_err(), "it ended with its node");
        }
        Ok(())
    });
}

#[test]
fn five_nodes_are_destroyed_and_made_anew_one_after_another_while_requests_go_on() {
    Lab::run(|lab| {
        let cluster = Cluster::new(lab, 5, 5)?;
        let nodes = cluster.start_all()?;
        let all: Vec<&Fulcrum> = nodes.iter().collect();
        wait_settled(&all)?;
        let machines: Vec<&Machine> = cluster.nodes.iter().collect();
        let scene = Scene::new(lab, &machines)?;
        let probes: Vec<Probe> = (0..cluster.groups)
            .map(|group| probe(&cluster.client, cluster.service(group), 5))
            .collect::<Result<_>>()?;
        let begun = now();
        let (output, said) = scene.roll(&["--exec", &scene.exec(), "--json", "--no-preflight"])?;
        assert!(output.status.success(), "{said}");
        let events: Vec<Value> =
            said.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>()?;
        let changed = events.iter().filter(|event| event["event"] == "changed");
        let changed: BTreeSet<&str> = changed.filter_map(|event| event["node"].as_str()).collect();
        assert_eq!(changed.len(), 5, "{changed:?}");
        run_for(SECOND);
        println!("five nodes in {:?}", begun.elapsed());
        for (name, probe) in cluster.names().zip(probes) {
            assert_served(&name, probe, HANDOVERS);
        }
        for node in &all {
            assert!(uptime(node)? <= begun.elapsed().as_secs(), "{} was not made anew", node.machine.name());
        }
        wait_settled(&all)?;
        for group in 0..cluster.groups {
            assert!(request(&cluster.client, cluster.service(group), 3 * SECOND)?.is_answer());
        }
        Ok(())
    });
}
