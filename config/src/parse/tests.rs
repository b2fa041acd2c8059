use super::*;
use std::fmt::Write as _;

mod hostile;
mod mistakes;
mod schema;
mod warnings;

const EXAMPLES: [(&str, &str); 9] = [
    ("demo.yaml", include_str!("../../examples/demo.yaml")),
    ("pair.yaml", include_str!("../../examples/pair.yaml")),
    ("control-plane.yaml", include_str!("../../examples/control-plane.yaml")),
    ("witness.yaml", include_str!("../../examples/witness.yaml")),
    ("witness-lease.yaml", include_str!("../../examples/witness-lease.yaml")),
    ("cluster.yaml", include_str!("../../examples/cluster.yaml")),
    ("dual-stack.yaml", include_str!("../../examples/dual-stack.yaml")),
    ("pools.yaml", include_str!("../../examples/pools.yaml")),
    ("full.yaml", include_str!("../../examples/full.yaml")),
];

fn example(name: &str) -> &'static str {
    EXAMPLES.iter().find(|(other, _)| *other == name).map(|(_, text)| text).unwrap()
}

fn good(text: &str) -> Config {
    parse(text, "fulcrum.yaml", "lb-1").unwrap_or_else(|diagnostics| panic!("{diagnostics}")).config
}

#[test]
fn examples_load_without_a_word() {
    let listed: Vec<_> = EXAMPLES.iter().map(|(name, _)| (*name).to_owned()).collect();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let program = std::path::Path::new(&name).extension().is_some_and(|extension| extension == "rs");
        assert!(program || listed.contains(&name), "{name} is loaded by no test");
    }
    for (name, text) in EXAMPLES {
        let host = if text.contains("lb1:") { "lb1" } else { "lb-1" };
        let parsed = parse(text, name, host).unwrap_or_else(|diagnostics| panic!("{name}:\n{diagnostics}"));
        assert!(parsed.warnings.is_empty(), "{name}:\n{}", parsed.warnings);
    }
}

#[test]
fn the_host_name_says_which_node_it_is_unless_the_file_does() {
    let text = example("pair.yaml");
    assert_eq!(parse(text, "f", "lb-2").unwrap().config.node.as_str(), "lb-2");
    let named = format!("node: lb-1\n{text}");
    assert_eq!(parse(&named, "f", "lb-2").unwrap().config.node.as_str(), "lb-1");
}

#[test]
fn what_the_file_leaves_out_has_the_documented_default() {
    let config = good(example("pair.yaml"));
    let service = config.services.values().next().unwrap();
    assert_eq!(service.mode, crate::Mode::Auto);
    assert_eq!(service.balance, crate::Balance::Maglev);
    assert_eq!(service.quorum, crate::Quorum::default());
    assert_eq!(service.timeouts, crate::Timeouts::default());
    let group = config.groups.values().next().unwrap();
    assert_eq!(group.preempt, crate::Preempt::Never);
    assert_eq!(group.advert_interval, crate::AdvertInterval::DEFAULT);
    assert_eq!(group.tracks, [crate::Track::DataPlane { effect: crate::TrackEffect::Ineligible }]);
    assert_eq!(config.timing, crate::Timing::default());
    assert_eq!(config.admin, crate::Admin::default());
}

