#![allow(
    clippy::disallowed_methods,
    clippy::arithmetic_side_effects,
    reason = "any moment will do to begin with, in a test"
)]

use super::*;
use fulcrum_config::{Family, InterfaceName};
use std::net::Ipv4Addr;

const LEADER: Mac = Mac(2, 0, 0, 0, 0, 0x11);
const STRANGER: Mac = Mac(2, 0, 0, 0, 0, 0x66);
const INTERVAL: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(100);

fn own_address() -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11))
}

fn vip(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, number))
}

fn link() -> Link {
    Link { interface: InterfaceName::new("eth0"), family: Family::Ipv4 }
}

fn follows(epoch: u64) -> Part {
    Part::Follows { node: Some(NodeName::new("lb1")), address: own_address(), epoch }
}

const PORTS: [u16; 2] = [80, 443];
const SOURCE: u16 = 61_440;

/// A node on a link, on a virtual clock; `answers` says who answers a question for an address.
struct Scene {
    proof: Proof,
    around: Neighbourhood,
    now: Instant,
    begun: Instant,
    /// Every question for a VIP, and when it was asked.
    asked: Vec<(Duration, IpAddr)>,
    /// Every port that was asked for, in order.
    syns: Vec<u16>,
    /// Those that nobody answers.
    silent_ports: Vec<u16>,
}

impl Scene {
    fn new(vips: u8, part: Part) -> Self {
        let now = Instant::now();
        let mut proof = Proof::new(INTERVAL);
        let wanted = |number| Wanted { address: vip(100 + number), link: link(), ports: PORTS.to_vec() };
        let wanted = (0..vips).map(wanted);
        proof.handle_wanted(INTERVAL, wanted, now);
        proof.handle_part(part, now);
        let mut around = Neighbourhood::default();
        around.handle_neighbours([(own_address(), NodeName::new("lb1"))], [vip(1)]);
        Self { proof, around, now, begun: now, asked: Vec::new(), syns: Vec::new(), silent_ports: Vec::new() }
    }

    /// Lets time pass in steps of a batch.
    fn run(&mut self, time: Duration, answers: impl Fn(IpAddr) -> Vec<Mac>) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            self.proof.handle_timer(|_| Some(&self.around), self.now);
            let due: Vec<_> = self.proof.due(self.now).collect();
            for (_, _, address) in due {
                assert_eq!(self.proof.ask(address, self.now), Some(&link()));
                self.asked.push((self.now - self.begun, address));
                for mac in answers(address) {
                    self.around.handle_answer(address, mac, self.now);
                    let Some(port) = self.proof.handle_answer(address, mac) else { continue };
                    self.proof.handle_syn(address, port, SOURCE, u32::MAX);
                    self.syns.push(port);
                    if !self.silent_ports.contains(&port) {
                        assert!(!self.proof.handle_segment(address, SOURCE, 1), "another connection's");
                        assert!(!self.proof.handle_segment(address, SOURCE + 1, 0), "at another port");
                        assert!(self.proof.handle_segment(address, SOURCE, 0));
                    }
                }
            }
            let is_in_doubt = self.proof.is_in_doubt(&link());
            for address in self.around.poll_questions(is_in_doubt, self.now) {
                for mac in answers(address) {
                    self.around.handle_answer(address, mac, self.now);
                }
            }
        }
    }

    fn finding(&self) -> Option<Finding> {
        Some(self.proof.observed().get(&vip(100))?.finding.clone())
    }
}

/// The leader answers for its own address and for every VIP.
fn well(_: IpAddr) -> Vec<Mac> {
    vec![LEADER]
}

/// It answers for its own address alone.
fn silent(address: IpAddr) -> Vec<Mac> {
    if address == own_address() { vec![LEADER] } else { Vec::new() }
}

fn macs(by: &[Answerer]) -> Vec<(&str, Option<&str>)> {
    by.iter().map(|one| (one.mac.as_str(), one.node.as_ref().map(NodeName::as_str))).collect()
}

#[test]
fn an_address_that_is_answered_is_asked_for_slowly_and_steadily() {
    let mut scene = Scene::new(1, follows(1));
    scene.run(Duration::from_secs(63), well);
    assert_eq!(scene.finding(), Some(Finding::Answered));
    assert_eq!(scene.asked.len(), 31);
    assert!(scene.asked[0].0 >= SETTLE, "{:?}", scene.asked[0]);
    let answered = scene.proof.observed()[&vip(100)].answered.expect("it was");
    assert!(scene.now - answered <= INTERVAL + PATIENCE);
}

