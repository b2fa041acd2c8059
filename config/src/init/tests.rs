use super::*;
use crate::model::{CheckKind, Class, Config};

fn site(vips: &[&str], nodes: &[&str]) -> Site {
    Site {
        nodes: nodes.iter().map(|node| node.parse().unwrap()).collect(),
        vips: vips.iter().map(|vip| vip.parse().unwrap()).collect(),
        interface: InterfaceName::new("eth0"),
        networks: Vec::new(),
        vrid: Vrid::new(51).unwrap(),
    }
}

fn configs(files: Result<Vec<(NodeName, String)>, Diagnostics>) -> Vec<Config> {
    let files = files.unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    let read = |(name, text): (NodeName, String)| {
        // The host is called something else: the file itself says which node it is.
        let parsed = parse(&text, "fulcrum.yaml", "elsewhere").unwrap_or_else(|wrong| panic!("{wrong}"));
        assert!(parsed.warnings.is_empty(), "{}", parsed.warnings);
        assert_eq!(parsed.config.node, name);
        parsed.config
    };
    files.into_iter().map(read).collect()
}

#[test]
fn a_pair_is_two_files_that_differ_in_the_node_alone() {
    let options = PairOptions {
        site: site(&["10.0.0.100", "2001:db8::100"], &["a=10.0.0.11,2001:db8::11", "b=10.0.0.12"]),
        port: 80,
        backends: vec!["10.0.0.21:8080".parse().unwrap(), "[2001:db8::22]:8080".parse().unwrap()],
    };
    let configs = configs(pair(&options));
    let [first, second] = configs.as_slice() else { panic!("{configs:?}") };
    assert_eq!(Config { node: second.node.clone(), ..first.clone() }, *second);
    let service = first.services.values().next().unwrap();
    assert_eq!((service.vips.len(), service.backends.len()), (2, 2));
    assert!(service.check.is_some());
    let group = first.groups.values().next().unwrap();
    assert!(group.priorities[&first.node] > group.priorities[&second.node]);
}

#[test]
fn the_nodes_keys_are_written() {
    let mut options = PairOptions {
        site: site(&["10.0.0.100"], &["a=10.0.0.11", "b=10.0.0.12"]),
        port: 80,
        backends: vec!["10.0.0.21:80".parse().unwrap()],
    };
    assert!(configs(pair(&options)).iter().all(|config| config.peer.pins.is_empty()));
    for (node, byte) in options.site.nodes.iter_mut().zip(1..) {
        node.key = Some(KeyPin::new([byte; 32]));
    }
    for config in configs(pair(&options)) {
        for (node, byte) in options.site.nodes.iter().zip(1..) {
            assert_eq!(config.peer.pins[&node.name], [KeyPin::new([byte; 32])]);
        }
        assert_eq!(config.peer.key, std::path::Path::new(crate::PeerLink::KEY));
    }
}

#[test]
fn the_control_plane_is_checked_and_protected() {
    let options = ControlPlaneOptions {
        site: site(&["10.0.0.100"], &["lb-1=10.0.0.11", "lb-2=10.0.0.12"]),
        port: 6443,
        apiservers: ["10.0.0.21", "10.0.0.22", "10.0.0.23"].map(|address| address.parse().unwrap()).to_vec(),
    };
    for config in configs(control_plane(&options)) {
        assert_eq!(config.groups.values().next().unwrap().class, Class::ControlPlane);
        let service = config.services.values().next().unwrap();
        assert_eq!(service.backends.len(), 3);
        let CheckKind::Https(http, tls) = &service.check.as_ref().unwrap().kind else { panic!("no HTTPS") };
        assert_eq!((http.path.as_str(), tls.verify), ("/readyz", false));
    }
}

#[test]
fn the_networks_that_were_named_are_used() {
    let mut options = PairOptions {
        site: site(&["10.0.7.100"], &["a=10.0.0.11", "b=10.0.0.12"]),
        port: 80,
        backends: vec!["10.0.0.21:80".parse().unwrap()],
    };
    // The /24 around the VIP has neither node's address.
    let refused = pair(&options).unwrap_err().to_string();
    assert!(refused.contains("`a` has no IPv4 address in the networks of eth0"), "{refused}");
    options.site.networks = vec!["10.0.0.0/16".parse().unwrap()];
    assert_eq!(configs(pair(&options)).len(), 2);
}

#[test]
fn options_that_cannot_work_are_refused_with_the_reason() {
    let mut options = PairOptions {
        site: site(&["10.0.0.11"], &["a=10.0.0.11", "b=10.0.0.12"]),
        port: 80,
        backends: vec!["10.0.0.21:80".parse().unwrap()],
    };
    assert!(pair(&options).unwrap_err().to_string().contains("node `a`'s own address"));
    options.site.nodes.clear();
    assert!(pair(&options).unwrap_err().to_string().contains("there is no node"));
}

#[test]
fn a_node_is_written_with_its_addresses() {
    let node: NodeOption = "lb-1=10.0.0.11,2001:db8::11".parse().unwrap();
    assert_eq!((node.name.as_str(), node.addresses.len()), ("lb-1", 2));
    for wrong in ["lb-1", "=10.0.0.1", "lb-1=", "lb-1=10.0.0.1/24", "lb-1=10.0.0.1,"] {
        assert!(wrong.parse::<NodeOption>().unwrap_err().contains("write name=address"), "{wrong}");
    }
}

#[test]
fn a_node_that_joins_knows_itself_and_one_other() {
    let node = |text: &str, byte| NodeOption { key: Some(KeyPin::new([byte; 32])), ..text.parse().unwrap() };
    let (own, seed) = (node("lb-6=10.0.0.16,2001:db8::16", 6), node("lb-1=10.0.0.11", 1));
    let text = join(&own, &seed).unwrap();
    let config = parse(&text, "fulcrum.yaml", "elsewhere").unwrap().config;
    assert_eq!(config.node, own.name);
    assert_eq!(config.nodes[&own.name].addresses, own.addresses);
    assert_eq!(config.peer.pins[&seed.name], [KeyPin::new([1; 32])]);
    let mistakes = join(&own, &NodeOption { name: own.name.clone(), ..seed.clone() }).unwrap_err();
    assert_eq!(mistakes.len(), 1, "without the warnings that it has no groups yet: {mistakes}");
    assert!(join(&own, &NodeOption { key: own.key, ..seed }).is_err());
}
