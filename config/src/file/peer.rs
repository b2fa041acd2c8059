//! `peer`.

use crate::scalar::{AbsolutePath, Number, Time};
use crate::table::section;

section! {
    /// The link between the nodes, over UDP, authenticated and encrypted. It stands between nodes that have `keys`.
    PeerSection {
        /// Its UDP port, at each of a node's addresses: open it between the nodes. Default: 4747.
        port: optional Number<1, 65_535>,
        /// Time between heartbeats. Default: 50ms.
        heartbeat: optional Time<5, 10_000>,
        /// The file with this node's private key. It may differ on each node. Default: /etc/fulcrum/peer.key.
        key: optional AbsolutePath,
    }
}