#[test]
fn addresses_are_asked_for_one_after_the_other() {
    let mut scene = Scene::new(20, follows(1));
    scene.run(Duration::from_secs(60), well);
    let most = scene.asked.chunk_by(|one, other| one.0 == other.0).map(<[_]>::len).max();
    assert_eq!(most, Some(1), "twenty in two seconds are one in each batch");
}

#[test]
fn a_lost_frame_or_two_are_nothing() {
    let mut scene = Scene::new(1, follows(1));
    scene.run(Duration::from_secs(6), well);
    for _ in 0..20 {
        scene.run(Duration::from_secs(2), silent);
        assert_eq!(scene.finding(), Some(Finding::Answered));
        scene.run(Duration::from_secs(3), well);
    }
}

#[test]
fn a_leader_that_does_not_answer_is_found_and_is_forgiven_when_it_does() {
    let mut scene = Scene::new(1, follows(1));
    scene.run(Duration::from_secs(6), well);
    scene.run(Duration::from_millis(5500), silent);
    assert_eq!(scene.finding(), Some(Finding::NotAnswered));
    scene.run(Duration::from_millis(3500), well);
    assert_eq!(scene.finding(), Some(Finding::Answered));
}

#[test]
fn what_stays_bad_is_asked_for_at_the_steady_pace() {
    let mut scene = Scene::new(1, follows(1));
    scene.run(Duration::from_secs(10), silent);
    scene.asked.clear();
    scene.run(Duration::from_secs(60), silent);
    assert_eq!(scene.asked.len(), 30);
}

#[test]
fn who_is_not_heard_by_anybody_does_not_blame_the_leader() {
    let mut scene = Scene::new(1, follows(1));
    scene.run(Duration::from_secs(6), well);
    scene.run(Duration::from_secs(20), |_| Vec::new());
    assert_eq!(scene.finding(), Some(Finding::NobodyAnswers));
    // A gateway or backend that answers says enough.
    scene.run(Duration::from_secs(10), |address| if address == vip(1) { vec![STRANGER] } else { Vec::new() });
    assert_eq!(scene.finding(), Some(Finding::NotAnswered));
}

#[test]
fn two_that_answer_are_named() {
    let mut scene = Scene::new(1, follows(1));
    let both =
        |address| if address == own_address() { vec![LEADER] } else { vec![STRANGER, LEADER, STRANGER] };
    scene.run(Duration::from_secs(9), both);
    let Some(Finding::AnsweredTwice { by }) = scene.finding() else { panic!("{:?}", scene.finding()) };
    assert_eq!(macs(&by), [("02:00:00:00:00:66", None), ("02:00:00:00:00:11", Some("lb1"))]);
    let since = scene.proof.observed()[&vip(100)].since;
    assert!(since - scene.begun < Duration::from_secs(4), "since it was first seen");
}

#[test]
fn a_stranger_in_place_of_the_leader_is_not_the_leader() {
    let mut scene = Scene::new(1, follows(1));
    scene.run(
        Duration::from_secs(9),
        |address| {
            if address == own_address() { vec![LEADER] } else { vec![STRANGER] }
        },
    );
    let Some(Finding::AnsweredByAnother { by }) = scene.finding() else { panic!("{:?}", scene.finding()) };
    assert_eq!(macs(&by), [("02:00:00:00:00:66", None)]);
}

#[test]
fn the_virtual_mac_and_that_of_a_leader_whose_mac_is_not_known_are_right() {
    for mac in [Mac(0, 0, 0x5e, 0, 1, 51), STRANGER] {
        let knows = mac != STRANGER;
        let mut scene = Scene::new(1, follows(1));
        scene.run(Duration::from_secs(9), |address| match address == own_address() {
            true if knows => vec![LEADER],
            true => Vec::new(),
            false => vec![mac],
        });
        assert_eq!(scene.finding(), Some(Finding::Answered), "{mac}");
    }
}

#[test]
fn a_leader_whose_interface_was_replaced_is_still_the_leader() {
    let mut scene = Scene::new(1, follows(1));
    scene.run(Duration::from_secs(10), well);
    scene.run(Duration::from_secs(10), |_| vec![STRANGER]);
    assert_eq!(scene.finding(), Some(Finding::Answered));
}