#[test]
fn the_full_example_writes_the_defaults_that_hold_without_it() {
    // Where `full.yaml` says "default", leaving the line out must change nothing.
    let full = example("full.yaml");
    let config = good(full);
    for line in [
        "  advert_interval: 100ms          # 10ms to 40950ms in steps of 10ms\n",
        "    burst: 5\n",
        "    spacing: 200ms\n",
        "    refresh: 60s                  # a switch forgets after 300s\n",
        "  track_damping: 3s               # a track must be good for so long before it is forgiven\n",
        "    virtual_mac: false            # true: 00:00:5e:00:01:VRID on a macvlan\n",
        "    advert_interval: 100ms        # default: that of `timing`\n",
        "    adverts: multicast            # or unicast, to the addresses of the other nodes\n",
        "    preempt: false                # true, or {delay: 30s}\n",
        "    on_split: serve               # one: no leader rather than two, for groups without `vrid`\n",
        "    key: /fulcrum/witness\n",
        "    ttl: 15s                      # so long etcd may be gone while another node is\n",
        "    proof: {interval: 2s, ports: true, on_failure: alarm}   # false: no standby asks whether the leader answers; hand-over\n",
        "    accept: true                  # false: the addresses are not local, and no service can use them\n",
        "        interface: eth0           # default: the one that has the network\n",
        "        interval: 1s\n",
        "        rise: 2\n",
        "        fall: 3\n",
        "    interval: 2s\n",
        "    fast_interval: 500ms          # while a change is being confirmed\n",
        "    timeout: 1s                   # at most the interval\n",
        "    jitter: 10                    # percent\n",
        "    method: GET\n",
        "    protocol: tcp\n",
        "    mode: auto                    # auto or proxy\n",
        "    balance: maglev               # round-robin, least-connections, random-two, source\n",
        "    quorum: 1\n",
        "    on_down: {reset: {spread: 5s}}   # reset, drain\n",
        "      connect: 5s\n",
        "      idle: 1h\n",
        "      half_close: 30s\n",
        "      unacknowledged: 60s\n",
        "    transparent: false            # connect to backends from the client's own address\n",
        "    class: fulcrum.dev/lb         # the `spec.loadBalancerClass` of Services that are served\n",
        "    unclassed: false              # Services without a class, too\n",
        "    metallb: false                # true: by its IPAddressPools and L2Advertisements, within `pools`\n",
        "    mode: auto                    # auto, proxy, nat, dsr or fullnat\n",
        "    backends: node-ports          # or pods, where their addresses can be reached from here\n",
        "    udp: {idle: 30s, sessions: 16384}\n",
        "  socket: /run/fulcrum/admin.sock\n",
        "  state_dir: /var/lib/fulcrum\n",
        "  heartbeat: 50ms\n",
        "  port: 4747\n",
        "  log: text                       # json\n",
    ] {
        assert_eq!(full.matches(line).count(), 1, "{line}");
        let without = Config { shared: config.shared, ..good(&full.replace(line, "")) };
        assert_eq!(without, config, "{line}");
    }
}

#[test]
fn the_room_for_flows_is_bounded() {
    let text = example("pair.yaml");
    assert_eq!(good(text).flows, crate::DEFAULT_FLOWS);
    assert_eq!(good(&format!("flows: 1000000\n{text}")).flows, 1_000_000);
    for flows in [9_999, 4_000_001] {
        assert!(parse(&format!("flows: {flows}\n{text}"), "fulcrum.yaml", "lb-1").is_err(), "{flows}");
    }
}

#[test]
fn fast_timing_is_the_floor_of_vrrp() {
    let text = example("pair.yaml");
    let config = good(&format!("timing: fast\n{text}"));
    assert_eq!(config.timing.advert_interval, crate::AdvertInterval::FLOOR);
    assert_eq!(config.groups.values().next().unwrap().advert_interval, crate::AdvertInterval::FLOOR);
    let slower = good(&format!("timing: {{profile: fast, advert_interval: 20ms}}\n{text}"));
    assert_eq!(slower.timing.advert_interval.centiseconds(), 2);
}

#[test]
fn five_thousand_services_fit() {
    let mut text = String::from(
        "nodes:\n  lb-1: {addresses: [10.0.0.11], priority: 150}\n  lb-2: {addresses: [10.0.0.12]}\n\
         interfaces:\n  eth0: {networks: [10.0.0.0/16]}\n\
         groups:\n  all: {vrid: 51, vips: [10.0.1.1]}\nservices:\n",
    );
    for number in 0..5_000 {
        writeln!(text, "  service-{number}:\n    vip: 10.0.1.1\n    port: {}", number + 1_000).unwrap();
        writeln!(text, "    check: {{type: http, path: /healthz}}\n    backends:").unwrap();
        for backend in 0..4 {
            let address = format!("10.{}.{}.{}", 1 + backend, number / 250, 1 + number % 250);
            writeln!(text, "      - {{name: b-{backend}, address: {address}, port: 8080, weight: 2}}")
                .unwrap();
        }
    }
    let config = good(&text);
    assert_eq!(config.services.len(), 5_000);
    assert!(config.services.values().all(|service| service.backends.len() == 4));
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fulcrum.yaml");
    let message = |path: &Path| load(path, "lb-1").unwrap_err().to_string();
    assert!(message(&path).contains("can't be opened"), "{}", message(&path));
    assert!(message(directory.path()).contains("can't be read"), "{}", message(directory.path()));
    std::fs::write(&path, b"nodes:\n  \xff: 1\n").unwrap();
    assert!(message(&path).contains("line 2 is not UTF-8"), "{}", message(&path));
    std::fs::write(&path, example("pair.yaml")).unwrap();
    assert!(load(&path, "lb-1").is_ok());
}
