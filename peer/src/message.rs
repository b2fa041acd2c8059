//! What is said on the link: messages, each on a stream of its own, and heartbeats in datagrams.
//!
//! A message is its kind (two bytes, big endian) and an object in JSON; a datagram is its kind (one byte), the sequence
//! number of a heartbeat (eight bytes, big endian), and the number of the sender's last change of what it leads (likewise). Kinds that are not known, fields that are not known and bytes after the last known
//! one are passed over, so that a newer node can talk to an older one.

use crate::border::{Answer, Offer, PeerConfig, Prepared, Preparing, Text, Word};
use fulcrum_config::{Allocations, BackendName, Fragments, GroupName, Overrides, ServiceName, SharedDigest};
use serde::{Deserialize, Serialize};
use serving::Portion;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

pub(crate) mod serving;
#[cfg(test)]
mod tests;

/// The version of the protocol: what an older one could misunderstand makes it grow.
pub(crate) const PROTOCOL: u16 = 1;
/// The longest message: a configuration with as much from outside the file as there can be, which grows when it is written
/// in JSON.
pub(crate) const MESSAGE_LIMIT: usize = 40 << 20;
/// As much of it as may be on its way.
pub(crate) const WINDOW: u32 = 4 << 20;
/// The longest configuration that nodes send each other: it may grow when it is written in JSON.
pub const TEXT_LIMIT: usize = 1 << 20;
/// The longest allocations that nodes send each other, in JSON.
pub const ALLOCATIONS_LIMIT: usize = 4 << 20;
/// Errors in an answer, and the length of each.
const ERRORS: (usize, usize) = (50, 2000);
/// The longest message of flows.
const FLOWS_LIMIT: usize = 64 << 10;
/// The longest name and version.
const NAME_LIMIT: usize = 64;

const HELLO: u16 = 1;
const CONFIG: u16 = 2;
const REDIAL: u16 = 3;
const WORD: u16 = 4;
const OFFER: u16 = 5;
const ANSWER: u16 = 6;
const TEXT: u16 = 7;
const SERVING: u16 = 8;
/// Its body is no JSON: it is only passed on.
const FLOWS: u16 = 16;
const BEAT: u8 = 1;
const ECHO: u8 = 2;
/// A datagram of what a node says of the groups that it leads, which is not for this room.
pub(crate) const ELECTION: u8 = 3;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// The first on each connection, both ways.
    Hello(Hello),
    /// The sender runs another configuration.
    Config(PeerConfig),
    /// Connect anew: the sender has another key.
    Redial,
    /// What the sender says of its adverts.
    Word(Said),
    /// The sender would apply this, or offers nothing any more.
    Offer(Option<Arc<Offer>>),
    /// Whether the sender would apply what was offered.
    Answer(Arc<Answer>),
    /// The sender runs this, and the other something older.
    Text(Arc<Text>),
    /// What the sender says of forwarded services.
    Serving(Portion),
    /// What the sender's data plane tells the other's: numbered from 0 on each connection.
    Flows { number: u64, bytes: Arc<[u8]> },
}

/// A word, and when it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    /// Which life of the sender's said it.
    pub(crate) instance: u64,
    /// Grows with each word.
    pub(crate) sequence: u64,
    /// Grows with each change of what it leads.
    pub(crate) change: u64,
    pub(crate) word: Arc<Word>,
}

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) node: Arc<str>,
    pub(crate) version: Arc<str>,
    pub(crate) protocol: u16,
    /// Chosen at random at each start of the daemon.
    pub(crate) instance: u64,
    pub(crate) config: PeerConfig,
    /// Whether the sender has a link with a node of the other's name already; older versions don't say.
    pub(crate) linked: Option<bool>,
}

/// What a datagram says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Datagram {
    /// A heartbeat, to be echoed, and the sender's last change of what it leads, if its version says so.
    Beat(u64, Option<u64>),
    /// The heartbeat of this number was received, and the same.
    Echo(u64, Option<u64>),
}

/// Why something is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// Of a newer version, presumably.
    Unknown,
    /// It makes no sense.
    Malformed,
}

#[derive(Serialize, Deserialize)]
struct HelloBody {
    node: String,
    version: String,
    protocol: u16,
    instance: u64,
    config: ConfigBody,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    linked: Option<bool>,
}

#[derive(Serialize, Deserialize)]
struct ConfigBody {
    generation: u64,
    #[serde(default)]
    serial: u64,
    /// In hexadecimal.
    digest: String,
}

#[derive(Serialize, Deserialize)]
struct OfferBody {
    number: u64,
    /// For versions that know no names: whether there are any.
    unprotected: bool,
    #[serde(default)]
    forced: BTreeSet<GroupName>,
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allocations: Option<Arc<Allocations>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    overrides: Option<Arc<Overrides>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fragments: Option<Arc<Fragments>>,
}

