//! The engine on real kernels: each node is a process in a network namespace of its own.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    reason = "a test says what is wrong by panicking, and runs against the real clock and real processes"
)]

#[path = "kernel/lab.rs"]
mod lab;

use lab::{CLIENT, Engine, Lab, wait_until};
use rustix::process::Signal;
use std::time::{Duration, Instant};

const VIP: &str = "10.9.0.100";
const VIP6: &str = "fd09::100";

/// A pair of which node 1 leads.
fn pair(lab: &Lab, extra: &str) -> (Engine, Engine) {
    let one = lab.start(1, 2, extra);
    wait_until("node 1 leads", || one.leads());
    let two = lab.start(2, 2, extra);
    wait_until("node 2 knows its leader", || !two.now()["groups"][0]["leader"].is_null());
    (one, two)
}

fn only(lab: &Lab, node: u8, address: &str) {
    wait_until("one node has the VIP", || lab.holders(2, address) == [node]);
    assert_eq!(lab.asks(address), Some(lab.mac(node)), "the leader answers, with its own MAC");
    assert!(lab.pings(address), "the client reaches the VIP");
}

#[test]
fn the_vip_is_on_one_node_and_a_killed_leader_is_replaced_at_once() {
    let lab = Lab::new(2);
    let (mut one, two) = pair(&lab, "vips=10.9.0.100");
    only(&lab, 1, VIP);
    assert!(!two.ever_told("conflict"), "the leader's own answers are none");

    let killed = one.kill();
    wait_until("node 2 leads", || two.leads());
    println!("kill -9 to the new leader's word: {:?}", two.became("leader", killed).unwrap() - killed);
    assert_eq!(two.now()["groups"][0]["reason"], "leader-resigned", "the guard resigned for the dead node");
    wait_until("the neighbour was told", || lab.believes(VIP) == Some(lab.mac(2)));
    only(&lab, 2, VIP);
    wait_until("the guard has ended", || lab.processes(1).is_empty());
}

#[test]
fn a_killed_leader_with_thousands_of_connections_is_replaced_as_fast() {
    let lab = Lab::new(2);
    let (mut one, two) = pair(&lab, "vips=10.9.0.100 connections=4000");
    let sockets = || lab.command(1, "cat").arg("/proc/net/sockstat").output().unwrap().stdout;
    wait_until("they are open", || String::from_utf8_lossy(&sockets()).contains("TCP: inuse 800"));
    let killed = one.kill();
    wait_until("node 2 leads", || two.leads());
    println!("kill -9 with 8000 sockets: {:?}", two.became("leader", killed).unwrap() - killed);
    assert_eq!(two.now()["groups"][0]["reason"], "leader-resigned");
    only(&lab, 2, VIP);
}

#[test]
fn ipv6_the_same() {
    let lab = Lab::new(2);
    let (mut one, two) = pair(&lab, "vips=fd09::100");
    only(&lab, 1, VIP6);
    let shown = lab.ip(1, "-6 addr show dev lo");
    assert!(shown.contains("deprecated"), "never a source of the node's own traffic: {shown}");

    one.kill();
    wait_until("node 2 leads", || two.leads());
    wait_until("the neighbour was told", || lab.believes(VIP6) == Some(lab.mac(2)));
    only(&lab, 2, VIP6);
}

#[test]
fn unicast_adverts_and_both_families_in_one_group() {
    let lab = Lab::new(2);
    let (mut one, two) = pair(&lab, "vips=10.9.0.100,fd09::100 adverts=unicast");
    only(&lab, 1, VIP);
    only(&lab, 1, VIP6);
    one.kill();
    wait_until("node 2 leads", || two.leads());
    only(&lab, 2, VIP);
    only(&lab, 2, VIP6);
}

#[test]
fn three_nodes_with_ipv6_unicast_know_each_other_by_their_configured_addresses() {
    let lab = Lab::new(3);
    let extra = "vips=fd09::100 adverts=unicast";
    let mut one = lab.start(1, 3, extra);
    wait_until("node 1 leads", || one.leads());
    let (two, three) = (lab.start(2, 3, extra), lab.start(3, 3, extra));
    for node in [&two, &three] {
        wait_until("it follows node 1", || node.now()["groups"][0]["leader"] == "fd09::1");
    }
    one.kill();
    wait_until("another one leads", || two.leads() != three.leads());
    wait_until("the VIP is on one node", || lab.holders(3, VIP6).len() == 1);
}

