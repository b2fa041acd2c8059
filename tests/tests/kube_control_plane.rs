//! The VIP of a control plane in front of three real apiservers, by the files of `fulcrum init control-plane`.

#![allow(clippy::indexing_slicing, reason = "there are two nodes, 0 and 1, and three apiservers")]

use fulcrum_tests::lab::kubernetes::{API_PORT, Apiserver, Kubectl, KubernetesApi};
use fulcrum_tests::lab::{Fulcrum, Lab, Machine, Process, fulcrum_binary, ipv4, output};
use fulcrum_tests::wait::{now, run_for, wait_for, wait_until};
use fulcrum_tests::{LabError, Result};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const GROUP: &str = "control-plane";
const SERVICE: &str = "kubernetes-api";
const LONG: Duration = Duration::from_secs(60);

/// A pair that serves, and three apiservers of which none has been started.
struct Scene {
    client: Machine,
    nodes: [Fulcrum; 2],
    api: KubernetesApi,
    vip: SocketAddr,
}

/// What a client got that asks again and again.
struct Asked {
    answered: Vec<Instant>,
    failed: usize,
}

impl Scene {
    /// By the files as they are written, or for another mode.
    fn new(lab: &Lab, mode: &str) -> Result<Self> {
        let vip = SocketAddr::new(ipv4(100), API_PORT);
        let client = lab.machine("client", 50)?;
        let places = [("lb1", 11), ("lb2", 12)].into_iter();
        let places = places.map(|(name, number)| lab.machine(name, number)).collect::<Result<Vec<_>>>()?;
        let numbers = [("cp1", 21), ("cp2", 22), ("cp3", 23)].into_iter();
        let machines = numbers.map(|(name, number)| lab.machine(name, number)).collect::<Result<Vec<_>>>()?;
        let site = init(lab, &places, &machines)?;
        let start = |machine: &Machine| {
            let text = std::fs::read_to_string(site.join(format!("{}.yaml", machine.name())))?;
            let key = site.join(format!("{}.key", machine.name())).display().to_string();
            let (socket, state) = (Fulcrum::socket_of(machine), machine.file("state"));
            let (socket, state) = (socket.display(), state.display());
            let text = text.replace("/etc/fulcrum/peer.key", &key);
            let text = if mode.is_empty() { text } else { in_mode(&text, mode) };
            Fulcrum::start(
                machine,
                &format!("{text}admin: {{socket: {socket}, state_dir: {state}, held_after_crashes: 0}}\n"),
            )
        };
        let first = start(&places[0])?;
        first.wait_leader(GROUP)?;
        let second = start(&places[1])?;
        second.wait_hears_leader(GROUP)?;
        let etcd = lab.machine("etcd", 20)?;
        let api = KubernetesApi::prepare(&etcd, &machines, &[vip.ip()])?;
        Ok(Self { client, nodes: [first, second], api, vip })
    }

    /// The admin at the client, who asks the VIP.
    fn admin(&self) -> Result<Kubectl> {
        Ok(self.api.admin()?.at(self.vip)?.from(&self.client))
    }

    fn wait_up(&self, apiservers: usize) -> Result<()> {
        let dead = |node: &Fulcrum| node.process().ended().is_some();
        let known = |node: &Fulcrum| {
            dead(node) || node.status().is_ok_and(|it| it.backends(SERVICE, "up") == apiservers)
        };
        wait_until(&format!("{apiservers} apiservers to be up"), LONG, || self.nodes.iter().all(known))
    }

    /// How a connection to the VIP fails.
    fn connect(&self) -> Result<Option<ErrorKind>> {
        let connect = || TcpStream::connect_timeout(&self.vip, Duration::from_secs(3));
        Ok(self.client.namespace().enter(connect)?.err().map(|error| error.kind()))
    }

    /// The connections of each apiserver that come through the pair.
    fn through(&self) -> Result<BTreeSet<(usize, String)>> {
        let mut found = BTreeSet::new();
        for (index, server) in self.api.servers.iter().enumerate() {
            let port = format!("sport = :{API_PORT}");
            let text = server.machine.run("ss", &["-Htn", "state", "established", &port])?;
            let peers = text.lines().filter_map(|line| line.split_whitespace().last());
            let ours = peers.filter(|peer| {
                ["10.77.0.11]:", "10.77.0.12]:", "10.77.0.100]:"].iter().any(|it| peer.contains(it))
            });
            found.extend(ours.map(|peer| (index, peer.to_owned())));
        }
        Ok(found)
    }

    /// The apiserver that has a connection which lasts, as those of health checks do not.
    fn watched(&self) -> Result<usize> {
        wait_for("the connection of a watch", LONG, || {
            let before = self.through().ok()?;
            run_for(Duration::from_millis(1500));
            let lasting: BTreeSet<usize> =
                self.through().ok()?.intersection(&before).map(|(index, _)| *index).collect();
            lasting.into_iter().next()
        })
    }