#[derive(Serialize, Deserialize)]
struct AnswerBody {
    number: u64,
    serial: u64,
    errors: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct TextBody {
    serial: u64,
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allocations: Option<Arc<Allocations>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    overrides: Option<Arc<Overrides>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fragments: Option<Arc<Fragments>>,
}

#[derive(Serialize, Deserialize)]
struct WordBody {
    instance: u64,
    sequence: u64,
    change: u64,
    leads: BTreeMap<GroupName, BTreeSet<IpAddr>>,
    asks: BTreeMap<GroupName, u64>,
    answers: BTreeMap<GroupName, u64>,
    #[serde(default)]
    holds: BTreeSet<GroupName>,
    #[serde(default)]
    sources: BTreeSet<IpAddr>,
    #[serde(default)]
    accuses: BTreeSet<GroupName>,
    #[serde(default)]
    ready: BTreeSet<GroupName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unready: Option<BTreeMap<String, BTreeSet<GroupName>>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    fails: BTreeMap<ServiceName, BTreeSet<BackendName>>,
    #[serde(default)]
    moves: BTreeMap<GroupName, u64>,
    #[serde(default)]
    knows: BTreeSet<u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    prepares: BTreeMap<GroupName, Preparing>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prepared: Option<BTreeMap<u64, Prepared>>,
}

impl Message {
    /// As it is sent.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind, body) = match self {
            Self::Hello(hello) => {
                let body = HelloBody {
                    node: hello.node.to_string(),
                    version: hello.version.to_string(),
                    protocol: hello.protocol,
                    instance: hello.instance,
                    config: config_body(hello.config),
                    linked: hello.linked,
                };
                (HELLO, serde_json::to_vec(&body))
            }
            Self::Config(config) => (CONFIG, serde_json::to_vec(&config_body(*config))),
            Self::Redial => (REDIAL, Ok(b"{}".to_vec())),
            Self::Word(said) => {
                let Word { leads, asks, answers, holds, sources, accuses, .. } = (*said.word).clone();
                let Word { ready, unready, fails, moves, knows, prepares, prepared, .. } =
                    (*said.word).clone();
                let Said { instance, sequence, change, .. } = *said;
                (
                    WORD,
                    serde_json::to_vec(&WordBody {
                        instance,
                        sequence,
                        change,
                        leads,
                        asks,
                        answers,
                        holds,
                        sources,
                        accuses,
                        ready,
                        unready,
                        fails,
                        moves,
                        knows,
                        prepares,
                        prepared,
                    }),
                )
            }
            Self::Offer(offer) => {
                let body = offer.as_deref().map(|offer| OfferBody {
                    number: offer.number,
                    unprotected: !offer.forced.is_empty(),
                    forced: offer.forced.clone(),
                    text: offer.text.to_string(),
                    allocations: offer.allocations.clone(),
                    overrides: offer.overrides.clone(),
                    fragments: offer.fragments.clone(),
                });
                (OFFER, serde_json::to_vec(&body))
            }
            Self::Answer(answer) => {
                let Answer { number, serial, errors } = (**answer).clone();
                let errors = errors.iter().take(ERRORS.0).map(|error| cut(error)).collect();
                (ANSWER, serde_json::to_vec(&AnswerBody { number, serial, errors }))
            }
            Self::Text(text) => {
                let Text { serial, text, allocations, overrides, fragments } = (**text).clone();
                (
                    TEXT,
                    serde_json::to_vec(&TextBody {
                        serial,
                        text: text.to_string(),
                        allocations,
                        overrides,
                        fragments,
                    }),
                )
            }
            Self::Serving(portion) => (SERVING, portion.encode()),
            Self::Flows { number, bytes } => (FLOWS, Ok([&number.to_be_bytes()[..], bytes].concat())),
        };
        let mut bytes = kind.to_be_bytes().to_vec();
        // Plain structs of numbers and text can always be written.
        bytes.extend(body.unwrap_or_default());
        bytes
    }

    /// What `bytes` say.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Misfit> {
        let (kind, body) = bytes.split_first_chunk().ok_or(Misfit::Malformed)?;
        match u16::from_be_bytes(*kind) {
            HELLO => {
                let body: HelloBody = serde_json::from_slice(body).map_err(|_| Misfit::Malformed)?;
                Ok(Self::Hello(Hello {
                    node: text(&body.node)?,
                    version: text(&body.version)?,
                    protocol: body.protocol,
                    instance: body.instance,
                    config: config(&body.config)?,
                    linked: body.linked,
                }))
            }
            CONFIG => {
                let body: ConfigBody = serde_json::from_slice(body).map_err(|_| Misfit::Malformed)?;
                config(&body).map(Self::Config)
            }
            REDIAL => Ok(Self::Redial),
            WORD => {
                let body: WordBody = serde_json::from_slice(body).map_err(|_| Misfit::Malformed)?;
                let WordBody { instance, sequence, change, leads, asks, answers, holds, sources, .. } = body;
                let WordBody { accuses, ready, unready, fails, moves, knows, prepares, prepared, .. } = body;
                let (unready, prepared) = (unready.map(plain), prepared.map(plainly));
                let word = Word {
                    leads,
                    asks,
                    answers,
                    holds,
                    sources,
                    accuses,
                    ready,
                    unready,
                    fails,
                    moves,
                    knows,
                    prepares,
                    prepared,
                };
                let word = Arc::new(word);
                Ok(Self::Word(Said { instance, sequence, change, word }))
            }
            OFFER => {
                let body: Option<OfferBody> = serde_json::from_slice(body).map_err(|_| Misfit::Malformed)?;
                let offer =
                    |OfferBody { number, forced, text, allocations, overrides, fragments, .. }| {
                        let offer = |text| Offer { number, forced, text, allocations, overrides, fragments };
                        file(text).map(|text| Arc::new(offer(text)))
                    };
                Ok(Self::Offer(body.map(offer).transpose()?))
            }
            ANSWER => {
                let body: AnswerBody = serde_json::from_slice(body).map_err(|_| Misfit::Malformed)?;
                let errors = body.errors.iter().take(ERRORS.0).map(|error| cut(error)).collect();
                Ok(Self::Answer(Arc::new(Answer { number: body.number, serial: body.serial, errors })))
            }
            TEXT => {
                let TextBody { serial, text, allocations, overrides, fragments } =
                    serde_json::from_slice(body).map_err(|_| Misfit::Malformed)?;
                Ok(Self::Text(Arc::new(Text {
                    serial,
                    text: file(text)?,
                    allocations,
                    overrides,
                    fragments,
                })))
            }
            SERVING => Portion::decode(body).map(Self::Serving),
            FLOWS if body.len() > FLOWS_LIMIT => Err(Misfit::Malformed),
            FLOWS => {
                let (number, bytes) = body.split_first_chunk().ok_or(Misfit::Malformed)?;
                Ok(Self::Flows { number: u64::from_be_bytes(*number), bytes: bytes.into() })
            }
            _ => Err(Misfit::Unknown),
        }
    }
}

