//! A Service of a Kubernetes cluster, with a real kube-apiserver: from `kubectl apply` to the first answer; then its leader is
//! killed, and the API.

use fulcrum_tests::lab::kubernetes::{KubeProxy, Kubectl, KubernetesApi};
use fulcrum_tests::lab::{Cluster, Fulcrum, Lab, Process, wait_settled};
use fulcrum_tests::probe::{Options, Probe};
use fulcrum_tests::wait::{now, run_for, wait_for, wait_until};
use fulcrum_tests::{LabError, Result};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(40);
const SECOND: Duration = Duration::from_secs(1);
/// How long the API is away.
const AWAY: Duration = Duration::from_secs(3);
const NODE_PORT: u16 = 30080;
const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  type: LoadBalancer
  loadBalancerClass: fulcrum.dev/lb
  selector: {app: web}
  ports: [{port: 80, nodePort: 30080}]
";
/// What the watch prints of each Service.
const SHOWN: &str = "--output=jsonpath={.metadata.name}={.status.loadBalancer.ingress[0].ip}{\"\\n\"}";

struct Stage {
    cluster: Cluster,
    nodes: Vec<Fulcrum>,
    api: KubernetesApi,
    /// Whether somebody looks on, and says when to go on.
    live: bool,
    _proxies: Vec<KubeProxy>,
}

/// Plays the story, and prints it.
pub(crate) fn tell(lab: &Lab, nodes: u8, live: bool) -> Result<()> {
    println!(
        "A Kubernetes API (a real kube-apiserver with its etcd) and two Kubernetes nodes that serve node port {NODE_PORT} ..."
    );
    let mut stage = Stage::build(lab, nodes, live)?;
    println!("{nodes} nodes of Fulcrum stand before it, on machines of their own. In their file:\n");
    println!(
        "  pools:\n    public: {{addresses: [10.77.0.100-10.77.0.149]}}\n  kubernetes:\n    prod: {{kubeconfig: ...}}"
    );

    stage.pause("a Service is applied");
    let address = stage.apply()?;
    let probe = stage.probe(address)?;
    println!("\n{}", stage.api.kubectl(&["get", "service", "web"])?.trim_end());

    let (leader, place) = stage.leader_of(address)?;
    stage.pause(&format!("{leader}, which leads {address}, is killed"));
    let killed = stage.nodes.remove(place);
    let begun = now();
    killed.process().kill_with_children()?;
    let (next, _) = stage.leader_of(address)?;
    stage.answered(&probe, now())?;
    run_for(SECOND);
    println!("\n{leader} is killed, as by a power cut");
    println!("  {next} leads {address} and answers");
    println!("  {}", seen(&probe, begun));

    stage.pause("the API is killed, too");
    let begun = now();
    stage.api.server()?.kill()?;
    run_for(AWAY);
    stage.answered(&probe, now())?;
    println!("\nThe API is killed");
    println!("  {address} answers on: no VIP depends on the cluster");
    println!("  {}", seen(&probe, begun));
    stage.api.server()?.restart()?;
    println!("  the API is back; `kubectl` goes on");

    stage.pause("the Service is deleted");
    let begun = Instant::now();
    let fulcrum = stage.nodes.first().ok_or_else(|| LabError::new("no node of Fulcrum lives"))?;
    stage.api.kubectl(&["delete", "service", "web", "--timeout=40s"])?;
    wait_until("the address to be given back", LONG, || {
        fulcrum.status().is_ok_and(|status| status.group(&address.to_string()).is_none())
    })?;
    println!("\n$ kubectl delete service web");
    println!("  {address} is back in its pool, and then the Service is gone   {}", after(begun));
    Ok(())
}

/// What the client saw since a moment.
fn seen(probe: &Probe, since: Instant) -> String {
    let seen = probe.recent(since);
    format!(
        "{} requests answered, {} failed; the longest gap was {} ms",
        seen.answered(),
        seen.failed(),
        seen.longest_gap().as_millis()
    )
}