    /// Asks the VIP for its version on new connections, one after the other, while `work` is done.
    fn asking<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, Asked)> {
        let stop = AtomicBool::new(false);
        let (url, ca) = (format!("https://{}/version", self.vip), self.api.ca().display().to_string());
        let ask = || -> Result<Asked> {
            let arguments = [
                "--silent",
                "--show-error",
                "--fail",
                "--max-time",
                "5",
                "--cacert",
                ca.as_str(),
                url.as_str(),
            ];
            let mut asked = Asked { answered: Vec::new(), failed: 0 };
            while !stop.load(Ordering::Relaxed) {
                match self.client.run("curl", &arguments) {
                    Ok(_) => asked.answered.push(now()),
                    Err(error) => {
                        asked.failed = asked.failed.saturating_add(1);
                        println!("{error}");
                    }
                }
                run_for(Duration::from_millis(10));
            }
            Ok(asked)
        };
        std::thread::scope(|scope| {
            let asking = scope.spawn(ask);
            let done = work();
            stop.store(true, Ordering::Relaxed);
            let asked = asking.join().map_err(|_| LabError::new("the client panicked"))?;
            Ok((done?, asked?))
        })
    }
}

impl Asked {
    fn longest_gap(&self) -> Duration {
        let pairs = self.answered.windows(2).map(|pair| pair[1].duration_since(pair[0]));
        pairs.max().unwrap_or_default()
    }

    fn show(&self, what: &str) {
        let (gap, answered) = (self.longest_gap(), self.answered.len());
        println!("{what}: {answered} requests answered, {} failed, {gap:?} without an answer", self.failed);
    }
}

/// What an operator does: `fulcrum init control-plane`, before there is a cluster.
fn init(lab: &Lab, nodes: &[Machine], apiservers: &[Machine]) -> Result<PathBuf> {
    let site = lab.directory().join("site");
    let (program, directory) = (fulcrum_binary()?.display().to_string(), site.display().to_string());
    let wanted =
        ["init", "control-plane", "--vip=10.77.0.100", "--interface=eth0", "--directory", &directory];
    let nodes = nodes.iter().map(|node| format!("--node={}={}", node.name(), node.ipv4()));
    let apiservers = apiservers.iter().map(|machine| format!("--apiserver={}", machine.ipv4()));
    let machines: Vec<String> = nodes.chain(apiservers).collect();
    let arguments: Vec<&str> = wanted.into_iter().chain(machines.iter().map(String::as_str)).collect();
    output(&program, &arguments)?;
    Ok(site)
}

/// The same file for another mode: what is only the proxy's goes.
fn in_mode(text: &str, mode: &str) -> String {
    let lines =
        text.lines().filter(|line| !["timeouts:", "on_down:"].iter().any(|it| line.trim().starts_with(it)));
    let lines = lines.map(|line| line.replace("check: readyz", &format!("check: readyz\n    mode: {mode}")));
    lines.map(|line| line + "\n").collect()
}

fn config_map(name: &str) -> String {
    format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}, namespace: default}}}}")
}

/// Has three apiservers behind the pair, of which the first is reached through the VIP as soon as it is ready, as kubeadm does.
fn bring_up(scene: &mut Scene) -> Result<Kubectl> {
    assert_eq!(scene.connect()?, Some(ErrorKind::ConnectionRefused), "there is no apiserver yet");
    scene.api.servers[0].start()?;
    let admin = scene.admin()?;
    wait_until("the first apiserver through the VIP", LONG, || admin.run(&["get", "--raw=/readyz"]).is_ok())?;
    scene.api.start_servers()?;
    scene.wait_up(3)?;
    admin.apply(&config_map("news"))?;
    Ok(admin)
}

/// A kubectl that waits until the news are so.
fn wait_for_news(admin: &Kubectl, news: &str) -> Result<Process> {
    let until = format!("--for=jsonpath={{.data.said}}={news}");
    admin.spawn(&format!("wait-{news}"), &["wait", "configmap/news", &until, "--timeout=120s"])
}

fn tell_news(admin: &Kubectl, news: &str) -> Result<()> {
    let patch = format!("{{\"data\": {{\"said\": \"{news}\"}}}}");
    wait_until("a change through the VIP", LONG, || {
        admin.run(&["patch", "configmap", "news", "--patch", &patch]).is_ok()
    })
}

fn assert_heard(waiting: &Process) -> Result<()> {
    let ended = waiting.wait(LONG)?;
    assert!(ended.success(), "{ended}: {}", waiting.log());
    Ok(())
}

