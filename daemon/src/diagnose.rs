//! What is broken, in words, and an archive of all that shows it.
//!
//! [`findings`] names the broken link from the status, [`redact`] takes secrets out of whatever is shown, [`collect`] asks the
//! machine, [`archive`] packs it.

pub(crate) mod archive;
pub(crate) mod collect;
pub(crate) mod findings;
pub(crate) mod redact;
