//! Limits of the process as a whole.

use fulcrum_lifecycle::Limit;
use rustix::process::{Resource, getrlimit};
use std::collections::BTreeMap;

/// Each limit, and how much of it is in use.
pub(crate) fn now() -> BTreeMap<String, Limit> {
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let files = Limit {
        used: u64::try_from(open).unwrap_or(u64::MAX),
        limit: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
        // Whoever is refused a file counts that itself.
        reached: 0,
    };
    BTreeMap::from([("open_files".to_owned(), files)])
}