#[test]
fn a_virtual_mac_moves_with_the_group() {
    let lab = Lab::new(2);
    let (mut one, two) = pair(&lab, "vips=10.9.0.100,fd09::100 vrid=51 virtual_mac=yes");
    let answered_by = |mac: &str, address: &str| {
        assert_eq!(lab.asks(address).as_deref(), Some(mac));
        assert!(lab.pings(address), "{address} is reached by its virtual MAC");
    };
    answered_by("00:00:5e:00:01:33", VIP);
    answered_by("00:00:5e:00:02:33", VIP6);

    one.kill();
    wait_until("node 2 leads", || two.leads());
    assert_eq!(
        two.now()["groups"][0]["reason"],
        "leader-resigned",
        "the guard sends from the virtual MAC too"
    );
    assert!(lab.pings(VIP), "clients need not learn anything");
    answered_by("00:00:5e:00:01:33", VIP);
    answered_by("00:00:5e:00:02:33", VIP6);
    wait_until("the dead node's devices are gone", || !lab.ip(1, "-o link show").contains("vrrp"));

    let mut one = lab.start(1, 2, "vips=10.9.0.100,fd09::100 vrid=51 virtual_mac=yes");
    wait_until("node 1 stands by", || one.role() == "standby");
    wait_until("its devices are down", || lab.ip(1, "-o link show").matches("state DOWN").count() == 2);
    one.say("stop");
    assert!(one.ended());
    assert!(!lab.ip(1, "-o link show").contains("vrrp"));
}

#[test]
fn a_frozen_leader_is_silent_and_its_guard_resigns() {
    let lab = Lab::new(2);
    let (one, two) = pair(&lab, "vips=10.9.0.100");
    one.signal(Signal::STOP);
    wait_until("node 2 leads", || two.leads());
    only(&lab, 2, VIP);

    let resumed = Instant::now();
    one.signal(Signal::CONT);
    wait_until("node 1 stands by", || one.role() == "standby");
    wait_until("it knows its leader", || one.now()["groups"][0]["leader"] == "10.9.0.2");
    assert_eq!(two.became("standby", resumed), None, "the return of the frozen node moves nothing");
    only(&lab, 2, VIP);
}

#[test]
fn without_a_guard_a_frozen_leader_still_does_not_answer() {
    let lab = Lab::new(1);
    let one = lab.start(1, 1, "vips=10.9.0.100 guard=no");
    wait_until("node 1 leads", || one.leads());
    assert_eq!(lab.asks(VIP), Some(lab.mac(1)));
    one.signal(Signal::STOP);
    assert_eq!(lab.asks(VIP), None, "the kernel never answers for a VIP by itself");
    one.signal(Signal::CONT);
}

#[test]
fn a_vip_removed_by_hand_comes_back() {
    let lab = Lab::new(2);
    let (_one, _two) = pair(&lab, "vips=10.9.0.100");
    lab.ip(1, "addr del 10.9.0.100/32 dev lo");
    wait_until("the VIP is back", || lab.holders(2, VIP) == [1]);
    lab.ip(2, "addr add 10.9.0.100/32 dev lo");
    wait_until("the standby's is gone", || lab.holders(2, VIP) == [1]);
    only(&lab, 1, VIP);
}

#[test]
fn a_route_to_a_vip_removed_by_hand_comes_back() {
    let lab = Lab::new(1);
    let one = lab.start(1, 1, "vips=10.9.0.100,10.9.0.101,fd09::100");
    wait_until("node 1 leads", || one.leads() && lab.pings(VIP) && lab.pings(VIP6));
    let routed =
        |family: &str, vip: &str| lab.ip(1, &format!("{family} route show table local {vip}")).contains(vip);
    for (family, vip) in [("-4", VIP), ("-6", VIP6)] {
        assert!(routed(family, vip));
        lab.ip(1, &format!("{family} route del local {vip} dev lo table local"));
        wait_until("the route is back", || routed(family, vip));
        assert!(lab.pings(vip));
    }
    wait_until("it is told", || one.now()["events"]["routes_restored"] == 2);
    // An address that goes with its route is no such case.
    lab.ip(1, "addr del 10.9.0.101/32 dev lo");
    wait_until("the VIP is back", || lab.holders(1, "10.9.0.101") == [1]);
    assert!(lab.pings("10.9.0.101"));
    assert!(one.leads());
}

