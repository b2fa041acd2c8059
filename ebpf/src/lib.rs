//! The kernel half: programs in C (`c/`), the layouts of their maps, and the loader.
//!
//! The [`Fence`] silences this node for the VIPs of each group that it does not lead, or whose daemon has not said for
//! a while that it does, whatever state that process is in. The [`Plane`] forwards packets of services from one
//! interface to another, and asks the fence's tables whether it may. The [`SecondChance`] passes
//! packets of connections that this node does not know to the one that led before and finishes them. The [`Checks`] send
//! checks of backends to the VIP that these answer for. The [`Cut`] silences a node for a drill.

mod attach;
pub mod capture;
mod checks;
mod cut;
mod error;
mod fence;
mod interfaces;
pub mod layout;
mod loader;
mod pins;
pub mod plane;
mod second_chance;
mod sys;
mod trial;
mod walk;

pub use attach::{Attachment, Mode};
pub use checks::Checks;
pub use cut::{Cut, LONGEST as LONGEST_CUT};
pub use error::KernelError;
pub use fence::{Direction, Fence, Verdict};
pub use pins::Pins;
pub use plane::Plane;
pub use second_chance::SecondChance;
pub use walk::entries;
