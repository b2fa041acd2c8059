use super::*;
use crate::border::{Changes, PeerConfig, PeerState, Word};
use crate::message::Datagram;
use crate::serving::Services;
use crate::{key, tls};
use applying::among;
use connection::say;
use fulcrum_config::parse;
use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};

/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node on an address of its own on loopback.
struct Node {
    name: &'static str,
    key: PathBuf,
    pin: KeyPin,
}

/// Two nodes, their keys in a directory of the test's own, and addresses that no other test has.
struct Pair {
    directory: tempfile::TempDir,
    nodes: [Node; 2],
    addresses: [String; 2],
    port: u16,
}

impl Pair {
    fn new(number: u8) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let node = |name: &'static str| {
            let key = directory.path().join(format!("{name}.key"));
            Node { name, pin: key::create_or_pin(&key).unwrap().0, key }
        };
        let nodes = [node("a"), node("b")];
        let addresses = [format!("127.88.{number}.1"), format!("127.88.{number}.2")];
        // Free now at one, and so in all likelihood at both.
        let port = UdpSocket::bind((addresses[0].as_str(), 0)).unwrap().local_addr().unwrap().port();
        Self { directory, nodes, addresses, port }
    }

    fn config(&self, side: usize, keys: [&[KeyPin]; 2], key: &Path) -> Arc<Config> {
        let list =
            |pins: &[KeyPin]| pins.iter().map(|pin| format!("\"{pin}\"")).collect::<Vec<_>>().join(", ");
        let text = format!(
            "node: {}\nnodes:\n  a: {{addresses: [{}], keys: [{}]}}\n  b: {{addresses: [{}], keys: [{}]}}\n\
             peer: {{port: {}, heartbeat: 200ms, key: {}}}\n",
            self.nodes[side].name,
            "10.88.0.1",
            list(keys[0]),
            "10.88.0.2",
            list(keys[1]),
            self.port,
            key.display()
        );
        let parsed = parse(&text, "fulcrum.yaml", "elsewhere").unwrap_or_else(|wrong| panic!("{wrong}"));
        // No file may say that a node is on loopback; here all are.
        let mut config = parsed.config;
        for (node, address) in config.nodes.values_mut().zip(&self.addresses) {
            node.addresses = vec![address.parse().unwrap()];
        }
        Arc::new(config)
    }

    fn plain(&self, side: usize) -> Arc<Config> {
        self.config(side, [&[self.nodes[0].pin], &[self.nodes[1].pin]], &self.nodes[side].key)
    }

    fn other_key(&self, name: &str) -> (PathBuf, KeyPin) {
        let path = self.directory.path().join(name);
        let (pin, _) = key::create_or_pin(&path).unwrap();
        (path, pin)
    }
}

struct Running {
    desired: watch::Sender<Desired>,
    observed: watch::Receiver<Observed>,
    /// What its data plane sees.
    known: watch::Receiver<BTreeMap<NodeName, u64>>,
    say: tokio::sync::mpsc::Sender<Arc<[u8]>>,
    heard: tokio::sync::mpsc::Receiver<(NodeName, Arc<[u8]>)>,
}

impl Running {
    fn start(config: Arc<Config>) -> Self {
        let (desired, seen) = watch::channel(Desired {
            config,
            generation: 1,
            word: Word::default(),
            answers: BTreeMap::new(),
            serial: 1,
            changes: Changes::default(),
            serving: Arc::default(),
        });
        let (peers, known) = watch::channel(BTreeMap::new());
        let (say, to_peers) = tokio::sync::mpsc::channel(4);
        let (from_peers, heard) = tokio::sync::mpsc::channel(4);
        let flows = FlowLink { peers, to_peers, from_peers };
        let observed = start(
            seen,
            flows,
            Options {
                version: "0.1.0".into(),
                echoes: None,
                heartbeats: None,
                sockets: crate::Sockets::default(),
            },
        )
        .unwrap();
        Self { desired, observed, known, say, heard }
    }

    fn become_config(&self, config: Arc<Config>) {
        self.desired.send_modify(|desired| {
            desired.config = config;
            desired.generation += 1;
        });
    }

    fn wait(&mut self, what: &str, is_so: impl FnMut(&Observed) -> bool) -> Observed {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let waited = runtime.block_on(async {
            tokio::time::timeout(PATIENCE, self.observed.wait_for(is_so))
                .await
                .map(|it| it.map(|it| it.clone()))
        });
        match waited {
            Ok(Ok(observed)) => observed,
            Ok(Err(_)) => panic!("the engine has ended"),
            Err(_) => panic!("waited in vain for {what}: {:?}", *self.observed.borrow()),
        }
    }
}