#[test]
fn an_interface_vanishes_and_returns() {
    let lab = Lab::new(2);
    let (one, two) = pair(&lab, "vips=10.9.0.100");
    lab.ip(1, "link del veth0");
    wait_until("node 2 leads", || two.leads());
    wait_until("node 1 takes no part", || one.role() == "init");
    assert!(one.now()["errors"][0].as_str().unwrap().contains("interface veth0 does not exist"));
    only(&lab, 2, VIP);

    let returned = Instant::now();
    lab.connect(1);
    wait_until("node 1 stands by", || one.role() == "standby");
    wait_until("it knows its leader", || one.now()["groups"][0]["leader"] == "10.9.0.2");
    assert_eq!(two.became("standby", returned), None);
    lab.ip(2, "link set veth0 down");
    wait_until("node 1 leads", || one.leads());
    wait_until("node 1 answers", || lab.asks(VIP) == Some(lab.mac(1)));
}

#[test]
fn a_cut_cable_moves_the_vip_once() {
    let lab = Lab::new(2);
    let (one, two) = pair(&lab, "vips=10.9.0.100");
    lab.cable(1, false);
    wait_until("node 2 leads", || two.leads());
    let mended = Instant::now();
    lab.cable(1, true);
    wait_until("node 1 stands by", || one.role() == "standby");
    wait_until("it knows its leader", || one.now()["groups"][0]["leader"] == "10.9.0.2");
    assert_eq!(two.became("standby", mended), None, "no failback");
    only(&lab, 2, VIP);
}

#[test]
fn an_orderly_stop_resigns_withdraws_and_puts_settings_back() {
    let lab = Lab::new(2);
    let (mut one, two) = pair(&lab, "vips=10.9.0.100,fd09::100");
    assert_eq!(lab.setting(1, "veth0/arp_ignore"), "1");
    one.say("stop");
    assert!(one.ended());
    assert_eq!(lab.setting(1, "veth0/arp_ignore"), "0", "the kernel's default is back");
    wait_until("node 2 leads", || two.leads());
    assert_eq!(lab.holders(2, VIP), [2]);
    wait_until("nothing is left behind", || lab.processes(1).is_empty());
    assert!(!lab.ip(1, "-o addr show dev lo").contains(VIP6));
}

#[test]
fn a_kernel_setting_that_somebody_changes_is_set_again() {
    let lab = Lab::new(1);
    let mut one = lab.start(1, 1, "vips=10.9.0.100");
    wait_until("node 1 leads", || one.leads());
    lab.set(1, "veth0/arp_ignore", "0");
    lab.set(1, "veth0/arp_announce", "1");
    wait_until("they are as they must be", || {
        lab.setting(1, "veth0/arp_ignore") == "1" && lab.setting(1, "veth0/arp_announce") == "2"
    });
    wait_until("it is told", || one.now()["events"]["settings_set_again"] == 2);
    one.say("stop");
    assert!(one.ended());
    assert_eq!(lab.setting(1, "veth0/arp_ignore"), "0");
    assert_eq!(lab.setting(1, "veth0/arp_announce"), "0", "what was there before the first change");
}

