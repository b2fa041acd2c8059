use super::*;

const OURS: &str = "fulcrum.dev/lb";
const NOW: &str = "2026-11-23T12:00:00Z";

fn ours() -> Ours {
    Ours { finalizer: OURS.to_owned(), reports: vec!["fulcrum.dev/pool"] }
}

fn service(more: Json) -> Service {
    let mut service = json!({
        "metadata": { "name": "web", "namespace": "shop", "uid": "u-1" },
        "spec": { "type": "LoadBalancer" },
    });
    if let (Some(own), Json::Object(more)) = (service.as_object_mut(), more) {
        own.extend(more);
    }
    serde_json::from_value(service).unwrap()
}

fn report(address: &str) -> Report {
    Report {
        ingress: vec![
            json!({ "ip": address, "ipMode": "Proxy", "ports": [{ "port": 80, "protocol": "TCP" }] }),
        ],
        is_served: true,
        reason: "Served".to_owned(),
        message: format!("Fulcrum answers at {address}"),
        annotations: BTreeMap::new(),
    }
}

fn refusal() -> Report {
    Report {
        ingress: Vec::new(),
        is_served: false,
        reason: "NoSuchPool".to_owned(),
        message: "none".to_owned(),
        annotations: BTreeMap::new(),
    }
}