fn peer_of(observed: &Observed) -> Option<&crate::PeerObserved> {
    observed.peers.values().next()
}

fn is_up(observed: &Observed) -> bool {
    peer_of(observed).is_some_and(|peer| peer.state == PeerState::Up && peer.round_trip.is_some())
}

fn is_refused(observed: &Observed) -> bool {
    peer_of(observed).is_some_and(|peer| peer.state == PeerState::Refused)
}

#[test]
fn the_more_peers_the_less_is_said_to_each() {
    let rows =
        [(0, 50, 50), (1, 50, 50), (2, 50, 50), (3, 50, 75), (31, 50, 400), (2, 10, 10), (31, 500, 500)];
    for (peers, beat, expected) in rows {
        assert_eq!(
            among(peers, Duration::from_millis(beat)),
            Duration::from_millis(expected),
            "{peers} {beat}"
        );
    }
}

#[test]
fn a_link_comes_up_and_says_what_the_peer_runs() {
    let pair = Pair::new(1);
    let (mut a, mut b) = (Running::start(pair.plain(0)), Running::start(pair.plain(1)));
    let (a, b) = (a.wait("the link", is_up), b.wait("the link", is_up));
    for (observed, other) in [(a, 1), (b, 0)] {
        assert_eq!(observed.state, LinkState::On);
        assert!(observed.own_pin_listed && observed.errors.is_empty());
        let peer = peer_of(&observed).unwrap();
        assert_eq!(peer.config, Some(PeerConfig { generation: 1, serial: 1, digest: pair.plain(0).shared }));
        assert_eq!(peer.version.as_deref(), Some("0.1.0"));
        assert_eq!(peer.address.unwrap().ip().to_string(), pair.addresses[other]);
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "that nothing happens takes a while to see")]
fn what_a_data_plane_says_reaches_the_others_and_it_knows_who_hears() {
    let pair = Pair::new(9);
    let (mut a, mut b) = (Running::start(pair.plain(0)), Running::start(pair.plain(1)));
    a.wait("the link", is_up);
    b.wait("the link", is_up);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let session = runtime.block_on(a.known.wait_for(|known| known.len() == 1)).unwrap().clone();
    let hear = |b: &mut Running| {
        let one = runtime.block_on(async { tokio::time::timeout(PATIENCE, b.heard.recv()).await });
        let (from, bytes) = one.expect("in time").expect("the engine lives");
        assert_eq!(from.as_str(), pair.plain(0).node.as_str());
        bytes
    };
    let said: Arc<[u8]> = vec![7; 60_000].into();
    // In the order in which it was said, though what is short travels faster.
    let short: Arc<[u8]> = vec![8; 3].into();
    for _ in 0..50 {
        for message in [&said, &short] {
            runtime.block_on(a.say.send(Arc::clone(message))).unwrap();
        }
        assert_eq!((hear(&mut b), hear(&mut b)), (Arc::clone(&said), Arc::clone(&short)));
    }
    // Many more than fit wait until there is room for them, and so does whoever says them.
    let (many, to_a) = (500_u32, a.say.clone());
    let says = std::thread::spawn(move || {
        let message = |number: u32| [&number.to_be_bytes()[..], &[9; 40_000]].concat().into();
        (0..many).for_each(|number| to_a.blocking_send(message(number)).unwrap());
    });
    std::thread::sleep(Duration::from_millis(700));
    assert!(!says.is_finished(), "who says more than is taken waits");
    for number in 0..many {
        assert_eq!(hear(&mut b)[..4], number.to_be_bytes());
    }
    says.join().unwrap();
    assert_eq!(b.observed.borrow().counters.flows_lost, 0);
    // Another life of the peer may have missed something.
    drop(b);
    runtime.block_on(a.known.wait_for(BTreeMap::is_empty)).unwrap();
    let mut b = Running::start(pair.plain(1));
    b.wait("the link", is_up);
    let again = runtime.block_on(a.known.wait_for(|known| known.len() == 1)).unwrap().clone();
    assert_ne!(session, again);
}

