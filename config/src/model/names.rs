//! Names of configured things: each its own type, so that one can't stand for another.

use serde::{Deserialize, Serialize};
use std::fmt;
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
    /// A VIP group.
    GroupName,
    /// A service.
    ServiceName,
    /// A backend, unique within its service.
    BackendName,
}
