//! Names of configured things: each its own type, so that one can't stand for another.

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;
use std::fmt;
use std::hash::Hasher;
use std::sync::Arc;

macro_rules! name {
    ($(#[$doc:meta] $name:ident),+ $(,)?) => {$(
        #[$doc]
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a name that the parser has checked, or one made by a test.
            #[must_use]
            pub fn new(name: &str) -> Self {
                Self(name.into())
            }

            /// The name as written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

name! {
    /// A load balancer node, one machine running `fulcrum run` (or a foreign VRRP router).
    NodeName,
    /// A network interface as the kernel names it (at most 15 bytes).
    InterfaceName,
    /// What several nodes share that may fail at once: a hypervisor, a rack.
    DomainName,
    /// A VIP group.
    GroupName,
    /// A service.
    ServiceName,
    /// A backend, unique within its service.
    BackendName,
    /// A pool of addresses.
    PoolName,
    /// A program that is run when something has happened.
    HookName,
    /// A Kubernetes cluster.
    ClusterName,
    /// Whom services belong to.
    TenantName,
}

impl GroupName {
    /// What stands for it between nodes. Equal on all of them and in all versions.
    #[must_use]
    pub fn number(&self) -> u64 {
        number(&[&self.0])
    }

    /// How well `node` suits it where nothing else decides: by rendezvous hashing, so that each group has an order of
    /// its own of all nodes, which stays as it is when others come and go.
    #[must_use]
    pub fn affinity(&self, node: &NodeName) -> u64 {
        number(&[&self.0, &node.0])
    }
}

impl NodeName {
    /// What stands for it between nodes. Equal on all of them and in all versions.
    #[must_use]
    pub fn number(&self) -> u64 {
        number(&[&self.0])
    }
}

fn number(texts: &[&str]) -> u64 {
    let mut hasher = SipHasher24::new();
    for text in texts {
        hasher.write(text.as_bytes());
        hasher.write_u8(0xff);
    }
    hasher.finish()
}