#[test]
fn a_strict_reverse_path_filter_is_told_and_left() {
    let lab = Lab::new(1);
    lab.set(1, "veth0/rp_filter", "1");
    let one = lab.start(1, 1, "vips=10.9.0.100");
    let seen = || -> Option<(String, bool)> {
        let now = one.now();
        let mut settings = now["settings"].as_array()?.iter();
        let setting = settings.find(|setting| setting["name"] == "net/ipv4/conf/veth0/rp_filter")?;
        Some((setting["value"].as_str()?.to_owned(), setting["good"].as_bool()?))
    };
    wait_until("it is seen", || seen() == Some(("1".to_owned(), true)));
    // Now there is another way for answers to leave.
    lab.ip(1, "link add aside0 type veth peer name aside1");
    lab.ip(1, "addr add 10.8.0.1/24 dev aside0");
    lab.ip(1, "link set aside0 up");
    lab.ip(1, "link set aside1 up");
    wait_until("it is told", || seen() == Some(("1".to_owned(), false)));
    lab.set(1, "veth0/rp_filter", "2");
    wait_until("it is good", || seen() == Some(("2".to_owned(), true)));
    assert_eq!(lab.setting(1, "veth0/rp_filter"), "2");
}

#[test]
fn the_end_of_what_is_desired_is_an_orderly_stop() {
    let lab = Lab::new(2);
    let (mut one, two) = pair(&lab, "vips=10.9.0.100");
    one.say("drop");
    assert!(one.ended());
    wait_until("node 2 leads", || two.leads());
    assert_eq!(two.now()["groups"][0]["reason"], "leader-resigned");
    assert_eq!(lab.holders(2, VIP), [2]);
    wait_until("nothing is left behind", || lab.processes(1).is_empty());
}

#[test]
fn an_operator_moves_the_group_away_and_it_stays() {
    let lab = Lab::new(2);
    let (mut one, two) = pair(&lab, "vips=10.9.0.100");
    one.say("stand-down");
    wait_until("node 2 leads", || two.leads() && one.role() == "standby");
    only(&lab, 2, VIP);
    one.say("stand-up");
    assert!(lab.pings(VIP));
    assert!(two.leads(), "no failback");
}

#[test]
fn a_dead_guard_is_replaced() {
    let lab = Lab::new(2);
    let (mut one, two) = pair(&lab, "vips=10.9.0.100");
    let guards =
        |lab: &Lab| -> Vec<i32> { lab.processes(1).into_iter().filter(|pid| *pid != one.pid()).collect() };
    let first = guards(&lab);
    assert_eq!(first.len(), 1);
    rustix::process::kill_process(rustix::process::Pid::from_raw(first[0]).unwrap(), Signal::KILL).unwrap();
    wait_until("another guard lives", || guards(&lab).len() == 1 && guards(&lab) != first);
    wait_until("it is told", || one.now()["guard"] == true);
    one.kill();
    wait_until("node 2 leads", || two.leads());
    assert_eq!(two.now()["groups"][0]["reason"], "leader-resigned", "the second guard knew what to do");
}

#[test]
fn a_guard_that_is_stopped_is_replaced() {
    let lab = Lab::new(1);
    let one = lab.start(1, 1, "vips=10.9.0.100");
    let guards = || -> Vec<i32> { lab.processes(1).into_iter().filter(|pid| *pid != one.pid()).collect() };
    wait_until("node 1 leads", || one.leads() && guards().len() == 1);
    let first = guards();
    rustix::process::kill_process(rustix::process::Pid::from_raw(first[0]).unwrap(), Signal::STOP).unwrap();
    wait_until("it is ended", || !std::path::Path::new(&format!("/proc/{}", first[0])).exists());
    wait_until("it is told", || one.now()["guard"] == true);
    assert!(one.leads());
    assert_eq!(lab.holders(1, VIP), [1]);
    assert_eq!(lab.asks(VIP), Some(lab.mac(1)));
}

#[test]
fn an_address_that_another_machine_has_stays_down_alone() {
    let lab = Lab::new(1);
    lab.ip(CLIENT, "addr add 10.9.0.101/24 dev veth0");
    let one = lab.start(1, 1, "vips=10.9.0.100,10.9.0.101");
    wait_until("node 1 leads", || one.leads());
    let addresses = one.now()["groups"][0]["addresses"].clone();
    assert_eq!(addresses["10.9.0.101"]["state"], "conflict");
    assert_eq!(addresses["10.9.0.101"]["mac"].as_str(), Some(lab.mac(CLIENT).as_str()));
    assert_eq!(addresses["10.9.0.100"]["state"], "answering");
    assert_eq!(lab.holders(1, "10.9.0.101"), [0u8; 0]);
}

