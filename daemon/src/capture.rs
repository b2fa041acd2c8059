//! How captured packets are shown: as lines, and as a pcapng file.

mod line;
mod names;
mod pcapng;

pub(crate) use line::line;
pub(crate) use names::{Names, first_endpoint};
pub(crate) use pcapng::{Pcapng, Record};
