//! What is said on the link: messages, each on a stream of its own, and heartbeats in datagrams.
//!
//! A message is its kind (two bytes, big endian) and an object in JSON; a datagram is its kind (one byte) and a sequence
//! number (eight bytes, big endian). Kinds that are not known, fields that are not known and bytes after the last known
//! one are passed over, so that a newer node can talk to an older one.

use crate::border::PeerConfig;
use fulcrum_config::SharedDigest;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// The version of the protocol: what an older one could misunderstand makes it grow.
pub(crate) const PROTOCOL: u16 = 1;
/// The longest message.
pub(crate) const MESSAGE_LIMIT: usize = 64 << 10;
/// The longest name and version.
const TEXT_LIMIT: usize = 64;

const HELLO: u16 = 1;
const CONFIG: u16 = 2;
const REDIAL: u16 = 3;
const BEAT: u8 = 1;
const ECHO: u8 = 2;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// The first on each connection, both ways.
    Hello(Hello),
    /// The sender runs another configuration.
    Config(PeerConfig),
    /// Connect anew: the sender has another key.
    Redial,
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
}

/// What a datagram says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Datagram {
    /// A heartbeat, to be echoed.
    Beat(u64),
    /// The heartbeat of this number was received.
    Echo(u64),
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
}

#[derive(Serialize, Deserialize)]
struct ConfigBody {
    generation: u64,
    /// In hexadecimal.
    digest: String,
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
                };
                (HELLO, serde_json::to_vec(&body))
            }
            Self::Config(config) => (CONFIG, serde_json::to_vec(&config_body(*config))),
            Self::Redial => (REDIAL, Ok(b"{}".to_vec())),
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
                }))
            }
            CONFIG => {
                let body: ConfigBody = serde_json::from_slice(body).map_err(|_| Misfit::Malformed)?;
                config(&body).map(Self::Config)
            }
            REDIAL => Ok(Self::Redial),
            _ => Err(Misfit::Unknown),
        }
    }
}

fn config_body(config: PeerConfig) -> ConfigBody {
    ConfigBody { generation: config.generation, digest: config.digest.to_string() }
}

fn config(body: &ConfigBody) -> Result<PeerConfig, Misfit> {
    let is_hex = body.digest.len() == 32 && body.digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    let digest = u128::from_str_radix(&body.digest, 16).ok().filter(|_| is_hex).ok_or(Misfit::Malformed)?;
    Ok(PeerConfig { generation: body.generation, digest: SharedDigest(digest) })
}

/// It is shown to people.
fn text(text: &str) -> Result<Arc<str>, Misfit> {
    let good = (1..=TEXT_LIMIT).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if good { Ok(text.into()) } else { Err(Misfit::Malformed) }
}

impl Datagram {
    /// As it is sent.
    pub(crate) fn encode(self) -> [u8; 9] {
        let (kind, number) = match self {
            Self::Beat(number) => (BEAT, number),
            Self::Echo(number) => (ECHO, number),
        };
        let mut bytes = [kind; 9];
        for (byte, of) in bytes.iter_mut().skip(1).zip(number.to_be_bytes()) {
            *byte = of;
        }
        bytes
    }

    /// What `bytes` say.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Misfit> {
        let (kind, rest) = bytes.split_first().ok_or(Misfit::Malformed)?;
        if ![BEAT, ECHO].contains(kind) {
            return Err(Misfit::Unknown);
        }
        let (number, _) = rest.split_first_chunk().ok_or(Misfit::Malformed)?;
        let number = u64::from_be_bytes(*number);
        Ok(if *kind == BEAT { Self::Beat(number) } else { Self::Echo(number) })
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