#[test]
fn what_an_earlier_life_left_on_the_loopback_is_removed() {
    let lab = Lab::new(2);
    let one = lab.start(1, 2, "vips=10.9.0.100");
    wait_until("node 1 leads", || one.leads());
    lab.ip(2, "addr add 10.9.0.100/32 dev lo");
    let _two = lab.start(2, 2, "vips=10.9.0.100");
    only(&lab, 1, VIP);
}

#[test]
fn five_nodes_settle_on_one_each_time_the_leader_dies() {
    let lab = Lab::new(5);
    let start = |node| Some(lab.start(node, 5, "vips=10.9.0.100 interval_ms=10"));
    let mut nodes: Vec<Option<Engine>> = (1..=5).map(start).collect();
    let takes_part = |node: &Engine| node.leads() || node.role() == "standby";
    wait_until("all take part", || nodes.iter().flatten().all(takes_part));
    for alive in (2..=5).rev() {
        // A machine that is paused for longer than 30 ms may have another leader at any moment.
        let mut leader = 0;
        wait_until("one of those alive leads, alone has the VIP and answers", || {
            let [one] = leaders(&nodes)[..] else { return false };
            leader = one;
            let number = u8::try_from(leader).unwrap() + 1;
            lab.holders(5, VIP) == [number] && lab.asks(VIP) == Some(lab.mac(number))
        });

        let killed = nodes[leader].as_mut().unwrap().kill();
        nodes[leader] = None;
        wait_until("another one leads", || leaders(&nodes).len() == 1);
        let took =
            nodes.iter().flatten().filter_map(|node| node.became("leader", killed)).min().unwrap() - killed;
        println!("takeover among {alive}: {took:?}");
        wait_until("neighbours believe the new one", || {
            leaders(&nodes)
                .first()
                .is_some_and(|new| lab.believes(VIP) == Some(lab.mac(u8::try_from(*new).unwrap() + 1)))
        });
    }
}

/// The places of the engines that lead.
fn leaders(nodes: &[Option<Engine>]) -> Vec<usize> {
    let leads = |place: &usize| nodes[*place].as_ref().is_some_and(Engine::leads);
    (0..nodes.len()).filter(leads).collect()
}

#[test]
fn a_group_with_300_addresses() {
    let lab = Lab::new(2);
    let vips: Vec<String> = (0..300).map(|i| format!("10.9.{}.{}", 1 + i / 200, 1 + i % 200)).collect();
    let extra = format!("vips={} networks=10.9.0.0/16,fd09::/64", vips.join(","));
    for node in [1, 2, CLIENT] {
        lab.ip(node, "route add 10.9.0.0/16 dev veth0");
    }
    let (mut one, two) = pair(&lab, &extra);
    wait_until("node 1 has all", || lab.ip(1, "-o addr show dev lo").lines().count() > 300);
    assert!(lab.pings("10.9.1.1") && lab.pings("10.9.2.100"));
    one.kill();
    wait_until("node 2 leads", || two.leads());
    wait_until("node 2 has all", || lab.ip(2, "-o addr show dev lo").lines().count() > 300);
    println!("took {} us", two.now()["groups"][0]["takeover_us"]);
    wait_until("node 1 has none", || lab.ip(1, "-o addr show dev lo").lines().count() < 10);
    assert!(lab.pings("10.9.1.1") && lab.pings("10.9.2.100"));
}

#[test]
fn a_leader_that_does_not_reach_its_gateway_hands_over() {
    let lab = Lab::new(2);
    let (one, two) = pair(&lab, "vips=10.9.0.100 gateway=10.9.0.200");
    lab.isolate(1, CLIENT);
    wait_until("node 2 leads", || two.leads() && one.role() == "standby");
    assert_eq!(two.now()["groups"][0]["reason"], "leader-resigned");
    only(&lab, 2, VIP);

    let both_lost = Instant::now();
    lab.isolate(2, CLIENT);
    wait_until("node 2 offered the group", || {
        let shown = two.now();
        shown["groups"][0]["tracks"][0]["good"] == false
    });
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(two.became("standby", both_lost), None, "if both nodes are bad nobody moves");
    assert!(two.leads());
}