#[test]
fn a_wrong_key_is_refused_on_both_sides_with_the_reason() {
    let pair = Pair::new(2);
    let (stranger, _) = pair.other_key("stranger.key");
    let mut a = Running::start(pair.plain(0));
    let pins: [&[KeyPin]; 2] = [&[pair.nodes[0].pin], &[pair.nodes[1].pin]];
    let mut b = Running::start(pair.config(1, pins, &stranger));
    let seen = a.wait("the refusal", is_refused);
    assert!(peer_of(&seen).unwrap().reason.contains("its key is none of those"), "{seen:?}");
    let seen = b.wait("the refusal", is_refused);
    assert!(!seen.own_pin_listed);
    let seen = a.wait("the count", |seen| {
        peer_of(seen).is_some_and(|peer| peer.counters.keys_refused >= 1)
            && seen.counters.handshakes_refused >= 1
    });
    assert_eq!(peer_of(&seen).unwrap().counters.up, 0);
    // What was wrong is put right.
    b.become_config(pair.plain(1));
    a.wait("the link", is_up);
    b.wait("the link", is_up);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "that nothing happens takes a while to see")]
fn keys_are_replaced_without_the_link_going_down() {
    for side in [0, 1] {
        let pair = Pair::new(if side == 0 { 3 } else { 4 });
        let mut nodes = [Running::start(pair.plain(0)), Running::start(pair.plain(1))];
        for node in &mut nodes {
            node.wait("the link", is_up);
        }
        let (path, new) = pair.other_key("new.key");
        let old = [pair.nodes[0].pin, pair.nodes[1].pin];
        let own_key = |at: usize| pair.nodes[at].key.clone();
        let mut both = [vec![old[0]], vec![old[1]]];
        both[side].push(new);
        for at in [0, 1] {
            nodes[at].become_config(pair.config(at, [&both[0], &both[1]], &own_key(at)));
        }
        nodes[side].become_config(pair.config(side, [&both[0], &both[1]], &path));
        for node in &mut nodes {
            node.wait("the new connection", |seen| {
                is_up(seen) && peer_of(seen).is_some_and(|peer| peer.counters.replaced >= 1)
            });
        }
        both[side].remove(0);
        for at in [0, 1] {
            let key = if at == side { path.clone() } else { own_key(at) };
            nodes[at].become_config(pair.config(at, [&both[0], &both[1]], &key));
        }
        std::thread::sleep(Duration::from_secs(2));
        for node in &mut nodes {
            let seen = node.wait("the link", is_up);
            assert_eq!(peer_of(&seen).unwrap().counters.down, 0, "{seen:?}");
        }
    }
}

#[test]
fn a_key_that_is_taken_off_the_list_ends_the_link() {
    let pair = Pair::new(5);
    let (mut a, mut b) = (Running::start(pair.plain(0)), Running::start(pair.plain(1)));
    a.wait("the link", is_up);
    b.wait("the link", is_up);
    let (_, other) = pair.other_key("other.key");
    a.become_config(pair.config(0, [&[pair.nodes[0].pin], &[other]], &pair.nodes[0].key));
    a.wait("the end", |seen| !is_up(seen) && seen.counters.keys_withdrawn >= 1);
    b.wait("the refusal", is_refused);
}

#[test]
fn a_peer_that_ends_is_noticed_at_once_and_found_again() {
    let pair = Pair::new(6);
    let mut a = Running::start(pair.plain(0));
    let mut b = Running::start(pair.plain(1));
    a.wait("the link", is_up);
    b.wait("the link", is_up);
    drop(b);
    let seen = a.wait("the end", |seen| !is_up(seen));
    assert!(peer_of(&seen).unwrap().reason.contains("it was stopped"), "{seen:?}");
    let mut b = Running::start(pair.plain(1));
    a.wait("the link", is_up);
    b.wait("the link", is_up);
}

