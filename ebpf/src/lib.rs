//! The kernel half: programs in C (`c/`), the layouts of their maps, and the loader.
//!
//! So far the [`Fence`]: it silences this node for the VIPs of each group that it does not lead, or whose daemon
//! has not said for a while that it does, whatever state that process is in.

mod attach;
mod error;
mod fence;
pub mod layout;
mod loader;
mod pins;
mod sys;

pub use attach::{Attachment, Mode};
pub use error::FenceError;
pub use fence::{Direction, Fence, Verdict};
pub use pins::Pins;