/// What the Service says after `writes`, as the API server merges them.
fn after(service: &Service, writes: &Writes) -> Service {
    let mut value = serde_json::to_value(service).unwrap();
    if let Some(guard) = &writes.guard {
        value["metadata"]["finalizers"] = guard["metadata"]["finalizers"].clone();
    }
    if let Some(status) = &writes.status {
        value["status"] = status["status"].clone();
    }
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_service_is_told_once() {
    let new = service(json!({}));
    let first = writes(&new, Some(&report("10.0.1.1")), &ours(), NOW);
    assert_eq!(first.guard, Some(json!({ "metadata": { "finalizers": [OURS], "uid": "u-1" } })));
    let status = first.status.clone().unwrap();
    assert_eq!(status["status"]["loadBalancer"]["ingress"][0]["ip"], "10.0.1.1");
    assert_eq!(status["metadata"], json!({ "uid": "u-1" }), "not one that has the name later");
    let condition = &status["status"]["conditions"][0];
    assert_eq!((&condition["type"], &condition["status"]), (&json!(CONDITION), &json!("True")));
    assert_eq!(condition["lastTransitionTime"], NOW);
    let event = first.event.clone().unwrap();
    assert_eq!((event.is_warning, event.reason.as_str()), (false, "Served"));
    let told = after(&new, &first);
    assert_eq!(writes(&told, Some(&report("10.0.1.1")), &ours(), "2026-11-23T13:00:00Z"), Writes::default());
}

#[test]
fn what_changes_is_told_and_the_time_is_that_of_the_last_turn() {
    let new = service(json!({}));
    let told = after(&new, &writes(&new, Some(&report("10.0.1.1")), &ours(), NOW));
    let later = "2026-11-23T13:00:00Z";
    let moved = writes(&told, Some(&report("10.0.1.2")), &ours(), later);
    assert_eq!(moved.guard, None);
    assert_eq!(moved.status.clone().unwrap()["status"]["conditions"][0]["lastTransitionTime"], NOW);
    assert!(moved.event.is_some());
    let refused = writes(&told, Some(&refusal()), &ours(), later);
    let status = refused.status.clone().unwrap();
    assert_eq!(status["status"]["conditions"][0]["lastTransitionTime"], later);
    assert_eq!(status["status"]["loadBalancer"]["ingress"], json!([]));
    assert!(refused.event.unwrap().is_warning);
}

#[test]
fn a_service_that_never_had_an_address_is_not_held() {
    assert_eq!(writes(&service(json!({})), Some(&refusal()), &ours(), NOW).guard, None);
}

#[test]
fn an_address_that_another_one_gave_is_not_taken_away_before_there_is_one_of_ours() {
    let of_metallb = json!({ "loadBalancer": { "ingress": [{ "ip": "10.0.1.7", "ipMode": "VIP" }] } });
    let service = service(json!({ "status": of_metallb }));
    let told = writes(&service, Some(&refusal()), &ours(), NOW).status.unwrap();
    assert_eq!(told["status"].get("loadBalancer"), None);
    assert_eq!(told["status"]["conditions"][0]["status"], "False");
    let mut status = of_metallb;
    status["conditions"] = told["status"]["conditions"].clone();
    let mut service = service;
    service.status = serde_json::from_value(status).unwrap();
    assert_eq!(writes(&service, Some(&refusal()), &ours(), NOW), Writes::default());
    let served = writes(&service, Some(&report("10.0.1.7")), &ours(), NOW).status.unwrap();
    assert_eq!(served["status"]["loadBalancer"]["ingress"], json!(report("10.0.1.7").ingress));
}

#[test]
fn a_status_that_somebody_else_took_away_is_put_back_without_another_event() {
    let new = service(json!({}));
    let mut told = after(&new, &writes(&new, Some(&report("10.0.1.1")), &ours(), NOW));
    told.status.as_mut().unwrap().load_balancer = None;
    let again = writes(&told, Some(&report("10.0.1.1")), &ours(), NOW);
    assert!(again.status.is_some());
    assert_eq!(again.event, None);
}

#[test]
fn a_deleted_service_is_let_go_and_no_status_is_written() {
    let metadata = json!({
        "name": "web", "namespace": "shop", "uid": "u-1",
        "finalizers": ["other/one", OURS], "deletionTimestamp": NOW,
    });
    let going = service(json!({ "metadata": metadata }));
    let last = writes(&going, None, &ours(), NOW);
    let release = json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": [OURS], "uid": "u-1" } });
    assert_eq!(last, Writes { release: Some(release), ..Writes::default() });
}

#[test]
fn who_is_not_ours_any_more_is_cleared_and_who_never_was_is_left_alone() {
    let new = service(json!({}));
    let told = after(&new, &writes(&new, Some(&report("10.0.1.1")), &ours(), NOW));
    let last = writes(&told, None, &ours(), NOW);
    let status = last.status.unwrap();
    assert_eq!(status["status"]["conditions"], json!([{ "type": CONDITION, "$patch": "delete" }]));
    assert_eq!(status["status"]["loadBalancer"]["ingress"], Json::Null);
    assert!(last.release.is_some() && last.guard.is_none() && last.event.is_none());
    // Of another Fulcrum, with another class.
    let other = Ours { finalizer: "fulcrum.dev/other".to_owned(), ..ours() };
    assert_eq!(writes(&told, None, &other, NOW), Writes::default());
    assert_eq!(writes(&new, None, &ours(), NOW), Writes::default());
}

#[test]
fn who_was_told_why_it_is_not_served_says_that_no_more_when_it_asks_for_nothing_any_more() {
    let told = after(&service(json!({})), &writes(&service(json!({})), Some(&refusal()), &ours(), NOW));
    assert!(told.metadata.finalizers.is_none());
    // As long as it asks, another one may serve it, and say so.
    assert_eq!(writes(&told, None, &ours(), NOW), Writes::default());
    let with_type = |kind: &str, metadata: Json| {
        let status = json!(told.status);
        service(json!({ "metadata": metadata, "spec": { "type": kind }, "status": status }))
    };
    let metadata = json!({ "name": "web", "namespace": "shop", "uid": "u-1" });
    let last = writes(&with_type("ClusterIP", metadata.clone()), None, &ours(), NOW);
    let status = last.status.clone().unwrap();
    assert_eq!(status["status"]["conditions"], json!([{ "type": CONDITION, "$patch": "delete" }]));
    assert_eq!(status["metadata"], json!({ "uid": "u-1" }));
    assert_eq!(last, Writes { status: Some(status), ..Writes::default() });
    let mut deleted = metadata;
    deleted["deletionTimestamp"] = json!(NOW);
    assert_eq!(writes(&with_type("ClusterIP", deleted), None, &ours(), NOW), Writes::default());
}

#[test]
fn annotations_that_are_reports_say_what_is_so_and_no_other_is_touched() {
    let mut report = report("10.0.1.1");
    report.annotations =
        [("fulcrum.dev/pool", "public".to_owned()), ("fulcrum.dev/addresses", "10.0.1.1".to_owned())].into();
    let metadata =
        json!({ "name": "web", "namespace": "shop", "uid": "u-1", "annotations": { "their/own": "x" } });
    let mut told = service(json!({ "metadata": metadata }));
    let first = writes(&told, Some(&report), &ours(), NOW).guard.unwrap();
    assert_eq!(first["metadata"]["annotations"], json!({ "fulcrum.dev/pool": "public" }));

    let annotations = told.metadata.annotations.as_mut().unwrap();
    annotations.insert("fulcrum.dev/pool".to_owned(), "public".to_owned());
    annotations.insert("fulcrum.dev/addresses".to_owned(), "of somebody else".to_owned());
    told.metadata.finalizers = Some(vec![OURS.to_owned()]);
    assert_eq!(writes(&told, Some(&report), &ours(), NOW).guard, None, "it says so already");
    let gone = json!({ "annotations": { "fulcrum.dev/pool": null }, "uid": "u-1" });
    assert_eq!(writes(&told, Some(&refusal()), &ours(), NOW).guard, Some(json!({ "metadata": gone })));
    let release = writes(&told, None, &ours(), NOW).release.unwrap();
    assert_eq!(release["metadata"]["annotations"], json!({ "fulcrum.dev/pool": null }));
}

#[test]
fn each_class_has_its_own_finalizer() {
    assert_eq!(finalizer("fulcrum.dev/lb"), "fulcrum.dev/lb");
    assert_eq!(finalizer("internal"), "fulcrum.dev/internal");
}
