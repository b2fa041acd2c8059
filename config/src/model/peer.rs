//! The link between the nodes.

use super::NodeName;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// The authenticated, encrypted link between the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerLink {
    /// The UDP port that it is on, at each of a node's own addresses.
    pub port: u16,
    /// Time between heartbeats.
    pub heartbeat: Duration,
    /// The file with this node's private key.
    pub key: PathBuf,
    /// The keys of each node that has any; several while a key is being replaced.
    pub pins: BTreeMap<NodeName, Vec<KeyPin>>,
}

impl PeerLink {
    /// Where the private key is unless said otherwise.
    pub const KEY: &str = "/etc/fulcrum/peer.key";
}

impl Default for PeerLink {
    fn default() -> Self {
        Self {
            port: 4747,
            heartbeat: Duration::from_millis(50),
            key: PathBuf::from(Self::KEY),
            pins: BTreeMap::new(),
        }
    }
}

/// What stands for a public key: the SHA-256 of its SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7) in DER.
///
/// Written `sha256:` and the digest in base64 (RFC 4648 section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPin([u8; 32]);

impl KeyPin {
    /// Of a digest.
    #[must_use]
    pub fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl FromStr for KeyPin {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digest = text.strip_prefix("sha256:").and_then(|digest| STANDARD.decode(digest).ok());
        digest.and_then(|digest| digest.try_into().ok()).map(Self).ok_or(())
    }
}

impl fmt::Display for KeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", STANDARD.encode(self.0))
    }
}

/// A digest of all that is the same on every node: everything but `node`, `admin` and `peer.key`.
///
/// It is of the values that were written, whatever their order, their quotes and the comments around them. It tells
/// files of friends apart and is no protection against anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SharedDigest(pub u128);

impl fmt::Display for SharedDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
