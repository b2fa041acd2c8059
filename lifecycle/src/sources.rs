//! What services come from that do not stand in the file, as it is shown.

use crate::join::Snapshots;
use crate::status::Source;
use std::collections::BTreeMap;

/// Each of them.
pub(crate) fn status(snapshots: &Snapshots) -> Vec<Source> {
    let config = &snapshots.config;
    let mut services: BTreeMap<&str, u64> = BTreeMap::new();
    for source in config.services.keys().filter_map(|name| name.source()) {
        let count = services.entry(source).or_default();
        *count = count.saturating_add(1);
    }
    let all = config.sources.fragments.iter();
    all.map(|(name, says)| Source {
        name: name.to_string(),
        by: says.by.clone(),
        since: says.since.0,
        serial: snapshots.serial,
        services: services.get(name.as_str()).copied().unwrap_or(0),
        set_aside: config
            .sources
            .set_aside_of(name)
            .map(|(name, why)| (name.to_string(), why.to_owned()))
            .collect(),
        refused: config.sources.refused.get(name).cloned(),
    })
    .collect()
}