#[test]
fn garbage_and_strangers_disturb_nothing() {
    let pair = Pair::new(7);
    let (mut a, mut b) = (Running::start(pair.plain(0)), Running::start(pair.plain(1)));
    a.wait("the link", is_up);
    b.wait("the link", is_up);
    let target = (pair.addresses[0].as_str(), pair.port);
    let stranger = UdpSocket::bind("127.88.7.99:0").unwrap();
    let peer = UdpSocket::bind((pair.addresses[1].as_str(), 0)).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    for size in [0, 1, 20, 300, 1200, 1452, 9000, 60_000].repeat(20) {
        let mut bytes = vec![0; size];
        random.fill(&mut bytes);
        stranger.send_to(&bytes, target).unwrap();
        // The first byte of a QUIC packet that begins a connection.
        if let Some([first, version @ ..]) = bytes.first_chunk_mut::<5>() {
            *first = 0xc0;
            *version = [0, 0, 0, 1];
        }
        peer.send_to(&bytes, target).unwrap();
    }
    // A whole connection from an address of no node.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = quinn::Endpoint::client("127.88.7.99:0".parse().unwrap()).unwrap();
        let key = key::load(&pair.nodes[1].key).unwrap();
        let client = tls::client(&key, BTreeSet::from([pair.nodes[0].pin])).unwrap();
        let to = format!("{}:{}", target.0, target.1).parse().unwrap();
        let dialed =
            tokio::time::timeout(Duration::from_secs(1), endpoint.connect_with(client, to, "x").unwrap());
        assert!(dialed.await.is_err());
    });
    let seen = a.wait("the count", |seen| seen.counters.strangers >= 1);
    assert_eq!(peer_of(&seen).unwrap().counters.down, 0);
    assert!(is_up(&seen));
}

/// A peer by hand: shakes hands with the key of `b`, and does as it is told.
async fn by_hand(pair: &Pair) -> Connection {
    let endpoint = quinn::Endpoint::client(format!("{}:0", pair.addresses[1]).parse().unwrap()).unwrap();
    let key = key::load(&pair.nodes[1].key).unwrap();
    let client = tls::client(&key, BTreeSet::from([pair.nodes[0].pin])).unwrap();
    let to = format!("{}:{}", pair.addresses[0], pair.port).parse().unwrap();
    tokio::time::timeout(PATIENCE, endpoint.connect_with(client, to, "x").unwrap()).await.unwrap().unwrap()
}

