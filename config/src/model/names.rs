//! Names of configured things: each its own type, so that one can't stand for another.

use crate::scalar::Name;
use crate::table::Scalar;
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
    /// What services that do not stand in the file come from, such as a Kubernetes cluster.
    SourceName,
}

impl ServiceName {
    /// The longest name.
    pub const LENGTH: usize = 256;

    /// The source that it comes from; none of a service of the file. The name begins with it, and those of the file have
    /// no `/`.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        self.0.split_once('/').map(|(source, _)| source)
    }

    /// Whether it is one that a service of `source` can have: `source/namespace/name` or `source/namespace/name:port`.
    #[must_use]
    pub fn is_of(text: &str, source: &SourceName) -> bool {
        let rest = text.strip_prefix(&*source.0).and_then(|rest| rest.strip_prefix('/'));
        let Some((namespace, name)) = rest.and_then(|rest| rest.split_once('/')) else { return false };
        let (name, port) = name.split_once(':').map_or((name, None), |(name, port)| (name, Some(port)));
        let is_name = |text: &str| Name::parse(text).is_ok();
        text.len() <= Self::LENGTH && is_name(namespace) && is_name(name) && port.is_none_or(is_name)
    }

    /// Whether it is one that a service of the file or of a source can have.
    pub(crate) fn is_good(&self) -> bool {
        match self.source() {
            None => Name::parse(&self.0).is_ok(),
            Some(source) => Name::parse(source).is_ok() && Self::is_of(&self.0, &SourceName::new(source)),
        }
    }
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
