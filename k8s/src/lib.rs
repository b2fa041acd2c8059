//! Kubernetes in and out: Services of `type: LoadBalancer` become services of Fulcrum, and are told what came of it.
//!
//! [`translate()`] is pure: the objects of one cluster become a *fragment*, text with `services:` as in `fulcrum.yaml`, and
//! [`report`] says what each Service is to be told. The API may be away for any time: the last fragment stays in force.

mod domains;
pub mod driver;
mod lease;
mod machines;
mod metallb;
mod objects;
mod own_node;
mod preflight;
mod reflection;
pub mod report;
mod rivals;
mod slice;
mod state;
pub mod translate;
mod words;
mod writes;

pub use machines::{Fleet, HOOK, Leaving};
pub use metallb::Metallb;
pub use objects::{ObjectName, Objects};
pub use own_node::{DRAIN, OwnNode, own_node};
pub use preflight::preflight;
pub use slice::Slice;
pub use state::State;
pub use translate::{Translation, translate};
