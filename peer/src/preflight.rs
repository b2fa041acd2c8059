//! What `fulcrum preflight` asks this room: are the peers reached with this node's key, and do they run the same?
//!
//! A connection is made as the daemon makes it, and ended once the peer has said who it is. This side says nothing, so the
//! peer never takes it for the link.

use crate::driver::connection::{Event, dial};
use crate::driver::pin_of_peer;
use crate::key::{self, Key};
use crate::link::Failure;
use crate::message::{Hello, MESSAGE_LIMIT, Message, PROTOCOL};
use crate::tls;
use fulcrum_config::preflight::Line;
use fulcrum_config::{Config, NodeKind, NodeName};
use quinn::{Connection, Endpoint, VarInt};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

const CHECK: &str = "peer";
/// How long one peer is tried.
const TRY: Duration = Duration::from_millis(3500);
const PAUSE: Duration = Duration::from_millis(100);
const HELLO: Duration = Duration::from_secs(1);

/// Connects to each peer that has keys. `version` is this node's.
#[must_use]
pub fn peers(config: &Arc<Config>, version: &str) -> Vec<Line> {
    if let Some(line) = no_link(config) {
        return vec![line];
    }
    let key = match own_key(config) {
        Ok(key) => key,
        Err(line) => return vec![line],
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let found = format!("nothing can be asked: {error}");
            return vec![Line::failed(CHECK, "link", found, "are there files left (LimitNOFILE=)?")];
        }
    };
    let lines = runtime.block_on(async {
        let others = config.peer.pins.keys().filter(|name| **name != config.node);
        let asked: Vec<_> = others
            .map(|name| tokio::spawn(one(name.clone(), Arc::clone(config), key.clone(), version.to_owned())))
            .collect();
        let mut lines = Vec::new();
        for asked in asked {
            lines.extend(asked.await);
        }
        lines
    });
    runtime.shutdown_background();
    lines
}

/// That there is no link, where no node has keys.
#[must_use]
pub fn no_link(config: &Config) -> Option<Line> {
    let why = "no node has `keys`: there is no link between the nodes, and they go by adverts alone";
    config.peer.pins.is_empty().then(|| Line::not_applicable(CHECK, "link", why))
}

/// This node's private key, if the file lists it.
fn own_key(config: &Config) -> Result<Key, Line> {
    let path = config.peer.key.display();
    let key = key::load(&config.peer.key).map_err(|error| {
        Line::failed(
            CHECK,
            &path,
            error.to_string(),
            format!("make one by 'fulcrum peer-key {path}', and list it in `keys` of this node"),
        )
    })?;
    let listed = config.peer.pins.get(&config.node).is_some_and(|pins| pins.contains(&key.pin));
    if listed {
        return Ok(key);
    }
    let found =
        format!("its pin {} is not among the `keys` of node {}: peers refuse it", key.pin, config.node);
    Err(Line::failed(CHECK, &path, found, "list it in the files of all nodes, or bring the right key here"))
}

async fn one(name: NodeName, config: Arc<Config>, key: Key, version: String) -> Line {
    let mut last = "no address of one family is known of both nodes".to_owned();
    let tried = timeout(TRY, async {
        loop {
            for (from, to) in pairs(&config, &name) {
                match greeted(&name, &config, &key, from, to).await {
                    Ok(hello) => return hello,
                    Err(why) => last = why,
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
    match tried {
        Ok(hello) => judge(&name, &config, &version, &hello),
        Err(_) => Line::failed(
            CHECK,
            &name,
            format!("it can't be reached by the peer link: {last}"),
            "start it, or remove what is named; if it is not set up yet, say 'fulcrum preflight' again once it is",
        ),
    }
}

/// What the peer says of itself against what is here.
fn judge(name: &NodeName, config: &Config, version: &str, hello: &Hello) -> Line {
    let peer = &hello.version;
    if *hello.node != *name.as_str() {
        let found = format!("whoever has its key says that it is {}", hello.node);
        return Line::failed(CHECK, name, found, "compare `node` and `keys` in the files of both nodes");
    }
    if hello.protocol != PROTOCOL {
        let found = format!(
            "it speaks protocol {} (fulcrum {peer}), this one {PROTOCOL} ({version})",
            hello.protocol
        );
        return Line::failed(CHECK, name, found, "install the same version on both, one after the other");
    }
    if hello.config.digest != config.shared {
        let found = format!(
            "it runs another configuration (its serial is {}) than the file here",
            hello.config.serial
        );
        let remedy = "compare the files; what a running node has that was reloaded later, a node that starts takes over";
        return Line::warning(CHECK, name, found, remedy);
    }
    if **peer != *version {
        let found = format!("it runs fulcrum {peer}, this is {version}; the configuration is the same");
        return Line::warning(CHECK, name, found, "bring both to one version once the change is done");
    }
    Line::ok(
        CHECK,
        name,
        format!("it is reached, runs fulcrum {peer} (and so the same seed) and the same configuration"),
    )
}

/// From where to where to connect.
pub(crate) fn pairs(config: &Config, peer: &NodeName) -> Vec<(IpAddr, SocketAddr)> {
    let of = |name| {
        config.nodes.get(name).filter(|node| node.kind == NodeKind::Fulcrum).map(|it| it.addresses.clone())
    };
    let (own, to) = (of(&config.node).unwrap_or_default(), of(peer).unwrap_or_default());
    let pairs = own.iter().flat_map(|own| to.iter().map(move |to| (*own, *to)));
    pairs
        .filter(|(own, to)| own.is_ipv4() == to.is_ipv4())
        .map(|(own, to)| (own, SocketAddr::new(to, config.peer.port)))
        .collect()
}

/// The peer's first word.
pub(crate) async fn greeted(
    name: &NodeName,
    config: &Config,
    key: &Key,
    from: IpAddr,
    to: SocketAddr,
) -> Result<Hello, String> {
    let pins = config.peer.pins.get(name).into_iter().flatten().copied().collect();
    let client = tls::client(key, pins)?;
    let endpoint = Endpoint::client(SocketAddr::new(from, 0))
        .map_err(|error| format!("this node's address {from} can't be used: {error}"))?;
    let connection = match dial(name.clone(), endpoint.clone(), client, to).await {
        Event::Connected { connection, .. } => connection,
        Event::DialFailed { failure, .. } => {
            let (Failure::Lost(why) | Failure::Refused(why)) = failure;
            return Err(why);
        }
        Event::Stranger
        | Event::TooMany
        | Event::HandshakeFailed
        | Event::Message { .. }
        | Event::Unreadable { .. }
        | Event::Datagram { .. }
        | Event::Closed { .. } => return Err("it was not to be reached".to_owned()),
    };
    let hello = match pin_of_peer(&connection) {
        Some(_) => timeout(HELLO, first_word(&connection))
            .await
            .unwrap_or_else(|_| Err("it says nothing".to_owned())),
        None => Err("it shows no key".to_owned()),
    };
    connection.close(VarInt::from_u32(0), b"preflight");
    // So that it is told.
    let _ = timeout(PAUSE, endpoint.wait_idle()).await;
    hello
}

async fn first_word(connection: &Connection) -> Result<Hello, String> {
    loop {
        let mut stream = connection.accept_uni().await.map_err(|error| error.to_string())?;
        let bytes = stream.read_to_end(MESSAGE_LIMIT).await.map_err(|error| error.to_string())?;
        if let Ok(Message::Hello(hello)) = Message::decode(&bytes) {
            return Ok(hello);
        }
    }
}
