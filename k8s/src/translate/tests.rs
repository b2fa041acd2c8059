use super::*;
use crate::metallb::{AddressPool, Advertisement};
use fulcrum_config::{Allocations, PoolName};
use k8s_openapi::api::core::v1::{Namespace, Node};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::DynamicObject;
use serde::Deserialize;
use std::sync::Arc;

mod asked;
mod cluster;
mod metallb;
mod served;

const OBJECTS: &str = include_str!("tests/objects.yaml");
const FILE: &str = "\
nodes:
  lb-1: {addresses: [10.0.0.11, \"2001:db8::11\"], keys: [\"sha256:lXmoZ1C3sy9NRGzHkvNSlTxCk9vVNZ9VTWK6a0NO9mY=\"]}
  lb-2: {addresses: [10.0.0.12, \"2001:db8::12\"], keys: [\"sha256:Wk9vCzGrVPt6j1xFCjTmkrOmx2bqVQnIwmpTQyPPOjA=\"]}
interfaces:
  eth0: {networks: [10.0.0.0/16, \"2001:db8::/64\"]}
groups:
  cp: {class: control-plane, vips: [10.0.0.99]}
pools:
  public: {addresses: [10.0.1.0/24, \"2001:db8::1:0/112\"], allow: [{labels: {kubernetes.io/namespace: shop}}, {tenants: [prod]}]}
  inside: {addresses: [10.0.2.0/24], auto_assign: false}
checks:
  health: {type: http, port: 10256, path: /healthz}
kubernetes:
  prod: {kubeconfig: /etc/fulcrum/prod.kubeconfig}
";

/// A cluster, its objects, and the file that says how it is served.
struct World {
    file: String,
    objects: String,
    /// What its Service has of us.
    held: Option<&'static str>,
}

impl World {
    fn new() -> Self {
        Self { file: FILE.to_owned(), objects: OBJECTS.to_owned(), held: None }
    }

    /// The same with another text in the file.
    fn cluster(mut self, more: &str) -> Self {
        assert!(self.file.contains("prod.kubeconfig}"), "once");
        self.file = self.file.replace("prod.kubeconfig}", &format!("prod.kubeconfig, {more}}}"));
        self
    }

    fn object(mut self, from: &str, to: &str) -> Self {
        assert_eq!(self.objects.matches(from).count(), 1, "`{from}`");
        self.objects = self.objects.replace(from, to);
        self
    }

    /// One more line of the Service's `spec`.
    fn spec(self, line: &str) -> Self {
        self.object("  selector: {app: web}", &format!("  selector: {{app: web}}\n  {line}"))
    }

    fn annotation(self, line: &str) -> Self {
        self.object(
            "  labels: {tier: front}",
            &format!("  annotations: {{{line}}}\n  labels: {{tier: front}}"),
        )
    }

    /// What the Service's status says, as MetalLB writes it.
    fn said(self, address: &str) -> Self {
        let status = format!(
            "status:\n  loadBalancer: {{ingress: [{{hostname: a.example}}, {{ip: \"{address}\", ipMode: VIP}}]}}"
        );
        self.object(
            "nodePort: 30080, protocol: TCP}\n",
            &format!("nodePort: 30080, protocol: TCP}}\n{status}\n"),
        )
    }

    fn held(mut self, address: &'static str) -> Self {
        self.held = Some(address);
        self
    }

    fn with(mut self, object: &str) -> Self {
        self.objects.push_str("---\n");
        self.objects.push_str(object);
        self
    }

    fn config(&self) -> Config {
        let parsed = fulcrum_config::parse(&self.file, "fulcrum.yaml", "lb-1");
        let mut config = parsed.unwrap_or_else(|why| panic!("{why}")).config;
        let mut allocations = Allocations::default();
        if let Some(address) = self.held {
            let service = ServiceName::new("prod/shop/web:http");
            allocations.insert(service, address.parse().unwrap(), PoolName::new("public"));
        }
        config.allocations = Arc::new(allocations);
        config
    }

    fn read(&self) -> Objects {
        let mut objects = Objects::default();
        for document in serde_yaml::Deserializer::from_str(&self.objects) {
            let value = serde_yaml::Value::deserialize(document).unwrap();
            let kind = value["kind"].as_str().unwrap().to_owned();
            match kind.as_str() {
                "Node" => objects.put_node(serde_yaml::from_value::<Node>(value).unwrap()),
                "Service" => objects.put_service(serde_yaml::from_value::<Service>(value).unwrap()),
                "EndpointSlice" => {
                    objects.put_slice(&serde_yaml::from_value::<EndpointSlice>(value).unwrap());
                }
                "Namespace" => {
                    let namespace = serde_yaml::from_value::<Namespace>(value).unwrap().metadata;
                    let all = objects.metallb.namespaces.get_or_insert_default();
                    all.insert(namespace.name.unwrap(), namespace.labels.unwrap_or_default());
                }
                "IPAddressPool" => {
                    let object = serde_yaml::from_value::<DynamicObject>(value).unwrap();
                    let all = objects.metallb.pools.get_or_insert_default();
                    all.insert(ObjectName::of(&object.metadata).unwrap(), AddressPool::of(&object));
                }
                "L2Advertisement" => {
                    let object = serde_yaml::from_value::<DynamicObject>(value).unwrap();
                    let all = objects.metallb.advertisements.get_or_insert_default();
                    all.insert(ObjectName::of(&object.metadata).unwrap(), Advertisement::of(&object));
                }
                other => panic!("{other}"),
            }
        }
        objects
    }

    /// What becomes of it. Each fragment must be one that the file takes.
    fn translate(&self) -> Translation {
        let config = self.config();
        let cluster = Arc::clone(config.kubernetes.values().next().unwrap());
        let translation = translate(&cluster, &config, &self.read());
        let services = parsed(&translation);
        let mut text = self.file.clone();
        if !services.is_empty() {
            text.push_str("services:\n");
        }
        for (index, (_, service)) in services.iter().enumerate() {
            text.push_str(&format!("  s{index}: {service}\n"));
        }
        fulcrum_config::parse(&text, "fulcrum.yaml", "lb-1").unwrap_or_else(|why| panic!("{why}\n{text}"));
        translation
    }

    /// Its only Service's one port, as the file has it.
    fn service(&self) -> Json {
        let translation = self.translate();
        let mut services = parsed(&translation);
        let service = services.pop_first().unwrap_or_else(|| panic!("{translation:#?}")).1;
        assert!(services.is_empty(), "{services:?}");
        service
    }

    fn backends(&self) -> Vec<String> {
        shown(&self.service())
    }

    fn problem(&self) -> Problem {
        let translation = self.translate();
        assert_eq!(&*translation.fragment, "");
        translation.outcomes[&web()].problem.clone().unwrap_or_else(|| panic!("{translation:#?}"))
    }
}

fn web() -> ObjectName {
    ObjectName { namespace: "shop".to_owned(), name: "web".to_owned() }
}

/// The services of a fragment, read as an ordinary YAML reader does.
fn parsed(translation: &Translation) -> BTreeMap<String, Json> {
    if translation.fragment.is_empty() {
        return BTreeMap::new();
    }
    let value: Json = serde_yaml::from_str(&translation.fragment).unwrap();
    serde_json::from_value(value["services"].clone()).unwrap()
}

/// `10.0.0.21:30080 worker-1 *2 drain`
fn shown(service: &Json) -> Vec<String> {
    let backends = service["backends"].as_array().unwrap();
    let show = |backend: &Json| {
        let mut text = backend["address"].as_str().unwrap().to_owned();
        text.extend(backend["port"].as_u64().map(|port| format!(":{port}")));
        text.extend(backend["name"].as_str().map(|name| format!(" {name}")));
        text.extend(backend["weight"].as_u64().map(|weight| format!(" *{weight}")));
        text.extend((backend["drain"] == true).then_some(" drain"));
        text
    };
    backends.iter().map(show).collect()
}
