//! One process of this node takes over from another: neither resigns, and no address goes.

use super::Engine;
use crate::border::Part;
use crate::guard::Guard;
use std::time::Instant;

impl Engine {
    fn part(&self) -> Part {
        self.desired.as_ref().map(|desired| desired.part).unwrap_or_default()
    }

    /// Whether the other still guards what this one leads.
    pub(super) fn is_heir(&self) -> bool {
        self.part() == Part::Heir
    }

    /// Whether the other has taken over: this one is to end, and to touch nothing any more.
    pub(super) fn is_left(&self) -> bool {
        self.stopped && self.part() == Part::Left
    }

    /// Leads on what the other leads, as soon as the links are known. The fence is told before its programs are exchanged.
    pub(super) fn inherit(&mut self, now: Instant) {
        let inherited = std::mem::take(&mut self.inherited);
        if inherited.is_empty() {
            return;
        }
        for (name, epoch) in inherited {
            if let Some(group) = self.groups.get_mut(&name) {
                group.inherit(epoch, now);
            }
        }
        self.act(now);
    }

    pub(super) fn handle_part(&mut self, part: Part) {
        match part {
            Part::Whole | Part::Heir => {}
            Part::Left => {
                if let Some(desired) = &mut self.desired {
                    desired.part = part;
                }
                // Its orders end with it: the other's guard has its own.
                if let Some(guard) = &mut self.guard {
                    Guard::stop(guard);
                }
                self.stopped = true;
                tracing::info!("another process of this node leads on what this one led");
            }
            Part::Retaken(_) => {
                self.fence.forget_attached();
                self.second.forget_attached();
            }
        }
    }
}
