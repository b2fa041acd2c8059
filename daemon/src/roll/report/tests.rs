use super::*;
use crate::roll::fixture::look;

fn report() -> Report {
    look(&["lb-1", "lb-2"], &[("web", "lb-1")]).remove("lb-1").unwrap().unwrap()
}

#[test]
fn what_an_older_or_newer_version_says_is_read_as_far_as_it_is_known() {
    let text = r#"{"node": "lb-1", "ready": true, "more": {}, "plane": null,
        "groups": [{"name": "web", "role": "leader", "priority": 150, "more": 1, "leader": {"node": "lb-1", "address": ""}}]}"#;
    let report: Report = serde_json::from_str(text).unwrap();
    assert_eq!(report.leads(), ["web"]);
    assert_eq!(report.unready(&["lb-2"], false), Vec::<String>::new());
    assert!(serde_json::from_str::<Report>("{\"groups\": 1}").is_err());
}

#[test]
fn each_cause_of_not_being_in_sync_is_named() {
    let nodes = ["lb-1", "lb-2"];
    assert_eq!(report().unready(&nodes, false), Vec::<String>::new());
    type Fault = fn(&mut Report);
    let faults: [(Fault, &str); 9] = [
        (|report| report.ready = false, "it is not ready"),
        (
            |report| report.groups[0].waits = Some("has not got the leader's".to_owned()),
            "has not got the leader's",
        ),
        (|report| report.peer_link.state = "no-own-key".to_owned(), "no link: no-own-key"),
        (|report| report.peer_link.peers[0].state = "refused".to_owned(), "the link to lb-2 is refused"),
        (|report| report.peer_link.peers[0].config_agrees = None, "another configuration than lb-2"),
        (
            |report| {
                report.overrides = vec![Override { of: "lb-node lb-1".to_owned(), by: "uid 0".to_owned() }]
            },
            "it is drained, by uid 0",
        ),
        (|report| report.plane = Some(Plane { flows_in_sync: false }), "does not know the connections"),
        (
            |report| {
                let tables = TablesOf { peer: "lb-2".to_owned(), in_sync: false, what: "differ".to_owned() };
                let forwarded = Some(Forwarded { tables: vec![tables] });
                report.services = vec![Service { name: "shop".to_owned(), forwarded, ..Service::default() }];
            },
            "service shop, lb-2: differ",
        ),
        (
            |report| {
                let errors = vec!["no listener".to_owned()];
                report.services = vec![Service { name: "shop".to_owned(), errors, ..Service::default() }];
            },
            "service shop: no listener",
        ),
    ];
    for (fault, why) in faults {
        let mut report = report();
        fault(&mut report);
        let reasons = report.unready(&nodes, false);
        assert!(reasons.len() == 1 && reasons[0].contains(why), "{why}: {reasons:?}");
    }
    let mut alone = report();
    alone.peer_link.peers[0].state = "down".to_owned();
    assert_eq!(alone.unready(&["lb-1"], false), Vec::<String>::new());
}
