use super::*;
use serde_json::{Value as Json, json};

fn service(name: &str, version: u64, kind: &str) -> Service {
    let metadata =
        json!({ "name": name, "namespace": "shop", "uid": name, "resourceVersion": version.to_string() });
    serde_json::from_value(json!({ "metadata": metadata, "spec": { "type": kind } })).unwrap()
}

fn balancer(name: &str, version: u64) -> Service {
    service(name, version, "LoadBalancer")
}

fn names(reflection: &Reflection) -> Vec<String> {
    reflection.objects.services.keys().map(|name| name.name.clone()).collect()
}

fn versions(reflection: &Reflection) -> Vec<String> {
    let services = reflection.objects.services.values();
    services.map(|service| service.metadata.resource_version.clone().unwrap()).collect()
}

fn list(reflection: &mut Reflection, services: Vec<Service>) {
    reflection.see(Seen::Service(Event::Init));
    for service in services {
        reflection.see(Seen::Service(Event::InitApply(service)));
    }
    reflection.see(Seen::Service(Event::InitDone));
}

#[test]
fn nothing_is_known_before_each_kind_has_been_listed() {
    let mut reflection = Reflection::default();
    list(&mut reflection, vec![balancer("web", 1)]);
    assert!(reflection.objects().is_none());
    reflection.see(Seen::Node(Event::InitDone));
    assert!(reflection.objects().is_none());
    reflection.see(Seen::Slice(Event::InitDone));
    assert!(reflection.objects().is_some());
}

#[test]
fn a_list_takes_the_place_of_what_was_known_when_it_is_whole() {
    let mut reflection = Reflection::default();
    list(&mut reflection, vec![balancer("old", 1), balancer("web", 2)]);
    reflection.see(Seen::Service(Event::Init));
    reflection.see(Seen::Service(Event::InitApply(balancer("web", 3))));
    assert_eq!(names(&reflection), ["old", "web"], "half a list takes nothing away");
    // It broke off, and begins anew.
    reflection.see(Seen::Service(Event::Init));
    reflection.see(Seen::Service(Event::InitApply(balancer("new", 4))));
    reflection.see(Seen::Service(Event::InitDone));
    assert_eq!(names(&reflection), ["new"]);
}

#[test]
fn what_an_earlier_session_left_is_not_current_until_each_kind_has_been_listed_anew() {
    let mut reflection = Reflection::default();
    list(&mut reflection, vec![balancer("web", 1)]);
    reflection.see(Seen::Node(Event::InitDone));
    assert!(!reflection.is_current());
    reflection.see(Seen::Slice(Event::InitDone));
    assert!(reflection.is_current());

    reflection.begin();
    let is_current = |reflection: &Reflection| {
        assert!(reflection.objects().is_some(), "what was known stays");
        reflection.is_current()
    };
    assert!(!is_current(&reflection));
    // It is said before the API is asked; and half a list may break off.
    reflection.see(Seen::Node(Event::Init));
    reflection.see(Seen::Slice(Event::Init));
    reflection.see(Seen::Service(Event::Init));
    reflection.see(Seen::Service(Event::InitApply(balancer("web", 1))));
    assert!(!is_current(&reflection));
    reflection.see(Seen::Service(Event::InitDone));
    reflection.see(Seen::Node(Event::InitDone));
    assert!(!is_current(&reflection), "slices are from before");
    assert!(reflection.see(Seen::Slice(Event::InitDone)));
    assert!(is_current(&reflection));
    // What happened since is not known any more.
    reflection.see(Seen::Gone(Kind::Nodes));
    assert!(!is_current(&reflection));
    reflection.see(Seen::Node(Event::InitDone));
    assert!(is_current(&reflection));

    reflection.expect_metallb(true);
    reflection.see(Seen::Absent(Kind::AddressPools));
    reflection.see(Seen::Absent(Kind::Advertisements));
    reflection.see(Seen::Namespace(Event::InitDone));
    assert!(is_current(&reflection));
    reflection.begin();
    list(&mut reflection, vec![]);
    reflection.see(Seen::Node(Event::InitDone));
    reflection.see(Seen::Slice(Event::InitDone));
    reflection.see(Seen::Absent(Kind::Advertisements));
    reflection.see(Seen::Namespace(Event::InitDone));
    assert!(!is_current(&reflection));
    assert!(reflection.see(Seen::Absent(Kind::AddressPools)), "that was known, but not that it is so yet");
    assert!(is_current(&reflection));
}