#[test]
fn who_answers_although_nobody_leads_is_found_and_nobody_is_missed() {
    let mut scene = Scene::new(1, Part::Unled);
    scene.run(Duration::from_secs(20), silent);
    assert_eq!(scene.finding(), Some(Finding::Unknown));
    scene.run(Duration::from_secs(6), |_| vec![LEADER]);
    let Some(Finding::AnsweredUnled { by }) = scene.finding() else { panic!("{:?}", scene.finding()) };
    assert_eq!(macs(&by), [("02:00:00:00:00:11", Some("lb1"))]);
}

#[test]
fn a_change_of_leader_begins_anew_and_nobody_is_asked_meanwhile() {
    let mut scene = Scene::new(1, follows(1));
    scene.run(Duration::from_secs(10), silent);
    assert_eq!(scene.finding(), Some(Finding::NotAnswered));
    assert!(scene.proof.handle_part(follows(2), scene.now));
    assert!(!scene.proof.handle_part(follows(2), scene.now));
    assert_eq!(scene.finding(), Some(Finding::Unknown));
    scene.asked.clear();
    scene.run(SETTLE - STEP, silent);
    assert_eq!(scene.asked, []);
    // It never comes to a finding while leaders change again and again.
    for epoch in 3..20 {
        scene.proof.handle_part(follows(epoch), scene.now);
        scene.run(Duration::from_millis(5500), silent);
        assert_eq!(scene.finding(), Some(Finding::Unknown));
    }
}

#[test]
fn who_takes_no_part_or_leads_asks_nobody() {
    for part in [Part::Idle, Part::Leads] {
        let mut scene = Scene::new(1, part);
        scene.run(Duration::from_secs(20), silent);
        assert_eq!((scene.asked.len(), scene.finding()), (0, None));
        assert_eq!(scene.proof.poll_timeout(), None);
    }
}

#[test]
fn a_process_that_did_not_run_blames_nobody_for_it() {
    let mut scene = Scene::new(1, follows(1));
    scene.run(Duration::from_secs(6), well);
    for _ in 0..20 {
        scene.run(Duration::from_secs(3), silent);
        scene.proof.handle_pause(scene.now);
    }
    assert_eq!(scene.finding(), Some(Finding::Answered));
}

#[test]
fn a_link_that_is_down_says_nothing() {
    let mut scene = Scene::new(1, follows(1));
    for _ in 0..200 {
        scene.now += STEP;
        assert!(!scene.proof.handle_timer(|_| None, scene.now));
        let due: Vec<_> = scene.proof.due(scene.now).collect();
        assert_eq!(due, []);
        assert!(scene.proof.poll_timeout().is_some_and(|at| at > scene.now), "it does not spin");
    }
}

#[test]
fn a_leader_finds_another_that_insists() {
    let mut scene = Scene::new(1, Part::Leads);
    // Once may be late.
    scene.proof.handle_claim(vip(100), STRANGER, scene.now);
    scene.run(Duration::from_secs(5), silent);
    assert_eq!(scene.finding(), None);
    for _ in 0..4 {
        scene.proof.handle_claim(vip(100), STRANGER, scene.now);
        scene.run(Duration::from_secs(1), silent);
    }
    let Some(Finding::AnsweredTwice { by }) = scene.finding() else { panic!("{:?}", scene.finding()) };
    assert_eq!(macs(&by), [("02:00:00:00:00:66", None)]);
    scene.run(FORGET + Duration::from_secs(2), silent);
    assert_eq!((scene.finding(), scene.proof.poll_timeout()), (None, None));
}

#[test]
fn a_node_is_asked_for_its_mac_from_time_to_time_and_others_only_in_doubt() {
    let mut around = Neighbourhood::default();
    let others = (1..=30).map(vip);
    around.handle_neighbours([(own_address(), NodeName::new("lb1"))], others);
    assert_eq!(around.addresses().count(), 9, "a few others are enough");
    let now = Instant::now();
    assert_eq!(around.poll_questions(false, now), [own_address()]);
    assert!(around.poll_questions(false, now + Duration::from_secs(59)).is_empty());
    assert_eq!(around.poll_questions(true, now + Duration::from_secs(59)).len(), 9);
    assert!(around.poll_questions(true, now + Duration::from_millis(59_900)).is_empty());
}

#[test]
fn ports_are_asked_for_in_turns() {
    let mut scene = Scene::new(1, follows(1));
    scene.run(Duration::from_secs(12), well);
    assert_eq!(scene.syns, [80, 443, 80, 443, 80]);
    assert_eq!(scene.finding(), Some(Finding::Answered));
}