fn file(text: String) -> Result<Arc<str>, Misfit> {
    if text.len() <= TEXT_LIMIT { Ok(text.into()) } else { Err(Misfit::Malformed) }
}

/// For a terminal: nothing that controls one.
fn cut(error: &str) -> String {
    let is_plain = |it: &char| !it.is_control() || *it == '\n';
    error.chars().filter(is_plain).take(ERRORS.1).collect()
}

/// The same of reasons.
fn plain(reasons: BTreeMap<String, BTreeSet<GroupName>>) -> BTreeMap<String, BTreeSet<GroupName>> {
    reasons.into_iter().map(|(why, groups)| (cut(&why), groups)).collect()
}

/// The same of what came of hooks.
fn plainly(prepared: BTreeMap<u64, Prepared>) -> BTreeMap<u64, Prepared> {
    let plain = |it: Prepared| Prepared { refused: it.refused.map(|why| cut(&why)), ..it };
    prepared.into_iter().map(|(number, it)| (number, plain(it))).collect()
}

fn config_body(config: PeerConfig) -> ConfigBody {
    ConfigBody { generation: config.generation, serial: config.serial, digest: config.digest.to_string() }
}

fn config(body: &ConfigBody) -> Result<PeerConfig, Misfit> {
    let is_hex = body.digest.len() == 32 && body.digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    let digest = u128::from_str_radix(&body.digest, 16).ok().filter(|_| is_hex).ok_or(Misfit::Malformed)?;
    Ok(PeerConfig { generation: body.generation, serial: body.serial, digest: SharedDigest(digest) })
}

/// It is shown to people.
fn text(text: &str) -> Result<Arc<str>, Misfit> {
    let good = (1..=NAME_LIMIT).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if good { Ok(text.into()) } else { Err(Misfit::Malformed) }
}

impl Datagram {
    /// As it is sent.
    pub(crate) fn encode(self) -> Vec<u8> {
        let (kind, number, change) = match self {
            Self::Beat(number, change) => (BEAT, number, change),
            Self::Echo(number, change) => (ECHO, number, change),
        };
        let mut bytes = vec![kind];
        bytes.extend(number.to_be_bytes());
        bytes.extend(change.into_iter().flat_map(u64::to_be_bytes));
        bytes
    }

    /// What `bytes` say.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Misfit> {
        let (kind, rest) = bytes.split_first().ok_or(Misfit::Malformed)?;
        if ![BEAT, ECHO].contains(kind) {
            return Err(Misfit::Unknown);
        }
        let (number, rest) = rest.split_first_chunk().ok_or(Misfit::Malformed)?;
        let number = u64::from_be_bytes(*number);
        let change = rest.first_chunk().map(|change| u64::from_be_bytes(*change));
        Ok(if *kind == BEAT { Self::Beat(number, change) } else { Self::Echo(number, change) })
    }
}

/// Reads `bytes` as both; what is understood reads the same once it is written again.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_and_write(bytes: &[u8]) {
    if let Ok(message) = Message::decode(bytes) {
        assert_eq!(Message::decode(&message.encode()), Ok(message));
    }
    if let Ok(datagram) = Datagram::decode(bytes) {
        assert_eq!(Datagram::decode(&datagram.encode()), Ok(datagram));
    }
}