fn after(begun: Instant) -> String {
    format!("after {:.2} s", begun.elapsed().as_secs_f64())
}

impl Stage {
    fn build(lab: &Lab, nodes: u8, live: bool) -> Result<Self> {
        let mut cluster = Cluster::new(lab, nodes, 1)?;
        cluster.of_pool = true;
        let (api, account) = KubernetesApi::with_account(lab)?;
        let mut proxies = Vec::new();
        for web in &cluster.web {
            api.add_node(&web.machine)?;
            let mut proxy = KubeProxy::on(&web.machine);
            proxy.node_port("tcp", NODE_PORT, 80)?;
            proxies.push(proxy);
        }
        cluster.sections =
            format!("kubernetes:\n  prod: {{kubeconfig: {}}}\n", account.kubeconfig().display());
        let nodes = cluster.start_all()?;
        let stage = Self { cluster, nodes, api, live, _proxies: proxies };
        wait_settled(&stage.nodes.iter().collect::<Vec<_>>())?;
        wait_until("the nodes to see the cluster", LONG, || stage.nodes.iter().all(sees_the_cluster))?;
        Ok(stage)
    }

    /// Says what is next; where somebody looks on, Enter goes on.
    fn pause(&self, next: &str) {
        if self.live {
            println!("\n-- Enter: {next}");
            // Whatever comes, the story goes on.
            let _ = std::io::stdin().read_line(&mut String::new());
        }
    }

    /// Applies the Service, and says when it had an address and when that answered.
    fn apply(&self) -> Result<IpAddr> {
        let admin: Kubectl = self.api.admin()?;
        let watch = admin.spawn("watch", &["get", "services", "--watch", SHOWN])?;
        wait_until("kubectl to watch", LONG, || watch.log().contains("kubernetes="))?;
        println!("\n$ kubectl apply -f - <<.");
        print!("{SERVICE}");
        println!(".");
        let begun = now();
        admin.apply(SERVICE)?;
        println!("  kubectl has ended                          {}", after(begun));
        let address = wait_for("an address in the Service's status", LONG, || told(&watch))?;
        let told = after(begun);
        let probe = self.probe(address)?;
        let first = self.answered(&probe, begun)?;
        println!("  its status says {address:<26} {told} at the latest");
        println!("  the first answer, by node port {NODE_PORT}       {first}");
        Ok(address)
    }

    fn probe(&self, address: IpAddr) -> Result<Probe> {
        let options = Options {
            interval: Duration::from_millis(5),
            timeout: Duration::from_millis(300),
            ..Options::default()
        };
        Probe::start(&self.cluster.client, SocketAddr::new(address, 80), options)
    }

    /// Until there is an answer to a request after that moment; how long that took.
    fn answered(&self, probe: &Probe, since: Instant) -> Result<String> {
        wait_for("an answer", LONG, || probe.answered_since(since))?;
        Ok(after(since))
    }

    /// The node that leads an address, and its place among those that live.
    fn leader_of(&self, address: IpAddr) -> Result<(String, usize)> {
        let group = address.to_string();
        let leads = |node: &Fulcrum| node.status().is_ok_and(|status| status.role(&group) == Some("leader"));
        wait_for(&format!("a leader of {group}"), LONG, || {
            let (place, node) = self.nodes.iter().enumerate().find(|(_, node)| leads(node))?;
            Some((node.machine.name().to_owned(), place))
        })
    }
}

/// The address that the watch has last printed of the Service.
fn told(watch: &Process) -> Option<IpAddr> {
    watch.log().lines().filter_map(|line| line.strip_prefix("web=")?.parse().ok()).next_back()
}

fn sees_the_cluster(node: &Fulcrum) -> bool {
    node.status().is_ok_and(|status| {
        let cluster = status.0.pointer("/kubernetes/0/reached_since");
        cluster.is_some_and(serde_json::Value::is_number)
    })
}
