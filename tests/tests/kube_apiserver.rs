//! The API of a Kubernetes cluster in the lab: it is a real one.

use fulcrum_tests::Result;
use fulcrum_tests::lab::kubernetes::{Endpoint, KubeProxy, KubernetesApi};
use fulcrum_tests::lab::{Etcd, Lab, Nginx, ipv4};
use fulcrum_tests::probe::request;
use fulcrum_tests::wait::wait_for;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;

const SERVICE: &str = "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: default}, spec: {\
    type: LoadBalancer, loadBalancerClass: example.com/lab, ipFamilyPolicy: PreferDualStack, selector: {app: web},\
    ports: [{name: http, port: 80, nodePort: 30080}]}}";
const MAY_READ: &str = "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: reader},\
    rules: [{apiGroups: [''], resources: [services], verbs: [get, list, watch]}]}\n---\n\
    {apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: reader},\
    roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader},\
    subjects: [{kind: ServiceAccount, name: reader, namespace: lab}]}";

#[test]
fn a_service_is_made_and_read_and_outlives_the_apiserver() {
    Lab::run(|lab| {
        let machine = lab.machine("k8s", 31)?;
        let mut api = KubernetesApi::start(&machine)?;
        api.apply(SERVICE)?;
        let reader = api.service_account("lab", "reader", "1h")?;
        let refused =
            reader.run(&["get", "services"]).map_or_else(|error| error.to_string(), |_| "read".into());
        assert!(refused.contains("Forbidden") && refused.contains("cannot list resource"), "{refused}");
        api.apply(MAY_READ)?;
        let read =
            wait_for("the right to read", Duration::from_secs(20), || reader.get(&["service", "web"]).ok())?;
        assert_eq!(read["spec"]["type"], "LoadBalancer", "{read}");
        assert_eq!(read["spec"]["clusterIPs"].as_array().map(Vec::len), Some(2), "{read}");
        let refused =
            reader.run(&["delete", "service", "web"]).map_or_else(|it| it.to_string(), |_| "gone".into());
        assert!(refused.contains("cannot delete resource"), "{refused}");
        let (asked, written) = ("system:serviceaccount:lab:reader", "delete");
        let written: Vec<_> = api.written_by(asked).into_iter().filter(|it| it["verb"] == written).collect();
        assert!(matches!(&written[..], [one] if one["responseStatus"]["code"] == 403), "{written:?}");

        api.server()?.kill()?;
        assert!(!api.server()?.is_ready(), "it answers although it is dead");
        api.server()?.restart()?;
        let again = reader.get(&["service", "web"])?;
        assert_eq!(again["metadata"]["uid"], read["metadata"]["uid"]);

        // A new token is another; with its account goes the right.
        api.kubectl(&["delete", "serviceaccount", "reader", "--namespace=lab"])?;
        wait_for("the account to be unknown", Duration::from_secs(30), || {
            reader.get(&["service", "web"]).err().filter(|error| error.to_string().contains("logged in"))
        })?;
        Ok(())
    });
}

#[test]
fn an_api_that_stands_still_or_has_lost_its_etcd_comes_back_with_what_it_had() {
    Lab::run(|lab| {
        let mut api = KubernetesApi::start(&lab.machine("k8s", 31)?)?;
        let other = KubernetesApi::start(&lab.machine("other", 32)?)?;
        let maps = (0..1200).map(|number| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("map-{number}")}})
        });
        api.create_all(&maps.collect::<Vec<_>>())?;
        let count = |api: &KubernetesApi| -> Result<usize> {
            let list = api.get(&["configmaps", "--namespace=default", "--request-timeout=5s"])?;
            Ok(list["items"].as_array().map_or(0, Vec::len))
        };
        assert_eq!(count(&api)?, 1200);

        api.server()?.process()?.freeze()?;
        assert!(count(&api).is_err(), "it answers although it stands still");
        assert_eq!(count(&other)?, 0, "another cluster has its own");
        api.server()?.process()?.thaw()?;
        assert_eq!(count(&api)?, 1200);

        api.etcd.process().kill_with_children()?;
        let write = ["create", "configmap", "late", "--request-timeout=5s"];
        assert!(api.kubectl(&write).is_err(), "it writes although it has no etcd");
        api.etcd = Etcd::start(&api.etcd.machine)?;
        wait_for("a write", Duration::from_secs(60), || api.kubectl(&write).ok())?;
        assert_eq!(count(&api)?, 1201);
        Ok(())
    });
}

#[test]
fn nodes_endpoints_and_node_ports_are_what_a_cluster_has() {
    Lab::run(|lab| {
        let (machine, node) = (lab.machine("k8s", 31)?, lab.machine("worker1", 41)?);
        let api = KubernetesApi::start(&machine)?;
        let web = Nginx::start(&node)?;
        api.add_node(&node)?;
        api.apply(SERVICE)?;
        api.set_endpoints("default", "web", &[("http", "TCP", 80)], &[Endpoint::on(&node)])?;
        let mut proxy = KubeProxy::on(&node);
        proxy.node_port("tcp", 30080, 80)?;

        let read = api.get(&["node", "worker1"])?;
        assert!(read["spec"]["taints"].is_null(), "{read}");
        let address = json!({"type": "InternalIP", "address": "10.77.0.41"});
        assert!(read["status"]["addresses"].as_array().is_some_and(|it| it.contains(&address)), "{read}");
        assert_eq!(read["status"]["conditions"][0]["status"], "True", "{read}");
        let slices = api.get(&["endpointslices", "--selector=kubernetes.io/service-name=web"])?;
        let slices = slices["items"].as_array().cloned().unwrap_or_default();
        let ready = slices.iter().filter(|it| it["endpoints"][0]["conditions"]["ready"] == true);
        assert_eq!((slices.len(), ready.count()), (2, 1), "{slices:?}");

        let asked = request(&machine, SocketAddr::new(node.ipv4(), 30080), Duration::from_secs(5))?;
        assert!(asked.is_answer(), "{asked:?}");
        proxy.ingress(ipv4(100), "tcp", 80, 80)?;
        machine.run("ip", &["route", "add", "10.77.0.100/32", "via", "10.77.0.41"])?;
        let asked = request(&machine, SocketAddr::new(ipv4(100), 80), Duration::from_secs(5))?;
        assert!(asked.is_answer(), "{asked:?}");
        drop(web);
        Ok(())
    });
}
