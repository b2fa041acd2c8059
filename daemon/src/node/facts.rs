//! What the whole node looks like, and what someone should look at.

use super::{Node, limits, overriding};
use crate::kubernetes::left_behind;
use crate::systemd;
use fulcrum_lifecycle::{Alarm, Facts, Severity, Snapshots, Status};
use std::collections::BTreeMap;
use std::sync::PoisonError;

impl Node {
    /// What the whole node looks like.
    pub(crate) fn status(&self) -> Status {
        let mut facts = self.facts();
        facts.limits = limits::now();
        self.handle.status(&facts)
    }

    /// Which part of this process does not run any more.
    pub(crate) fn stuck(&self) -> Option<String> {
        systemd::stuck(self.handle.since_beat(), &self.handle.lb().borrow().stuck)
    }

    /// What someone should look at, and the snapshots that say so.
    pub(crate) fn alarms(&self) -> (Vec<Alarm>, Snapshots) {
        self.handle.alarms(&self.facts())
    }

    fn facts(&self) -> Facts {
        let loaded = self.loaded();
        Facts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.started,
            config_file: self.file.display().to_string(),
            config_state: loaded.state,
            loaded: loaded.at,
            generation: loaded.generation,
            received_from: self.shared().received.map(|received| received.from),
            warnings: loaded.warnings,
            refused: loaded.refused,
            alarms: self.troubles(),
            witness: self.witness.get().into(),
            hooks: self.hooks.status(),
            kubernetes: self.clusters.status(),
            limits: BTreeMap::new(),
            finishing: self.estate.finishing(),
        }
    }

    fn troubles(&self) -> Vec<Alarm> {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let alarm = |(name, error): (&&str, &String)| Alarm {
            severity: Severity::Warning,
            what: error.clone(),
            affected: format!("whoever asks the daemon through {name}; traffic and VIPs do not need it"),
            remedy: "remove the cause that is named; it is tried again by itself".to_owned(),
        };
        let behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        // A reload here may have gone past it.
        let behind = behind.as_ref().filter(|behind| behind.serial > self.handle.serial()).map(|behind| Alarm {
            severity: Severity::Warning,
            what: format!(
                "the configuration of {} (serial {}) can't be applied here, and this node stays behind: {}",
                behind.from,
                behind.serial,
                behind.lines.first().map_or("", String::as_str)
            ),
            affected: "what changes when the leader does: services, backends or limits are others here"
                .to_owned(),
            remedy: "remove the cause that is named (it is tried again by itself), or change the file there"
                .to_owned(),
        });
        closed
            .iter()
            .map(alarm)
            .chain(behind)
            .chain(self.trouble_of_allocations())
            .chain(self.trouble_of_shared())
            .chain(self.hooks.alarms())
            .chain(overriding::forgotten(&self.handle.config(), overriding::wall_clock()))
            .chain(self.clusters.alarms())
            .chain(left_behind(&self.handle.config()))
            .chain(self.backups.alarm())
            .chain(self.runs.alarm(self.held_for(), overriding::wall_clock()))
            .collect()
    }

    fn trouble_of_shared(&self) -> Option<Alarm> {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.as_ref().map(|lost| Alarm {
            severity: Severity::Warning,
            what: lost.clone(),
            affected:
                "what operators asked for over the file: what was drained or disabled may take traffic here"
                    .to_owned(),
            remedy:
                "compare 'fulcrum status' of the nodes, ask again for what is missing, then 'fulcrum reload'"
                    .to_owned(),
        })
    }

    fn trouble_of_allocations(&self) -> Vec<Alarm> {
        let allocated = self.allocations.lock().unwrap_or_else(PoisonError::into_inner);
        let alarm = |what: String, remedy: &str| Alarm {
            severity: Severity::Warning,
            what,
            affected: "services whose addresses are of pools: they may get others".to_owned(),
            remedy: remedy.to_owned(),
        };
        let unkept = allocated.unkept.as_ref().map(|why| {
            let what = format!("what services have from pools is not on disk: {why}");
            alarm(what, "make room in the state directory, then 'fulcrum reload'")
        });
        let damage = allocated.damage.as_ref().map(|damage| {
            alarm(
                damage.clone(),
                "compare 'fulcrum status' of the nodes, and reload where the addresses are right",
            )
        });
        unkept.into_iter().chain(damage).collect()
    }
}
