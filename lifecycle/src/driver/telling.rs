//! Telling the engines: each only what is news to it.
#![allow(clippy::disallowed_methods, reason = "a driver reads the clock for the pure functions")]

use super::Driver;
use super::asked::Succession;
use super::marks::lock;
use crate::plan;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

impl Driver {
    /// New listeners stand before a new VIP does.
    pub(super) fn tell_all(&mut self) {
        let config = Arc::clone(&self.asked.borrow().config);
        self.tell_lb();
        self.engines.health.desired.send_if_modified(|desired| {
            let changed = desired.services != config.services;
            if changed {
                *desired = plan::health_desired(&config);
            }
            changed
        });
        self.tell_vip();
        self.tell_peer();
        if self.asked.borrow().succession == Succession::Left && self.peer_lives {
            // It ends; what is said from now on is said to nobody.
            let nothing = self.engines.peer.desired.borrow().clone();
            self.engines.peer.desired = watch::channel(nothing).0;
        }
    }

    /// Groups that this node is not to take from a leader yet: whose state is not here, and all of them as long as this node
    /// does not know which backends it could use.
    pub(super) fn tell_behind(&self) {
        let knows = lock(&self.marks).first_round_done;
        let behind = if knows {
            self.verdicts.behind().clone()
        } else {
            self.asked.borrow().config.groups.keys().cloned().collect()
        };
        self.engines.vip.desired.send_if_modified(|desired| {
            let is_news = desired.behind != behind;
            if is_news {
                desired.behind = behind;
            }
            is_news
        });
    }

    /// Each configuration that is applied, even an equal one: the private key is read again then. And whatever is
    /// news of this node's adverts, and of what it serves by.
    pub(super) fn tell_peer(&self) {
        let asked = self.asked.borrow();
        let vip = self.engines.vip.observed.borrow();
        let mut planned = plan::peer_desired(&asked.config, asked.generation, asked.serial, &vip);
        planned.changes.clone_from(&asked.changes);
        {
            // Of these, what was said last.
            let said = self.engines.peer.desired.borrow();
            planned.word.ready.clone_from(&said.word.ready);
            planned.word.unready.clone_from(&said.word.unready);
            planned.word.fails.clone_from(&said.word.fails);
            planned.word.moves.clone_from(&said.word.moves);
            planned.word.knows.clone_from(&said.word.knows);
            planned.word.prepares.clone_from(&said.word.prepares);
            planned.word.prepared.clone_from(&said.word.prepared);
        }
        planned.serving = plan::serving(
            &asked.config,
            &vip,
            &self.engines.lb.desired.borrow(),
            &self.engines.lb.observed.borrow(),
            &self.engines.peer.desired.borrow().serving,
        );
        self.engines.peer.desired.send_if_modified(|desired| {
            let is_news = desired.generation != planned.generation
                || desired.word != planned.word
                || desired.answers != planned.answers
                || desired.changes != planned.changes
                || desired.serving != planned.serving;
            if is_news {
                *desired = planned;
            }
            is_news
        });
    }

    /// What the peers say of their adverts; nothing from a link that has ended by itself.
    pub(super) fn tell_words(&mut self) {
        let peer = self.engines.peer.observed.borrow_and_update();
        let words = if self.peer_lives { plan::words(&peer) } else { BTreeMap::new() };
        self.engines.vip.desired.send_if_modified(|desired| {
            let is_news = desired.words != words;
            if is_news {
                desired.words = words;
            }
            is_news
        });
    }

    pub(super) fn tell_lb(&mut self) {
        let asked = self.asked.borrow().clone();
        let config = asked.config;
        let table = asked.trial.and_then(|trial| trial.table).unwrap_or_else(|| Arc::clone(&config));
        let health = self.engines.health.observed.borrow_and_update();
        let lb = &self.engines.lb.desired;
        let planned = plan::lb_desired(&table, &health, self.verdicts.following(), &lb.borrow());
        let is_news = lb.send_if_modified(|desired| {
            let is_news = planned.is_some() || desired.revision != asked.revision;
            if let Some(planned) = planned {
                *desired = planned;
            }
            let stage = asked.succession.stage();
            let is_news = is_news || desired.stage != stage;
            (desired.revision, desired.stage) = (asked.revision, stage);
            is_news
        });
        let mut marks = lock(&self.marks);
        let knew = marks.first_round_done;
        marks.first_round_done = knew || plan::first_round_done(&config, &health);
        let begins_to_know = marks.first_round_done && !knew;
        drop((health, marks));
        if begins_to_know {
            self.tell_behind();
        }
        if is_news {
            // A standby is to go by the same.
            self.tell_peer();
        }
    }

    pub(super) fn tell_vip(&mut self) {
        let asked = self.asked.borrow().clone();
        let lb = self.engines.lb.observed.borrow_and_update();
        let served_once = {
            let mut marks = lock(&self.marks);
            marks.served_once.retain(|group| asked.config.groups.contains_key(group));
            marks.served_once.extend(plan::served(&asked.config, &lb));
            if lb.refused_at_limit > marks.refused_at_limit {
                marks.refused_at_limit = lb.refused_at_limit;
                marks.limit_reached = Some(Instant::now());
            }
            marks.served_once.clone()
        };
        let nothing = BTreeSet::new();
        let on_trial = asked.trial.as_ref().map_or(&nothing, |trial| &trial.services);
        let missing = plan::data_plane_missing(&asked.config, &lb, &served_once, on_trial);
        let held = plan::held(&asked.config, &lb);
        let planned = plan::vip_desired(&asked.config, &asked.left(), asked.stopping, missing, held);
        let planned = fulcrum_vip_manager::Desired { part: asked.succession.part(), ..planned };
        self.engines.vip.desired.send_if_modified(|desired| {
            let changed = !Arc::ptr_eq(&desired.config, &planned.config)
                || desired.data_plane_missing != planned.data_plane_missing
                || desired.standing_down != planned.standing_down
                || desired.stopping != planned.stopping
                || desired.held != planned.held
                || desired.part != planned.part;
            if changed {
                let words = std::mem::take(&mut desired.words);
                let behind = std::mem::take(&mut desired.behind);
                *desired = fulcrum_vip_manager::Desired { words, behind, ..planned };
            }
            changed
        });
    }
}
