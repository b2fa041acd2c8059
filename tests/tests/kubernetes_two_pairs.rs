//! Two pairs of ours, which know nothing of each other, serve one class of one cluster: a mistake that is said and costs little.
#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test")]

use fulcrum_tests::lab::kubernetes::{KubeProxy, KubernetesApi, LONG, Scene, USER};
use fulcrum_tests::lab::{Cluster, Fulcrum, Lab, Machine, leaders, wait_settled};
use fulcrum_tests::probe::request;
use fulcrum_tests::wait::{now, run_for, wait_until};
use fulcrum_tests::{LabError, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const SERVICES: u16 = 5;
/// The addresses of each pair's pool.
const POOLS: [&str; 2] = ["10.77.0.100-10.77.0.109", "10.77.0.110-10.77.0.119"];

struct Pairs {
    cluster: Cluster,
    api: KubernetesApi,
    _proxies: Vec<KubeProxy>,
    /// Two nodes each.
    pairs: Vec<Vec<Fulcrum>>,
}

impl Pairs {
    fn new(lab: &Lab) -> Result<Self> {
        let mut cluster = Cluster::new(lab, 4, 1)?;
        cluster.of_pool = true;
        // One node of each leads all, so that nothing moves for an even spread.
        for standby in ["lb2", "lb4"] {
            cluster.of_nodes.insert(standby.to_owned(), "weight: 0".to_owned());
        }
        let (api, account) = KubernetesApi::with_account(lab)?;
        let mut proxies = Vec::new();
        for web in &cluster.web {
            api.add_node(&web.machine)?;
            let mut proxy = KubeProxy::on(&web.machine);
            proxy.node_ports("tcp", 30_080..=30_099, 80)?;
            proxies.push(proxy);
        }
        cluster.sections =
            format!("kubernetes:\n  prod: {{kubeconfig: {}}}\n", account.kubeconfig().display());
        let mut all = Self { cluster, api, _proxies: proxies, pairs: Vec::new() };
        for pair in 0..2 {
            let nodes = all.machines(pair).iter().map(|node| Fulcrum::start(node, &all.file(pair, node)));
            let nodes = nodes.collect::<Result<Vec<_>>>()?;
            all.pairs.push(nodes);
        }
        for pair in &all.pairs {
            wait_settled(&pair.iter().collect::<Vec<_>>())?;
            // The other one may have been there first; who writes anew knows nothing of the dispute.
            let writes =
                || pair.first().is_some_and(|it| Scene::seen(it).iter().any(|it| it["writes"] == true));
            wait_until("the first of a pair to write", LONG, writes)?;
        }
        Ok(all)
    }

    fn machines(&self, pair: usize) -> &[Machine] {
        &self.cluster.nodes[2 * pair..2 * pair + 2]
    }

    /// The file of a node that knows its own pair only.
    fn file(&self, pair: usize, node: &Machine) -> String {
        let others: Vec<String> =
            self.machines(1 - pair).iter().map(|it| format!("  {}: {{addresses", it.name())).collect();
        let text = self.cluster.file(node).replace("10.77.0.100-10.77.0.149", POOLS[pair]);
        let lines = text.lines().filter(|line| !others.iter().any(|other| line.starts_with(other)));
        lines.flat_map(|line| [line, "\n"]).collect()
    }

    fn leaders(&self, pair: usize) -> Result<BTreeMap<String, Vec<String>>> {
        leaders(&self.pairs[pair].iter().collect::<Vec<_>>())
    }

    /// What our account wrote of this kind.
    fn written(&self, verb: &str, resource: &str) -> usize {
        let is_it = |event: &&Value| event["verb"] == verb && event["objectRef"]["resource"] == resource;
        self.api.written_by(USER).iter().filter(is_it).count()
    }

    /// Until a node of a pair says this.
    fn wait_error(&self, pair: usize, words: &[&str]) -> Result<()> {
        let mut last = Vec::new();
        wait_until(&format!("{words:?}"), LONG, || {
            last = self.pairs[pair].iter().flat_map(Scene::seen).collect();
            let errors: Vec<&str> = last.iter().filter_map(|it: &Value| it["error"].as_str()).collect();
            errors.iter().any(|it| words.iter().all(|word| it.contains(word)))
        })
        .map_err(|error| LabError::new(format!("{error}: {last:?}")))
    }

    fn answers(&self, address: &str) -> bool {
        let address: Option<IpAddr> = address.parse().ok();
        let sample = address.and_then(|address| {
            request(&self.cluster.client, SocketAddr::new(address, 80), Duration::from_secs(1)).ok()
        });
        sample.is_some_and(|sample| sample.is_answer())
    }

    fn addresses(&self, name: &str) -> Result<String> {
        Ok(self.api.get(&["service", name])?["status"]["loadBalancer"]["ingress"].to_string())
    }
}

#[test]
fn two_pairs_on_one_class_write_seldom_say_so_and_change_no_address() {
    Lab::run(|lab| {
        let scene = Pairs::new(lab)?;
        let services = (0..SERVICES).map(|number| {
            format!(
                "---\n{{apiVersion: v1, kind: Service, metadata: {{name: s{number}, namespace: default}}, spec: {{type: LoadBalancer, \
                 loadBalancerClass: fulcrum.dev/lb, selector: {{app: web}}, ports: [{{port: 80, nodePort: {}}}]}}}}\n",
                30_080 + number
            )
        });
        let begun = now();
        scene.api.apply(&services.collect::<String>())?;
        // Each has an address of each pair, and both are answered for.
        let count = usize::from(SERVICES);
        // And one of the file's.
        let of_pair = count + 1;
        for pair in 0..2 {
            wait_until("a leader of each address", LONG, || {
                scene.leaders(pair).is_ok_and(|it| it.len() == of_pair && it.values().all(|by| by.len() == 1))
            })?;
        }
        let before = (scene.leaders(0)?, scene.leaders(1)?);
        for address in before.0.keys().chain(before.1.keys()) {
            wait_until(&format!("an answer at {address}"), LONG, || scene.answers(address))?;
        }
        for pair in 0..2 {
            scene.wait_error(
                pair,
                &["Service default/s", "overwritten by somebody else", "another `class`"],
            )?;
        }
        run_for(Duration::from_secs(10));
        // By each pair: the finalizer, what is new (no address yet, an address), one correction at once, and then after 1, 2, 4, 8, ... seconds.
        let doublings = usize::try_from(begun.elapsed().as_secs().ilog2()).unwrap_or_default();
        let patches = scene.written("patch", "services");
        assert!(patches <= 2 * count * (5 + doublings), "{patches} in {:?}", begun.elapsed());
        let events = scene.written("create", "events");
        // Each pair may say that it has no address yet, and then that it has one.
        assert!(
            events <= 4 * count,
            "what is written again is no news: {events} events of {patches} patches"
        );
        eprintln!("{patches} patches and {events} events in {:?}", begun.elapsed());
        let addresses = |pair| scene.leaders(pair).map(|it| it.into_keys().collect::<Vec<_>>());
        let had = [&before.0, &before.1].map(|it| it.keys().cloned().collect::<Vec<_>>());
        assert_eq!([addresses(0)?, addresses(1)?], had, "no address changes");

        // One of them is given a class of its own.
        for node in &scene.pairs[1] {
            let text =
                scene.file(1, &node.machine).replace("kubeconfig:", "class: example.com/other, kubeconfig:");
            std::fs::write(node.machine.file("fulcrum.yaml"), text)?;
        }
        scene.pairs[1][0].command(&["reload", "--give-up-addresses"])?;
        wait_until("the other to serve none", LONG, || scene.leaders(1).is_ok_and(|it| it.len() == 1))?;
        for number in 0..SERVICES {
            let name = format!("s{number}");
            wait_until(&format!("{name} to say an address of the first"), 2 * LONG, || {
                let said = scene.addresses(&name).unwrap_or_default();
                before.0.keys().any(|address| said.contains(&format!("\"{address}\"")))
            })?;
        }
        let patches = scene.written("patch", "services");
        run_for(Duration::from_secs(5));
        assert_eq!(scene.written("patch", "services"), patches, "nobody disputes them any more");
        assert!(before.0.keys().all(|address| scene.answers(address)));
        Ok(())
    });
}
