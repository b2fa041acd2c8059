//! What operators asked for over the file, put into what the file says.

use crate::document::NodeId;
use crate::model::{Backend, BackendId, Config};
use crate::parse::Before;
use crate::reader::Reader;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Puts into `config` what is asked for of it. What is asked for of things that the file has no more is dropped, and said.
pub(super) fn apply(reader: &mut Reader<'_>, at: NodeId, before: &Before, config: &mut Config) {
    let known = before.overrides.known_in(config);
    if known.len() < before.overrides.len() {
        let kept = known.rows();
        for row in before.overrides.rows().iter().filter(|row| !kept.contains(row)) {
            let message =
                format!("{} was {} by {}, and is not in the file any more", row.of, row.what, row.by);
            reader.warn(at, message, "that is forgotten: say it again if it comes back");
        }
    }
    let ids: BTreeSet<&BackendId> = known.backends.keys().chain(known.weights.keys()).collect();
    for id in ids {
        let service = config.services.get_mut(&id.service).map(Arc::make_mut);
        let backends = service.into_iter().flat_map(|service| &mut service.backends);
        for backend in backends.filter(|backend| backend.name == id.backend) {
            let backend = Arc::make_mut(backend);
            if let Some(noted) = known.weights.get(id) {
                backend.weight = noted.what;
            }
            if let Some(noted) = known.backends.get(id) {
                let disabled = noted.what.is_over(before.now);
                *backend = Backend { drain: true, disabled, ..backend.clone() };
            }
        }
    }
    if let Some(finish) = known.nodes.get(&config.node).and_then(|noted| noted.what.finish) {
        for group in config.groups.values_mut() {
            Arc::make_mut(group).drain = finish;
        }
    }
    config.overrides = Arc::new(known);
}
