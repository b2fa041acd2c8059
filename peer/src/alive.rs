//! What `fulcrum restore` asks this room: does a node of this name live, as far as its peers know?
//!
//! A connection is made with its key, and ended once the peer has said whether it has a link with that node already. This
//! side says nothing, so the peer never takes it for the link.

use crate::key::{self, Key};
use crate::preflight::{greeted, pairs};
use fulcrum_config::{Config, NodeName};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a peer is tried: a node that has just ended counts as alive until it has been silent for long enough.
const TRY: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);

/// What one peer knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It has a link with a node of this name and key.
    Alive,
    /// It has none, and runs a configuration of this serial number.
    Gone {
        /// The serial number.
        serial: u64,
    },
    /// Its version does not say.
    Silent {
        /// Its version.
        version: String,
    },
    /// It can't be asked.
    Unreached {
        /// Why.
        why: String,
    },
}

/// Asks each peer of `config`'s node, whose private key is `key`.
///
/// # Errors
/// Nobody can be asked: why, for people.
pub fn ask(config: &Arc<Config>, key: &str) -> Result<Vec<(NodeName, Known)>, String> {
    let key = key::of_text(key)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let known = runtime.block_on(async {
        let others = config.peer.pins.keys().filter(|name| **name != config.node);
        let asked: Vec<_> = others
            .map(|name| {
                let (config, key) = (Arc::clone(config), key.clone());
                (name.clone(), tokio::spawn(one(name.clone(), config, key)))
            })
            .collect();
        let mut known = Vec::new();
        for (name, asked) in asked {
            let what = asked.await.unwrap_or_else(|error| Known::Unreached { why: error.to_string() });
            known.push((name, what));
        }
        known
    });
    runtime.shutdown_background();
    Ok(known)
}

async fn one(name: NodeName, config: Arc<Config>, key: Key) -> Known {
    let mut last = Known::Unreached { why: "no address of one family is known of both nodes".to_owned() };
    let tried = timeout(TRY, async {
        loop {
            for (from, to) in pairs(&config, &name) {
                match greeted(&name, &config, &key, from, to).await {
                    Ok(hello) => match hello.linked {
                        Some(true) => last = Known::Alive,
                        Some(false) => return Known::Gone { serial: hello.config.serial },
                        None => return Known::Silent { version: hello.version.to_string() },
                    },
                    // What it said before is more than that it can't be reached now.
                    Err(_) if last == Known::Alive => {}
                    Err(why) => last = Known::Unreached { why },
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
    tried.unwrap_or(last)
}
