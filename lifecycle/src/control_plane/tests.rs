use super::*;
use crate::alarms::tests::{facts, group};
use crate::fixture::vip;
use crate::peers::tests::with_peer;
use fulcrum_config::{Priority, ServiceName};
use fulcrum_lb::ServiceObserved;
use fulcrum_peer::Word;
use fulcrum_vip_manager::{GroupObserved, PeerSeen};
use std::sync::Arc;

pub(crate) fn main() -> GroupName {
    GroupName::new("main")
}

pub(crate) fn lb2() -> NodeName {
    NodeName::new("lb2")
}

/// This node, lb1, leads; lb2, to which there is a link, says that it is ready.
pub(crate) fn scene(change: impl FnOnce(&mut Word)) -> Snapshots {
    let mut word = Word { ready: [main()].into(), ..Word::default() };
    change(&mut word);
    let mut snapshots = with_peer(|peer| peer.word = Some(Arc::new(word)));
    let config = Arc::make_mut(&mut snapshots.config);
    let of_config = Arc::make_mut(config.groups.get_mut(&main()).expect("the group"));
    of_config.class = Class::ControlPlane;
    of_config.priorities.insert(lb2(), Priority::DEFAULT);
    snapshots.lb.services.insert(ServiceName::new("web"), ServiceObserved::default());
    snapshots
}

fn own(snapshots: &Snapshots) -> BTreeSet<GroupName> {
    let reasons = crate::ready::tests::reasons_of(snapshots);
    protected(&snapshots.config).filter(|group| !reasons.contains_key(*group)).cloned().collect()
}

pub(crate) fn seen(snapshots: &mut Snapshots) -> &mut GroupObserved {
    snapshots.vip.groups.get_mut(&main()).expect("the group")
}

pub(crate) fn peer(snapshots: &mut Snapshots) -> &mut PeerObserved {
    snapshots.peer.peers.get_mut(&lb2()).expect("the peer")
}

/// Something that is the matter.
type Harm = fn(&mut Snapshots);

#[test]
fn a_standby_is_ready_only_if_it_says_so_and_runs_the_same() {
    let good = scene(|_| {});
    assert_eq!(successor(&good, &main()), Ok(lb2()));
    let rows: [(Harm, &str); 6] = [
        (|it| peer(it).state = PeerState::Down, "the link to it is down: heartbeats come"),
        (|it| peer(it).word = None, "it has not said yet how it is"),
        (|it| peer(it).config = None, "it has not said yet how it is"),
        (|it| Arc::make_mut(&mut it.config).shared.0 = 7, "it runs another configuration"),
        (
            |it| peer(it).word = Some(Arc::default()),
            "it is not ready for it: look at 'fulcrum status' on lb2",
        ),
        (|it| it.peer.peers.clear(), "it has no link to this node"),
    ];
    for (harm, why) in rows {
        let mut snapshots = good.clone();
        harm(&mut snapshots);
        let told = successor(&snapshots, &main()).expect_err(why);
        assert!(told.len() == 1 && told[0].starts_with(&format!("lb2: {why}")), "{told:?}");
        snapshots.without_standby =
            without_standby((&snapshots).into()).into_iter().map(|it| (it, past())).collect();
        let alarms = alarms(&snapshots, past() + WITHOUT_STANDBY);
        assert!(alarms.len() == 1 && alarms[0].what.contains(why), "{alarms:?}");
        assert!(crate::alarms::alarms(&facts(), &snapshots).contains(&alarms[0]));
    }
    assert_eq!(without_standby((&good).into()), BTreeSet::new());
}

#[allow(clippy::disallowed_methods, reason = "any instant will do")]
fn past() -> Instant {
    let now = Instant::now();
    now.checked_sub(Duration::from_secs(60)).unwrap_or(now)
}

#[test]
fn without_a_link_at_all_nothing_is_known_and_nothing_alarming() {
    let mut alone = scene(|_| {});
    alone.peer = fulcrum_peer::Observed::default();
    assert_eq!(without_standby((&alone).into()), BTreeSet::new());
    assert_eq!(successor(&alone, &main()).map_err(|why| why.len()), Err(1));
    Arc::make_mut(Arc::make_mut(&mut alone.config).groups.get_mut(&main()).expect("it"))
        .priorities
        .remove(&lb2());
    assert_eq!(successor(&alone, &main()), Err(Vec::new()), "there is no other node");
}

#[test]
fn the_one_that_would_take_over_must_be_the_one_that_is_ready() {
    let mut snapshots = scene(|_| {});
    let lb3 = NodeName::new("lb3");
    let of_config = Arc::make_mut(&mut snapshots.config).groups.get_mut(&main()).expect("the group");
    Arc::make_mut(of_config).priorities.insert(lb3.clone(), Priority::new(200).expect("a priority"));
    let unready = PeerObserved { word: Some(Arc::default()), ..peer(&mut snapshots).clone() };
    snapshots.peer.peers.insert(lb3.clone(), unready);
    assert!(successor(&snapshots, &main()).is_err(), "lb3 comes first");
    snapshots.peer.peers.get_mut(&lb3).expect("it").state = PeerState::Down;
    assert_eq!(successor(&snapshots, &main()), Ok(lb2()), "one that is dead takes nothing");
    snapshots.peer.peers.get_mut(&lb3).expect("it").state = PeerState::Up;
    // Of an elected group the order is known.
    seen(&mut snapshots).order = vec![NodeName::new("lb1"), lb2(), lb3];
    assert_eq!(successor(&snapshots, &main()), Ok(lb2()));
}