#[test]
fn a_port_that_nobody_answers_is_found_beside_those_that_are_and_forgiven() {
    let mut scene = Scene::new(1, follows(1));
    scene.run(Duration::from_secs(6), well);
    let answered = scene.proof.observed()[&vip(100)].answered;
    scene.silent_ports = vec![443];
    scene.run(Duration::from_secs(9), well);
    assert_eq!(scene.finding(), Some(Finding::PortNotAnswered { ports: vec![443] }));
    scene.run(Duration::from_secs(20), well);
    assert_eq!(scene.finding(), Some(Finding::PortNotAnswered { ports: vec![443] }));
    let turns = scene.syns.len() - 4;
    assert_ne!(scene.syns[turns], scene.syns[turns + 1], "the others have their turns: {:?}", scene.syns);
    let observed = &scene.proof.observed()[&vip(100)];
    assert!(observed.answered < answered.map(|answered| answered + Duration::from_secs(6)));
    scene.silent_ports = vec![80, 443];
    scene.run(Duration::from_secs(10), well);
    assert_eq!(scene.finding(), Some(Finding::PortNotAnswered { ports: vec![80, 443] }));
    scene.silent_ports = Vec::new();
    scene.run(Duration::from_secs(6), well);
    assert_eq!(scene.finding(), Some(Finding::Answered));
}

#[test]
fn a_syn_or_two_that_are_lost_are_nothing() {
    let mut scene = Scene::new(1, follows(1));
    scene.run(Duration::from_secs(6), well);
    for _ in 0..20 {
        scene.silent_ports = PORTS.to_vec();
        scene.run(Duration::from_secs(2), well);
        scene.silent_ports = Vec::new();
        scene.run(Duration::from_secs(4), well);
        assert_eq!(scene.finding(), Some(Finding::Answered));
    }
}

#[test]
fn where_nobody_leads_or_nobody_answers_no_port_is_asked_for() {
    let mut scene = Scene::new(1, Part::Unled);
    scene.run(Duration::from_secs(10), well);
    assert!(scene.syns.is_empty());
    let mut scene = Scene::new(1, follows(1));
    scene.run(Duration::from_secs(10), silent);
    assert!(scene.syns.is_empty());
}

#[test]
fn a_reload_that_changes_ports_keeps_what_is_known() {
    let mut scene = Scene::new(1, follows(1));
    scene.silent_ports = vec![443];
    scene.run(Duration::from_secs(15), well);
    let wanted = |ports: &[u16]| [Wanted { address: vip(100), link: link(), ports: ports.to_vec() }];
    scene.proof.handle_wanted(INTERVAL, wanted(&[443, 8443]), scene.now);
    scene.run(Duration::from_secs(2), well);
    assert_eq!(scene.finding(), Some(Finding::PortNotAnswered { ports: vec![443] }));
    scene.proof.handle_wanted(INTERVAL, wanted(&[8443]), scene.now);
    scene.run(Duration::from_secs(4), well);
    assert_eq!(scene.finding(), Some(Finding::Answered));
}

#[test]
fn who_took_over_from_this_node_is_asked_at_once_and_blamed_for_nothing_before_things_have_settled() {
    let mut scene = Scene::new(1, Part::Leads);
    scene.proof.handle_part(follows(1), scene.now);
    // That there is another epoch is heard a moment later.
    scene.run(STEP, well);
    scene.proof.handle_part(follows(2), scene.now);
    scene.run(Duration::from_secs(1), well);
    assert_eq!(scene.finding(), Some(Finding::Answered));
    assert!(scene.proof.observed()[&vip(100)].answered.is_some());
    let asked = scene.asked.len();
    scene.run(Duration::from_secs(10), well);
    assert!(scene.asked.len() - asked <= 6, "slowly from then on: {:?}", scene.asked);

    let mut scene = Scene::new(1, Part::Leads);
    scene.proof.handle_part(follows(1), scene.now);
    scene.run(SETTLE, silent);
    assert_eq!(scene.finding(), Some(Finding::Unknown));
    assert!(scene.asked.len() > 3, "{:?}", scene.asked);
    scene.run(Duration::from_secs(10), silent);
    assert_eq!(scene.finding(), Some(Finding::NotAnswered));

    // Of a port that is not answered likewise.
    let mut scene = Scene::new(1, Part::Leads);
    scene.silent_ports = PORTS.to_vec();
    scene.proof.handle_part(follows(1), scene.now);
    scene.run(SETTLE, well);
    assert_eq!(scene.finding(), Some(Finding::Unknown));
}
