//! The kernel settings: set when a link is opened, and kept that way.

use super::Engine;
use crate::driver::link::count;
use crate::netlink::View;
use crate::settings::{self, Settings};
use fulcrum_config::{Family, Link};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Time between looks at them: the kernel does not tell of changes.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);

/// What the kernel must do, and not do, on an interface with VIPs behind it.
pub(super) fn apply(
    settings: &mut Settings,
    errors: &mut BTreeMap<String, String>,
    view: &View,
    link: &Link,
) {
    let interface = link.interface.as_str();
    match settings.apply(&settings::for_interface(interface)) {
        Ok(()) => drop(errors.remove(interface)),
        Err(error) => drop(errors.insert(interface.to_owned(), error)),
    }
    look(settings, view, link);
}

fn look(settings: &mut Settings, view: &View, link: &Link) {
    if link.family == Family::Ipv4 {
        settings.look_at_reverse_path(link.interface.as_str(), view.has_several_networks());
    }
}

impl Engine {
    /// Sets again what somebody else changed, and says so.
    pub(super) fn keep_settings(&mut self, now: Instant) {
        if self.stopped || self.settings_at.is_some_and(|at| now < at) {
            return;
        }
        self.settings_at = now.checked_add(INTERVAL);
        let before = self.settings.shown();
        for kept in self.settings.keep() {
            let settings::Kept { name, wanted, found, error } = kept;
            match error {
                None => {
                    count(&mut self.counters, "settings_set_again");
                    tracing::warn!(
                        "the kernel setting {name} was changed to {found} by somebody else; it is {wanted} again"
                    );
                }
                Some(error) => {
                    count(&mut self.counters, "settings_not_set");
                    tracing::error!(%error, "the kernel setting {name} was changed to {found} by somebody else, and can't be set to {wanted}; trying again");
                }
            }
        }
        self.setting_errors.retain(|interface, _| !self.settings.is_good(interface));
        for link in self.links.keys() {
            look(&mut self.settings, &self.view, link);
        }
        if self.settings.shown() != before {
            self.show.changed();
        }
    }
}