#[test]
fn a_reload_adds_and_removes_addresses_and_moves_nothing() {
    let lab = Lab::new(2);
    let (mut one, mut two) = pair(&lab, "vips=10.9.0.100,10.9.0.101");
    let reloaded = Instant::now();
    for node in [&mut one, &mut two] {
        node.say("vips=10.9.0.101,10.9.0.102");
    }
    wait_until("the new one is there", || lab.holders(2, "10.9.0.102") == [1]);
    wait_until("the old one is gone", || lab.holders(2, VIP).is_empty());
    assert_eq!(lab.asks("10.9.0.102"), Some(lab.mac(1)));
    assert_eq!(lab.asks(VIP), None);
    only(&lab, 1, "10.9.0.101");
    assert_eq!(one.became("standby", reloaded), None);
}

#[test]
fn a_changed_mac_is_announced() {
    let lab = Lab::new(1);
    let one = lab.start(1, 1, "vips=10.9.0.100");
    wait_until("node 1 leads", || one.leads());
    assert_eq!(lab.asks(VIP), Some(lab.mac(1)));
    lab.ip(1, "link set veth0 address 02:00:00:00:00:01");
    wait_until("the neighbour was told", || lab.believes(VIP).as_deref() == Some("02:00:00:00:00:01"));
}

#[test]
fn a_vip_on_another_interface_is_told() {
    let lab = Lab::new(1);
    let one = lab.start(1, 1, "vips=10.9.0.100");
    wait_until("node 1 leads", || one.leads());
    lab.ip(1, "addr add 10.9.0.100/32 dev veth0");
    wait_until("it is told", || one.now()["errors"].to_string().contains("also on veth0"));
    lab.ip(1, "addr del 10.9.0.100/32 dev veth0");
    wait_until("it is over", || one.now()["errors"].as_array().is_some_and(Vec::is_empty));
}

#[test]
fn lost_netlink_messages_are_made_up_for() {
    let lab = Lab::new(1);
    let one = lab.start(1, 1, "vips=10.9.0.100 guard=no");
    wait_until("node 1 leads", || one.leads());
    one.signal(Signal::STOP);
    // More changes than the socket's buffer holds; the last ones, which are lost, concern the VIP.
    let lines: String =
        (0..4000).map(|_| "addr add 10.8.0.1/32 dev lo\naddr del 10.8.0.1/32 dev lo\n").collect();
    lab.ip_batch(1, &lines);
    lab.ip(1, "addr del 10.9.0.100/32 dev lo");
    one.signal(Signal::CONT);
    wait_until("the loss was noticed", || one.now()["events"]["netlink_overflows"].as_u64() > Some(0));
    wait_until("node 1 leads with its VIP", || one.leads() && lab.holders(1, VIP) == [1]);
}

#[test]
fn messages_from_before_a_loss_are_not_believed() {
    let lab = Lab::new(1);
    let one = lab.start(1, 1, "vips=10.9.0.100");
    wait_until("node 1 leads", || one.leads());
    one.signal(Signal::STOP);
    // The link's end is among the messages that wait, and its return among those that are lost.
    lab.ip(1, "link set veth0 down");
    let changes = |verb: &str| -> String {
        let address = |number: u32| format!("addr {verb} 10.8.{}.{}/32 dev lo\n", number / 250, number % 250);
        (0..12_000).map(address).collect()
    };
    lab.ip_batch(1, &changes("add"));
    lab.ip(1, "link set veth0 up");
    lab.ip_batch(1, &changes("del"));
    one.signal(Signal::CONT);
    wait_until("the loss was noticed", || one.now()["events"]["netlink_overflows"].as_u64() > Some(0));
    wait_until("node 1 leads with its VIP", || one.leads() && lab.holders(1, VIP) == [1]);
    wait_until("it is reached", || lab.asks(VIP) == Some(lab.mac(1)));
}

#[test]
fn a_missing_capability_is_named() {
    let lab = Lab::new(1);
    for capability in ["net_raw", "net_admin"] {
        let error = lab.start_without(capability);
        assert!(error.contains("is not permitted"), "{error}");
        assert!(error.contains(&format!("CAP_{})", capability.to_uppercase())), "{error}");
    }
}