#[test]
fn a_peer_that_sends_too_much_or_never_ends_is_bounded_and_counted() {
    let pair = Pair::new(8);
    let mut a = Running::start(pair.plain(0));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let connection = runtime.block_on(async {
        let connection = by_hand(&pair).await;
        let config = PeerConfig { generation: 1, serial: 1, digest: fulcrum_config::SharedDigest(0) };
        let hello = crate::message::Hello {
            node: "b".into(),
            version: "9.9.9".into(),
            protocol: 7,
            instance: 1,
            config,
            linked: None,
        };
        say(connection.clone(), Message::Hello(hello)).await;
        let beats = connection.clone();
        tokio::spawn(async move {
            for number in 0..1_000 {
                if beats.send_datagram(Datagram::Beat(number, None).encode().into()).is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        // A message of a kind that nobody knows yet, one that makes no sense, one that is too long.
        for bytes in [vec![0, 99, 1, 2, 3], vec![0, 1, 1, 2, 3]] {
            let mut stream = connection.open_uni().await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            stream.finish().unwrap();
        }
        let mut long = connection.open_uni().await.unwrap();
        let _ = long.write_all(&vec![0; crate::message::MESSAGE_LIMIT + 1]).await;
        let _ = long.finish();
        connection.send_datagram(vec![77, 1].into()).unwrap();
        // Streams that stay open: no more than are allowed.
        let mut open = Vec::new();
        while let Ok(Ok(mut stream)) =
            tokio::time::timeout(Duration::from_millis(500), connection.open_uni()).await
        {
            stream.write_all(b"x").await.unwrap();
            open.push(stream);
            assert!(open.len() <= 8);
        }
        connection
    });
    let seen = a.wait("the counts", |seen| {
        peer_of(seen).is_some_and(|peer| {
            peer.state == PeerState::Up && peer.counters.unknown >= 2 && peer.counters.malformed >= 2
        })
    });
    assert_eq!(peer_of(&seen).unwrap().version.as_deref(), Some("9.9.9"));
    // A peer of whom nothing more is heard.
    drop(runtime);
    drop(connection);
    let seen = a.wait("the silence", |seen| peer_of(seen).is_some_and(|peer| peer.state == PeerState::Down));
    assert!(peer_of(&seen).unwrap().counters.down == 1, "{seen:?}");
}

#[test]
fn without_keys_there_is_no_link_and_no_socket() {
    let pair = Pair::new(9);
    let mut a = Running::start(pair.config(0, [&[], &[]], &pair.nodes[0].key));
    let seen = a.wait("a word", |seen| seen.peers.is_empty() && seen.own_pin.is_none());
    assert_eq!(seen.state, LinkState::NoKeys);
    drop(UdpSocket::bind((pair.addresses[0].as_str(), pair.port)).unwrap());
    // A list of one.
    a.become_config(pair.config(0, [&[pair.nodes[0].pin], &[]], &pair.nodes[0].key));
    a.wait("a word", |seen| seen.state == LinkState::NoPeerKey);
    a.become_config(pair.config(0, [&[], &[pair.nodes[1].pin]], &pair.nodes[0].key));
    a.wait("a word", |seen| seen.state == LinkState::NoOwnKey);
}

#[test]
fn a_key_that_cannot_be_read_and_a_port_that_is_taken_are_told() {
    let pair = Pair::new(10);
    let pins: [&[KeyPin]; 2] = [&[pair.nodes[0].pin], &[pair.nodes[1].pin]];
    let taken = UdpSocket::bind((pair.addresses[0].as_str(), pair.port)).unwrap();
    let mut a = Running::start(pair.config(0, pins, Path::new("/nowhere/peer.key")));
    let seen = a.wait("the key", |seen| !seen.errors.is_empty());
    assert!(seen.errors[0].contains("fulcrum peer-key /nowhere/peer.key"), "{seen:?}");
    a.become_config(pair.plain(0));
    let seen = a.wait("the port", |seen| seen.errors.iter().any(|error| error.contains("can't be opened")));
    assert!(seen.own_pin.is_some());
    drop(taken);
    // It is tried again by itself.
    a.wait("the socket", |seen| seen.errors.is_empty());
}

/// Some megabytes, at once and both ways.
#[test]
fn hundreds_of_services_in_the_midst_of_a_change_cross_the_link_and_it_stays_up() {
    use fulcrum_config::{AddressSlots, BackendAddress, OlderTable, ServiceName, ServiceTables};
    let pair = Pair::new(15);
    let (mut a, mut b) = (Running::start(pair.plain(0)), Running::start(pair.plain(1)));
    a.wait("the link", is_up);
    b.wait("the link", is_up);
    let address = BackendAddress { ip: "10.0.0.1".parse().unwrap(), port: Some(80) };
    let slots = AddressSlots { backends: vec![address], slots: vec![1; 16_381] };
    let until = clock() + Duration::from_secs(3600);
    let older = Some(OlderTable { until, slots: Arc::new(slots) });
    let tables = Arc::new(ServiceTables { current: 1, previous: 2, older });
    let serving = crate::Serving { verdict: Some(Arc::default()), tables: Some(tables) };
    let serving = Arc::new(serving);
    let name = |number: u32| ServiceName::new(&format!("service-{number}"));
    let services: Services = (0..100).map(|number| (name(number), Arc::clone(&serving))).collect();
    let services = Arc::new(services);
    for node in [&a, &b] {
        node.desired.send_modify(|desired| desired.serving = Arc::clone(&services));
    }
    for node in [&mut a, &mut b] {
        let seen = node.wait("all services", |seen| {
            peer_of(seen).is_some_and(|peer| peer.serving.len() == services.len())
        });
        let peer = peer_of(&seen).unwrap();
        assert_eq!(peer.counters.down, 0, "{:?}", peer.counters);
        let heard = peer.serving[&name(99)].tables.clone().unwrap();
        assert_eq!((heard.current, heard.previous), (1, 2));
        assert_eq!(heard.older.as_ref().map(|older| older.slots.slots.len()), Some(16_381));
    }
}

/// Who is to restore a node is told whether it lives, and is not taken for it.
#[test]
fn a_peer_says_whether_a_node_lives() {
    let pair = Pair::new(18);
    let key = std::fs::read_to_string(&pair.nodes[0].key).unwrap();
    let ask = || crate::alive::ask(&pair.plain(0), &key).unwrap().remove(0).1;
    assert!(matches!(ask(), crate::alive::Known::Unreached { .. }));
    let (a, mut b) = (Running::start(pair.plain(0)), Running::start(pair.plain(1)));
    b.wait("the link", is_up);
    assert_eq!(ask(), crate::alive::Known::Alive);
    let replaced = |observed: &Observed| peer_of(observed).map(|peer| peer.counters.replaced);
    assert!(is_up(&b.observed.borrow()) && replaced(&b.observed.borrow()) == Some(0));
    drop(a);
    assert_eq!(ask(), crate::alive::Known::Gone { serial: 1 });
    // Somebody else's key is nobody's.
    let (other, _) = pair.other_key("other.key");
    let key = std::fs::read_to_string(other).unwrap();
    let known = crate::alive::ask(&pair.plain(0), &key).unwrap().remove(0).1;
    assert!(matches!(known, crate::alive::Known::Unreached { .. }), "{known:?}");
}