#[test]
fn what_was_written_is_not_undone_by_a_watch_that_lags() {
    let mut reflection = Reflection::default();
    list(&mut reflection, vec![balancer("web", 5)]);
    reflection.written(balancer("web", 7));
    assert!(!reflection.see(Seen::Service(Event::Apply(balancer("web", 6)))));
    assert!(!reflection.see(Seen::Service(Event::Apply(balancer("web", 7)))), "that is known");
    assert_eq!(versions(&reflection), ["7"]);
    list(&mut reflection, vec![balancer("web", 6)]);
    assert_eq!(versions(&reflection), ["7"]);
    assert!(reflection.see(Seen::Service(Event::Apply(balancer("web", 8)))));
    // Another Service of this name.
    let mut again = balancer("web", 2);
    again.metadata.uid = Some("another".to_owned());
    assert!(reflection.see(Seen::Service(Event::Apply(again))));
    assert_eq!(versions(&reflection), ["2"]);
}

#[test]
fn the_answer_to_a_write_brings_no_service_back_that_is_gone() {
    let mut reflection = Reflection::default();
    list(&mut reflection, vec![balancer("web", 5)]);
    reflection.see(Seen::Service(Event::Delete(balancer("web", 6))));
    reflection.written(balancer("web", 6));
    assert_eq!(names(&reflection), [""; 0]);
    // Nor does it take the place of the one that is called so since.
    let mut new = balancer("web", 7);
    new.metadata.uid = Some("new".to_owned());
    reflection.see(Seen::Service(Event::Apply(new)));
    reflection.written(balancer("web", 6));
    assert_eq!(versions(&reflection), ["7"]);
}

#[test]
fn services_that_are_none_of_ours_are_not_kept() {
    let mut reflection = Reflection::default();
    list(&mut reflection, vec![service("inside", 1, "ClusterIP"), balancer("web", 1)]);
    assert_eq!(names(&reflection), ["web"]);
    let mut was = service("web", 2, "ClusterIP");
    was.metadata.finalizers = Some(vec!["fulcrum.dev/lb".to_owned()]);
    assert!(reflection.see(Seen::Service(Event::Apply(was))));
    assert_eq!(names(&reflection), ["web"], "it is to be let go yet");
    assert!(reflection.see(Seen::Service(Event::Apply(service("web", 3, "ClusterIP")))));
    assert_eq!(names(&reflection), [""; 0]);
}

#[test]
fn one_that_says_what_we_told_it_is_kept_until_it_does_not() {
    let mut told = service("told", 3, "ClusterIP");
    let condition = json!({ "type": "fulcrum.dev/Served", "status": "False", "reason": "NoSuchPool", "message": "none", "lastTransitionTime": "2026-11-23T12:00:00Z" });
    told.status = serde_json::from_value(json!({ "conditions": [condition] })).unwrap();
    let mut reflection = Reflection::default();
    list(&mut reflection, vec![told]);
    assert_eq!(names(&reflection), ["told"]);
    reflection.written(service("told", 4, "ClusterIP"));
    assert_eq!(names(&reflection), [""; 0]);
}

fn address_pool(name: &str, addresses: &str) -> DynamicObject {
    let metadata = json!({ "name": name, "namespace": "metallb-system" });
    serde_json::from_value(json!({ "metadata": metadata, "spec": { "addresses": [addresses] } })).unwrap()
}

#[test]
fn metallbs_objects_are_waited_for_where_they_are_wanted_and_a_cluster_without_them_is_none_to_wait_for() {
    let mut reflection = Reflection::default();
    list(&mut reflection, vec![]);
    reflection.see(Seen::Node(Event::InitDone));
    reflection.see(Seen::Slice(Event::InitDone));
    assert!(reflection.objects().is_some());
    reflection.expect_metallb(true);
    reflection.see(Seen::Namespace(Event::InitDone));
    reflection.see(Seen::Advertisement(Event::InitDone));
    assert!(reflection.objects().is_none());
    assert!(reflection.see(Seen::Absent(Kind::AddressPools)));
    assert!(reflection.objects().unwrap().metallb.pools.is_none());
    assert!(!reflection.see(Seen::Absent(Kind::AddressPools)), "that is known");

    // They come, change and go.
    reflection.see(Seen::AddressPool(Event::Init));
    reflection.see(Seen::AddressPool(Event::InitApply(address_pool("a", "10.0.0.0/24"))));
    assert!(reflection.see(Seen::AddressPool(Event::InitDone)));
    assert!(!reflection.see(Seen::AddressPool(Event::Apply(address_pool("a", "10.0.0.0/24")))));
    assert!(reflection.see(Seen::AddressPool(Event::Apply(address_pool("a", "10.0.1.0/24")))));
    assert!(reflection.see(Seen::AddressPool(Event::Apply(address_pool("b", "10.0.2.0/24")))));
    assert!(reflection.see(Seen::AddressPool(Event::Delete(address_pool("b", "10.0.2.0/24")))));
    assert_eq!(reflection.objects.metallb.pools.iter().flatten().count(), 1);
    assert!(reflection.see(Seen::Absent(Kind::AddressPools)));
    reflection.expect_metallb(false);
    assert!(reflection.objects().is_some_and(|it| it.metallb == Metallb::default()));
}

fn node(status: Json) -> Node {
    serde_json::from_value(json!({ "metadata": { "name": "worker" }, "status": status })).unwrap()
}