/// The apiserver that `waiting` is served by dies.
fn an_apiserver_dies(scene: &mut Scene, admin: &Kubectl) -> Result<(Apiserver, Asked)> {
    let waiting = wait_for_news(admin, "first")?;
    let victim = scene.watched()?;
    let mut victim = scene.api.servers.remove(victim);
    let ((), asked) = scene.asking(|| {
        run_for(Duration::from_millis(500));
        victim.kill()?;
        scene.wait_up(2)?;
        tell_news(admin, "first")?;
        assert_heard(&waiting)
    })?;
    asked.show("an apiserver died");
    Ok((victim, asked))
}

/// The leader dies while `work` is done, which is given the moment.
fn the_leader_dies(scene: &Scene, work: impl FnOnce(Instant) -> Result<()>) -> Result<Asked> {
    let ((), asked) = scene.asking(|| {
        run_for(Duration::from_millis(500));
        let died = now();
        scene.nodes[0].process().kill_with_children()?;
        work(died)
    })?;
    assert_eq!(scene.nodes[1].status()?.role(GROUP), Some("leader"));
    asked.show("the leader died");
    Ok(asked)
}

#[test]
fn kubectl_goes_on_through_the_vip_when_an_apiserver_and_when_the_leader_dies() {
    Lab::run(|lab| {
        let mut scene = Scene::new(lab, "")?;
        let admin = bring_up(&mut scene)?;
        let (mut victim, asked) = an_apiserver_dies(&mut scene, &admin)?;
        // What was under way there, and nothing else: a connection that is refused is tried at the next.
        assert!(asked.failed <= 1, "{} requests failed", asked.failed);

        let waiting = wait_for_news(&admin, "second")?;
        let watch = admin.spawn("watch", &["get", "configmaps", "--watch-only", "--output=name"])?;
        scene.watched()?;
        let mut told = Duration::ZERO;
        the_leader_dies(&scene, |died| {
            tell_news(&admin, "second")?;
            println!("told {:?} after the leader's death", died.elapsed());
            assert_heard(&waiting)?;
            println!("heard {:?} after the leader's death", died.elapsed());
            // Its connection is not the new leader's: it ends and does not hang.
            wait_until("the watch to end", LONG, || watch.ended().is_some())?;
            told = died.elapsed();
            Ok(())
        })?;
        println!("the watch ended {told:?} after the leader's death");

        // Without any apiserver the VIP stays and refuses; with one again it serves.
        for server in &mut scene.api.servers {
            server.kill()?;
        }
        wait_until("a refusal", LONG, || {
            scene.connect().is_ok_and(|it| it == Some(ErrorKind::ConnectionRefused))
        })?;
        assert_eq!(scene.nodes[1].status()?.role(GROUP), Some("leader"));
        victim.restart()?;
        wait_until("an answer through the VIP", LONG, || admin.run(&["get", "configmap", "news"]).is_ok())
    });
}

#[test]
fn a_kubectl_watch_by_fullnat_outlives_the_leader() {
    Lab::run(|lab| {
        let mut scene = Scene::new(lab, "fullnat")?;
        let admin = bring_up(&mut scene)?;
        let watch = admin.spawn("watch", &["get", "configmaps", "--watch-only", "--output=name"])?;
        scene.watched()?;
        let seen = the_leader_dies(&scene, |died| {
            wait_until("a change through the VIP", LONG, || admin.apply(&config_map("after")).is_ok())?;
            wait_until("the watch to see it", LONG, || watch.log().contains("configmap/after"))?;
            println!("made, and seen by the watch, {:?} after the leader's death", died.elapsed());
            run_for(Duration::from_secs(2));
            Ok(())
        })?;
        assert_eq!(seen.failed, 0, "requests failed");
        assert!(watch.ended().is_none(), "the watch ended: {}", watch.log());
        // One that waits at an apiserver that dies goes on too; new connections there are refused until it is known.
        an_apiserver_dies(&mut scene, &admin)?;
        Ok(())
    });
}

#[test]
fn apiservers_are_replaced_one_after_the_other_and_no_request_fails() {
    Lab::run(|lab| {
        let mut scene = Scene::new(lab, "")?;
        for server in &mut scene.api.servers {
            // Longer than three checks, two seconds apart, take.
            server.add_argument("--shutdown-delay-duration=10s");
        }
        let admin = bring_up(&mut scene)?;
        let waiting = wait_for_news(&admin, "last")?;
        scene.watched()?;
        let mut servers = std::mem::take(&mut scene.api.servers);
        let ((), asked) = scene.asking(|| {
            for server in &mut servers {
                server.stop()?;
                server.restart()?;
                scene.wait_up(3)?;
            }
            tell_news(&admin, "last")?;
            assert_heard(&waiting)
        })?;
        asked.show("three apiservers were replaced");
        assert_eq!(asked.failed, 0, "requests failed");
        Ok(())
    });
}
