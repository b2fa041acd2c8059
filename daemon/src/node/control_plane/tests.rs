use super::*;

fn parsed(change: impl FnOnce(String) -> String) -> Config {
    let text = include_str!("../../../../config/examples/control-plane.yaml");
    let parsed = fulcrum_config::parse(&change(text.to_owned()), "control-plane.yaml", "lb-1");
    parsed.map_err(|mistakes| mistakes.to_string()).expect("an example").config
}

fn replaced(from: &str, to: &str) -> Config {
    parsed(|text| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    })
}

fn nodes(names: &[&str]) -> BTreeSet<NodeName> {
    names.iter().map(|name| NodeName::new(name)).collect()
}

/// What a change does to the group, if both nodes are able to lead it.
fn harm(old: &Config, new: &Config) -> Vec<String> {
    let mut harms = harms(old, new, |_| nodes(&["lb-1", "lb-2"]));
    let lines = harms.remove(&GroupName::new("control-plane")).unwrap_or_default();
    assert!(harms.is_empty(), "{harms:?}");
    lines
}

#[test]
fn a_change_that_leaves_it_reachable_takes_nothing_from_the_control_plane() {
    let old = parsed(|text| text);
    for (from, to) in [
        ("10.0.0.23", "10.0.0.24"),
        ("idle: 24h", "idle: 12h"),
        ("vips: [10.0.0.100]", "vips: [10.0.0.100, 10.0.0.101]"),
        ("priority: 100}\n", "priority: 100}\n  lb-3: {addresses: [10.0.0.13], priority: 90}\n"),
    ] {
        let new = replaced(from, to);
        assert_ne!(old, new);
        assert_eq!(harm(&old, &new), [""; 0], "{to}");
    }
}

#[test]
fn what_is_taken_from_the_control_plane_is_named() {
    let old = parsed(|text| text);
    let cp = "      - {name: cp-";
    let rows: &[(&str, &str, &[&str])] = &[
        ("kubernetes-api:", "api:", &["service kubernetes-api is gone"]),
        (
            "10.0.0.100",
            "10.0.0.101",
            &["address 10.0.0.100 is gone", "service kubernetes-api is not at 10.0.0.100 any more"],
        ),
        ("class: control-plane", "class: workload", &["it is not of class control-plane any more"]),
        ("    port: 6443\n", "    port: 443\n", &["service kubernetes-api is not at its port any more"]),
        ("10.0.0.2", "10.0.0.3", &["service kubernetes-api keeps none of its backends"]),
        (
            ", port: 6443}",
            ", port: 6443, drain: true}",
            &["service kubernetes-api has no backend that takes new connections any more"],
        ),
        (
            "vrid: 51",
            "vrid: 52",
            &[
                "its leader is found otherwise (VRRP with VRID 52 in place of VRRP with VRID 51), so that for a moment \
               nobody leads it",
            ],
        ),
        (
            "  lb-2: {addresses: [10.0.0.12], priority: 100}\n",
            "",
            &["without lb-2 it has no standby any more"],
        ),
    ];
    assert!(include_str!("../../../../config/examples/control-plane.yaml").contains(cp));
    for (from, to, lines) in rows {
        assert_eq!(harm(&old, &replaced(from, to)), *lines, "{to}");
    }
    let mut gone = old.clone();
    gone.groups.clear();
    assert_eq!(harm(&old, &gone), ["it is gone"]);
}

#[test]
fn a_node_may_go_as_long_as_another_is_ready() {
    let three = "priority: 100}\n  lb-3: {addresses: [10.0.0.13], priority: 90}\n";
    let (old, new) = (replaced("priority: 100}\n", three), parsed(|text| text));
    let group = GroupName::new("control-plane");
    let harm = |able: &[&str]| harms(&old, &new, |_| nodes(able)).remove(&group).unwrap_or_default();
    assert_eq!(harm(&["lb-1", "lb-2", "lb-3"]), [""; 0]);
    assert_eq!(harm(&["lb-1", "lb-2"]), [""; 0], "it was not ready anyway");
    assert_eq!(harm(&["lb-1", "lb-3"]), ["without lb-3 it has no standby that is known to be ready"]);
    assert_eq!(harm(&["lb-1"]), [""; 0], "nothing is known of anybody: nothing is lost");
}

#[test]
fn a_node_that_is_alone_is_not_locked_up() {
    let alone = "  lb-2: {addresses: [10.0.0.12], priority: 100}\n";
    let old = replaced(alone, "");
    let new = parsed(|text| text.replace(alone, "").replace("10.0.0.23", "10.0.0.24"));
    assert_eq!(harms(&old, &new, |_| nodes(&["lb-1"])), BTreeMap::new());
}