#[test]
fn a_kubelet_that_reports_the_same_changes_nothing() {
    let ready = |at: &str| json!({ "conditions": [{ "type": "Ready", "status": "True", "lastHeartbeatTime": at }], "images": [{ "names": [at] }] });
    let mut reflection = Reflection::default();
    assert!(reflection.see(Seen::Node(Event::Apply(node(ready("2026-11-23T12:00:00Z"))))));
    assert!(!reflection.see(Seen::Node(Event::Apply(node(ready("2026-11-23T12:05:00Z"))))));
    let address = json!({ "addresses": [{ "type": "InternalIP", "address": "10.0.0.1" }] });
    assert!(reflection.see(Seen::Node(Event::Apply(node(address)))));
    assert!(reflection.see(Seen::Node(Event::Delete(node(json!({}))))));
}

#[test]
fn slices_are_found_by_their_service() {
    let slice = |name: &str| -> EndpointSlice {
        let metadata =
            json!({ "name": name, "namespace": "shop", "labels": { "kubernetes.io/service-name": "web" } });
        serde_json::from_value(json!({ "metadata": metadata, "addressType": "IPv4", "endpoints": [] }))
            .unwrap()
    };
    let web = ObjectName { namespace: "shop".to_owned(), name: "web".to_owned() };
    let mut reflection = Reflection::default();
    for name in ["web-a", "web-b"] {
        reflection.see(Seen::Slice(Event::Apply(slice(name))));
    }
    assert_eq!(reflection.objects.slices_of(&web).count(), 2);
    reflection.see(Seen::Slice(Event::Delete(slice("web-a"))));
    assert_eq!(reflection.objects.slices_of(&web).count(), 1);
    reflection.see(Seen::Slice(Event::Init));
    reflection.see(Seen::Slice(Event::InitDone));
    assert_eq!(reflection.objects.slices(), 0);
}

/// A slice of a Service, or of none.
fn slice_of(service: Option<&str>) -> EndpointSlice {
    let mut metadata = json!({ "name": "moves", "namespace": "shop", "labels": {} });
    if let Some(service) = service {
        metadata["labels"] = json!({ "kubernetes.io/service-name": service });
    }
    serde_json::from_value(json!({ "metadata": metadata, "addressType": "IPv4", "endpoints": [] })).unwrap()
}

#[test]
fn a_slice_that_becomes_another_services_is_none_of_the_first_any_more() {
    let mut reflection = Reflection::default();
    let name = |name: &str| ObjectName { namespace: "shop".to_owned(), name: name.to_owned() };
    let of = |reflection: &Reflection| {
        ["one", "two"].map(|service| reflection.objects.slices_of(&name(service)).count())
    };
    assert!(reflection.see(Seen::Slice(Event::Apply(slice_of(Some("one"))))));
    assert_eq!(of(&reflection), [1, 0]);
    assert!(reflection.see(Seen::Slice(Event::Apply(slice_of(Some("two"))))));
    assert_eq!(of(&reflection), [0, 1]);
    assert!(reflection.see(Seen::Slice(Event::Apply(slice_of(None)))));
    assert_eq!(of(&reflection), [0, 0]);
    assert!(!reflection.see(Seen::Slice(Event::Apply(slice_of(None)))));
    // What was missed of it: it is gone, and was another's when it went.
    reflection.see(Seen::Slice(Event::Apply(slice_of(Some("one")))));
    assert!(reflection.see(Seen::Slice(Event::Delete(slice_of(Some("two"))))));
    assert_eq!(of(&reflection), [0, 0]);
    // After a list, too.
    reflection.see(Seen::Slice(Event::Init));
    reflection.see(Seen::Slice(Event::InitApply(slice_of(Some("one")))));
    reflection.see(Seen::Slice(Event::InitDone));
    reflection.see(Seen::Slice(Event::Apply(slice_of(Some("two")))));
    assert_eq!(of(&reflection), [0, 1]);
}

#[test]
fn a_slice_that_says_nothing_new_of_its_endpoints_changes_nothing() {
    let slice = |address: &str, zone: &str| -> EndpointSlice {
        let metadata = json!({
            "name": "web-a", "namespace": "shop", "resourceVersion": zone, "labels": { "kubernetes.io/service-name": "web" },
        });
        let endpoints = json!([{ "addresses": [address], "zone": zone }]);
        serde_json::from_value(json!({ "metadata": metadata, "addressType": "IPv4", "endpoints": endpoints }))
            .unwrap()
    };
    let mut reflection = Reflection::default();
    assert!(reflection.see(Seen::Slice(Event::Apply(slice("10.0.0.1", "a")))));
    assert!(!reflection.see(Seen::Slice(Event::Apply(slice("10.0.0.1", "b")))));
    assert!(reflection.see(Seen::Slice(Event::Apply(slice("10.0.0.2", "b")))));
}
