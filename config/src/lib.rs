//! What the operator asked for: `fulcrum.yaml`, parsed once, valid by construction.
//!
//! Everything behind this border is a [`Config`]: names resolve, addresses lie inside the networks of their
//! interfaces, timings can work. The other rooms never check again.

mod model;

pub use model::*;
