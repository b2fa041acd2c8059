use super::*;

fn group() -> GroupName {
    GroupName::new("web")
}

fn word(holds: bool) -> Word {
    let holds = if holds { BTreeSet::from([group()]) } else { BTreeSet::new() };
    Word { holds, sources: BTreeSet::from(["fe80::2".parse().unwrap()]), ..Word::default() }
}

fn words<const N: usize>(words: [(&str, bool); N]) -> BTreeMap<NodeName, Word> {
    words.into_iter().map(|(name, holds)| (NodeName::new(name), word(holds))).collect()
}

#[allow(clippy::disallowed_methods, reason = "any moment will do")]
fn start() -> Instant {
    Instant::now()
}

fn name(holder: Option<&Holder>) -> Option<&str> {
    holder.map(|holder| holder.node.as_str())
}

#[test]
fn the_node_that_led_before_finishes_if_several_hold_connections() {
    let all = words([("lb1", true), ("lb2", true), ("lb3", false)]);
    let found = |followed: Option<&str>| {
        let followed = followed.map(NodeName::new);
        name(holder(&group(), followed.as_ref(), &all, None, start()).as_ref()).map(str::to_owned)
    };
    assert_eq!(found(Some("lb2")).as_deref(), Some("lb2"));
    assert_eq!(found(Some("lb3")).as_deref(), Some("lb1"));
    assert_eq!(found(None).as_deref(), Some("lb1"));
    assert!(holder(&GroupName::new("other"), None, &all, None, start()).is_none());
}

#[test]
fn a_peer_that_says_nothing_is_believed_for_a_moment_and_one_that_says_no_is_believed_at_once() {
    let start = start();
    let before = holder(&group(), None, &words([("lb1", true)]), None, start);
    assert_eq!(name(before.as_ref()), Some("lb1"));
    let nothing = BTreeMap::new();
    let soon = start + SILENT / 2;
    assert_eq!(holder(&group(), None, &nothing, before.clone(), soon), before);
    assert_eq!(holder(&group(), None, &nothing, before.clone(), start + SILENT), None);
    assert_eq!(holder(&group(), None, &words([("lb1", false)]), before, soon), None);
}

#[test]
fn who_led_before_the_node_that_finishes_is_passed_on_to_until_it_finishes_nothing_or_leads_again() {
    let start = start();
    let earlier = || Holder { node: NodeName::new("lb1"), heard: start };
    let (lb1, lb3) = (NodeName::new("lb1"), NodeName::new("lb3"));
    let holds = |says: bool| words([("lb1", says), ("lb3", true)]);
    let late = start + SILENT * 4;
    let kept = |followed, words: &_, now| still(&group(), earlier(), Some(followed), words, now);
    assert_eq!(kept(&lb3, &holds(true), late), Some(Holder { heard: late, ..earlier() }));
    assert_eq!(kept(&lb3, &holds(false), start), None);
    assert_eq!(kept(&lb1, &holds(true), start), None, "it leads again: packets would go to and fro");
    assert_eq!(kept(&lb3, &BTreeMap::new(), start + SILENT / 2), Some(earlier()));
    assert_eq!(kept(&lb3, &BTreeMap::new(), late), None);
}

#[test]
fn a_next_hop_is_on_the_vip_s_own_interface() {
    let text = "node: lb1
nodes:
  lb1: {addresses: [10.0.0.11, 192.168.1.11]}
  lb2: {addresses: [192.168.1.12, 10.0.0.12, 2001:db8::12]}
interfaces:
  eth0: {networks: [10.0.0.0/24, 2001:db8::/64]}
  eth1: {networks: [192.168.1.0/24, 2001:db8:1::/64]}
groups: {web: {vrid: 5, vips: [10.0.0.100, 192.168.1.100, 2001:db8::100, 2001:db8:1::100]}}
";
    let config = fulcrum_config::parse(text, "fulcrum.yaml", "lb1").expect("good").config;
    let sources = word(true).sources;
    let hops = |sources: &BTreeSet<IpAddr>| -> Vec<Option<String>> {
        let node = NodeName::new("lb2");
        let vips = &config.groups[&group()].vips;
        vips.iter()
            .map(|vip| next_hop(&config, &node, Some(sources), vip).map(|hop| hop.to_string()))
            .collect()
    };
    let all = ["10.0.0.12", "192.168.1.12", "2001:db8::12", "fe80::2"].map(|hop| Some(hop.to_owned()));
    assert_eq!(hops(&sources), all);
    assert_eq!(hops(&BTreeSet::new())[3], None, "IPv6 needs an IPv6 neighbour");
}
