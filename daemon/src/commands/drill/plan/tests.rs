use super::*;
use crate::roll::fixture;
use crate::roll::report::{Link, Override};

fn service(name: &str, group: &str, protocol: &str) -> Service {
    Service {
        name: name.to_owned(),
        group: group.to_owned(),
        vips: vec!["10.0.0.100".to_owned()],
        protocol: protocol.to_owned(),
        ports: "6443".to_owned(),
        ..Service::default()
    }
}

/// lb-1 leads both groups, and both nodes have been up for an hour.
fn look() -> Look {
    let mut look = fixture::look(&["lb-1", "lb-2"], &[("api", "lb-1"), ("web", "lb-1")]);
    for (number, report) in (11..).zip(look.values_mut().flatten()) {
        report.uptime_seconds = 3600;
        report.services =
            vec![service("api", "api", "tcp"), service("shop", "web", "tcp"), service("dns", "web", "udp")];
        let address = Some(format!("10.0.0.{number}"));
        report.groups[0].links = vec![Link { interface: "eth0".to_owned(), up: true, address }];
    }
    look
}

const KILL: Asked<'_> = Asked { kind: Kind::Kill, group: None, node: None };
const MINUTE: Duration = Duration::from_secs(60);

fn reasons(look: &Look) -> Vec<String> {
    in_the_way(look, &plan(&super::tests::look(), KILL).unwrap(), MINUTE)
}

#[test]
fn all_groups_of_the_node_that_leads_are_struck_or_one_that_is_named() {
    let all = plan(&look(), KILL).unwrap();
    assert_eq!(
        (all.node.as_str(), all.groups.as_slice()),
        ("lb-1", &["api".to_owned(), "web".to_owned()][..])
    );
    assert_eq!(all.endpoints.len(), 2);
    assert_eq!(all.unasked, ["dns: udp is not asked, only tcp"]);

    let one = plan(&look(), Asked { group: Some("api"), ..KILL }).unwrap();
    assert_eq!((one.groups, one.others), (vec!["api".to_owned()], vec!["web".to_owned()]));
    let kind = Kind::Handover;
    let moved = plan(&look(), Asked { group: Some("api"), kind, ..KILL }).unwrap();
    assert!(moved.others.is_empty(), "a handover moves no other");
}

#[test]
fn what_is_not_there_or_not_clear_is_not_struck() {
    let refused = |look: &Look, asked| plan(look, asked).unwrap_err();
    let why = refused(&look(), Asked { group: Some("mail"), ..KILL });
    assert_eq!(why, "there is no group mail; there are: api, web");
    let why = refused(&look(), Asked { node: Some("lb-2"), ..KILL });
    assert_eq!(why, "lb-2 is no node of the inventory that leads a group");
    let mut split = look();
    split.values_mut().flatten().for_each(|report| report.groups[1].role = "leader".to_owned());
    assert!(refused(&split, Asked { group: Some("web"), ..KILL }).contains("lb-1 and lb-2 lead group web"));
    assert!(refused(&split, KILL).contains("name a group, or --node NODE"));
    let mut blind = look();
    blind.values_mut().flatten().for_each(|report| drop(report.services.remove(0)));
    assert!(refused(&blind, KILL).contains("group api has no TCP service"));
}

#[test]
fn nothing_is_in_the_way_of_nodes_that_are_ready() {
    assert_eq!(reasons(&look()), Vec::<String>::new());
}

/// Changes what lb-2, the standby, says.
fn with(change: impl FnOnce(&mut Report)) -> Vec<String> {
    let mut look = look();
    change(look.get_mut("lb-2").unwrap().as_mut().unwrap());
    reasons(&look)
}

#[test]
fn each_unsafe_moment_is_named() {
    let told = with(|report| report.uptime_seconds = 59);
    assert_eq!(told, ["lb-2: it came up 59 s ago; it is to be up for 60 s"]);
    let told = with(|report| report.ready = false);
    assert_eq!(told, ["lb-2: it is not ready"]);
    let told = with(|report| report.groups[0].standing_down = true);
    assert_eq!(told, ["lb-2: it may not lead group api now"]);
    let told = with(|report| {
        report.overrides = vec![Override { of: "lb-node lb-2".to_owned(), by: "uid 0".to_owned() }];
    });
    assert_eq!(told, ["lb-2: it is drained, by uid 0"]);
    let told = with(|report| {
        report.overrides = vec![Override { of: "lb-node lb-1".to_owned(), by: "uid 0".to_owned() }];
    });
    assert_eq!(told, ["lb-1: it is drained, by uid 0"], "as the other knows");
    let told = with(|report| report.peer_link.peers[0].state = "down".to_owned());
    assert!(told[0].starts_with("lb-2: the link to lb-1 is down"), "{told:?}");
    let told = with(|report| report.groups[0].role = "leader".to_owned());
    assert_eq!(told, ["group api: more than lb-1 says that it leads it"]);
    let mut silent = look();
    silent.insert("lb-2".to_owned(), Err("it ended with 3".to_owned()));
    let told = reasons(&silent);
    assert_eq!(told[0], "lb-2 does not answer: it ended with 3");
    assert_eq!(told[1], "group api: no other node of the inventory could take it");
}

#[test]
fn a_node_is_no_clients_place() {
    let is = |source: &str| is_node(&look(), source.parse().unwrap(), "10.0.0.100".parse().unwrap());
    assert_eq!(is("10.0.0.12"), Some("lb-2".to_owned()));
    assert_eq!(is("10.0.0.100"), Some("the node that leads".to_owned()));
    assert_eq!(is("10.0.0.50"), None);
}
