use super::*;
use fulcrum_config::{Before, NodeDrain, Noted, Overrides, parse_after};

const FILE: &str = "
node: lb-1
nodes:
  lb-1: {addresses: [10.0.0.11]}
  lb-2: {addresses: [10.0.0.12]}
interfaces:
  eth0: {networks: [10.0.0.0/24]}
groups:
  web: {vrid: 51, vips: [10.0.0.100]}
";

#[test]
fn a_node_that_is_drained_for_a_day_is_an_alarm() {
    let mut overrides = Overrides::default();
    for (name, since) in [("lb-1", 1000), ("lb-2", 5000)] {
        let noted =
            Noted { what: NodeDrain { finish: None }, by: "uid 0".to_owned(), since: UnixTime(since) };
        overrides.nodes.insert(NodeName::new(name), noted);
    }
    let before = Before { overrides: overrides.into(), ..Before::default() };
    let config = parse_after(FILE, "", "lb-1", &before).unwrap().config;
    assert_eq!(forgotten(&config, UnixTime(87_399)), []);
    let alarms = forgotten(&config, UnixTime(87_400));
    let [alarm] = &alarms[..] else { panic!("{alarms:?}") };
    assert_eq!(alarm.what, "lb-1 is drained for more than a day, by uid 0");
    assert!(alarm.remedy.contains("fulcrum undrain lb-node lb-1"));
}