#[test]
fn a_move_is_settled_when_another_than_the_leader_is_ready() {
    let mut snapshots = scene(|_| {});
    assert!(is_settled(&snapshots, &main()), "this node leads again");
    seen(&mut snapshots).role = Role::Standby;
    assert!(!is_settled(&snapshots, &main()), "nobody leads");
    seen(&mut snapshots).leader = Some(PeerSeen { node: Some(lb2()), address: vip(), priority: 100 });
    assert!(!is_settled(&snapshots, &main()), "only the leader is ready");
    let undrained = Arc::clone(&snapshots.config);
    let noted = fulcrum_config::Noted {
        what: fulcrum_config::NodeDrain { finish: None },
        by: "uid 0".to_owned(),
        since: fulcrum_config::UnixTime(1),
    };
    let nodes = BTreeMap::from([(NodeName::new("lb1"), noted)]);
    Arc::make_mut(&mut snapshots.config).overrides =
        Arc::new(fulcrum_config::Overrides { nodes, ..fulcrum_config::Overrides::default() });
    assert!(is_settled(&snapshots, &main()), "all others are drained: there is none to wait for");
    snapshots.config = undrained;
    snapshots.ready = own(&snapshots);
    assert!(is_settled(&snapshots, &main()));
    assert_eq!(able(&snapshots, &main()), [NodeName::new("lb1"), lb2()].into());
}

/// Nodes that want to move a group each, and what they have said and heard.
#[derive(Debug, Default)]
struct Table {
    /// By node: its number while it wants to move one.
    said: BTreeMap<NodeName, Word>,
    /// By hearer and speaker: what it heard last.
    heard: BTreeMap<(NodeName, NodeName), Word>,
    moving: BTreeSet<NodeName>,
}

impl Table {
    fn peers(&self, of: &NodeName) -> BTreeMap<NodeName, PeerObserved> {
        let like = with_peer(|_| {}).peer.peers.into_values().next().expect("a peer");
        let heard = self.heard.iter().filter(|((hearer, _), _)| hearer == of);
        heard
            .map(|((_, speaker), word)| {
                (speaker.clone(), PeerObserved { word: Some(Arc::new(word.clone())), ..like.clone() })
            })
            .collect()
    }

    /// What the speaker said last reaches the hearer, which says that it knows.
    fn carry(&mut self, from: &NodeName, to: &NodeName) {
        self.heard.insert((to.clone(), from.clone()), self.said[from].clone());
        let heard = self.heard.iter().filter(|((hearer, _), _)| hearer == to);
        let knows = heard.flat_map(|(_, word)| word.moves.values().copied()).collect();
        self.said.get_mut(to).expect("a node").knows = knows;
    }

    fn step(&mut self, node: &NodeName, number: u64) {
        let peers = self.peers(node);
        let word = self.said.get_mut(node).expect("a node");
        if self.moving.contains(node) {
            // It is settled.
            self.moving.remove(node);
            word.moves.clear();
        } else if word.moves.is_empty() {
            let others = peers.values().filter_map(|peer| peer.word.as_ref());
            if others.into_iter().all(|word| word.moves.is_empty()) {
                word.moves.insert(main(), number);
            }
        } else {
            let asked = word.moves.values().copied().next().expect("a number");
            match turn(node, asked, &peers) {
                Turn::Now => self.moving.extend([node.clone()]),
                Turn::Wait(_) => {}
                Turn::GiveWay(_) => word.moves.clear(),
            }
        }
    }
}

/// Numbers without order, the same each time (a linear congruential generator).
fn numbers(seed: u64) -> impl FnMut(u64) -> usize {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((state >> 33).checked_rem(below).unwrap_or(0)).expect("a small number")
    }
}

#[test]
fn never_two_groups_of_the_control_plane_are_moved_at_a_time() {
    let nodes = ["lb1", "lb2", "lb3"].map(NodeName::new);
    for seed in 0..500 {
        let mut next = numbers(seed);
        let mut table = Table::default();
        for node in &nodes {
            table.said.insert(node.clone(), Word::default());
        }
        for from in &nodes {
            nodes.iter().filter(|to| *to != from).for_each(|to| table.carry(from, to));
        }
        for number in 1..100 {
            let (who, what) = (next(3), next(4));
            match nodes.get(what) {
                Some(to) if what != who => table.carry(&nodes[who], to),
                _ => table.step(&nodes[who], number),
            }
            assert!(table.moving.len() <= 1, "{seed}: {table:?}");
        }
        // And somebody gets a turn in the end.
        let mut moved = !table.moving.is_empty();
        for number in 1000..1010 {
            for node in &nodes {
                table.step(node, number);
                moved |= !table.moving.is_empty();
                nodes.iter().filter(|to| *to != node).for_each(|to| table.carry(node, to));
            }
        }
        assert!(moved, "{seed}: {table:?}");
    }
}

#[test]
fn workloads_are_none_of_this() {
    let mut snapshots = scene(|_| {});
    let of_config = Arc::make_mut(&mut snapshots.config).groups.get_mut(&main()).expect("the group");
    Arc::make_mut(of_config).class = Class::Workload;
    assert_eq!(own(&snapshots), BTreeSet::new());
    peer(&mut snapshots).state = PeerState::Down;
    assert_eq!(without_standby((&snapshots).into()), BTreeSet::new());
    assert_eq!(group(Role::Leader).role, Role::Leader);
}
