//! The services that are read: those of the file, and those of fragments that are not set aside.

use crate::document::NodeId;
use crate::file::{File, ServiceSection};
use crate::fragment::{Fragment, shown};
use crate::model::{Fragments, ServiceName, Sources};
use crate::reader::{Aside, Field, Reader};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// After so many readings everything that is found is set aside at once.
const ROUNDS: usize = 8;

/// A service, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Written<'a> {
    pub(super) name: ServiceName,
    pub(super) node: NodeId,
    pub(super) section: &'a ServiceSection,
}

/// What is read in one go.
#[derive(Debug)]
pub(super) struct Services<'a> {
    /// Of the file, in its order.
    pub(super) of_file: Vec<Written<'a>>,
    /// Of fragments, by name: of two that can't both be the first is.
    pub(super) of_fragments: Vec<Written<'a>>,
    /// Services that are set aside: nobody else gets what they have from pools.
    pub(super) set_aside: BTreeSet<ServiceName>,
    /// Sources of which nothing can be read; likewise.
    pub(super) unread: BTreeSet<String>,
}

impl<'a> Services<'a> {
    /// Those of the file, then those of fragments.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Written<'a>> {
        self.of_file.iter().chain(&self.of_fragments)
    }
}

/// What is set aside so far.
#[derive(Debug, Default)]
pub(super) struct SetAside {
    why: BTreeMap<NodeId, String>,
    rounds: usize,
}

impl SetAside {
    /// Sets aside what must be, by what was found: first what is wrong by itself, for without that the rest may be good.
    pub(super) fn add(&mut self, found: Vec<Aside>) {
        self.rounds = self.rounds.saturating_add(1);
        let first = found.iter().map(|aside| aside.rank).min();
        let now = |aside: &Aside| Some(aside.rank) == first || self.rounds > ROUNDS;
        let now: Vec<Aside> = found.into_iter().filter(now).collect();
        self.why.extend(now.into_iter().map(|aside| (aside.part, aside.why)));
    }

    /// What is left to read.
    pub(super) fn rest<'a>(
        &self,
        reader: &Reader<'_>,
        file: &'a File,
        fragments: &'a [Fragment],
    ) -> Services<'a> {
        let of_file = file.services.get().map(|named| named.0.as_slice()).unwrap_or_default();
        let of_file = of_file.iter().filter_map(|(name, section)| {
            let section = section.as_ref()?;
            Some(Written { name: ServiceName::new(&name.value.0), node: name.node, section })
        });
        let is_read = |fragment: &&Fragment| !self.why.contains_key(&fragment.root);
        let all = fragments.iter().filter(is_read).flat_map(|fragment| &fragment.services);
        let all = all.filter(|(_, node, _)| !self.why.contains_key(node));
        let mut of_fragments: Vec<Written<'_>> =
            all.map(|(name, node, section)| Written { name: name.clone(), node: *node, section }).collect();
        of_fragments.sort_by(|one, other| one.name.cmp(&other.name));
        let unread = fragments.iter().filter(|fragment| self.why.contains_key(&fragment.root));
        Services {
            of_file: of_file.collect(),
            of_fragments,
            set_aside: self.why.keys().map(|part| shown(reader.key(*part))).collect(),
            unread: unread.map(|fragment| fragment.source.to_string()).collect(),
        }
    }

    /// For people.
    pub(super) fn told(
        &self,
        reader: &Reader<'_>,
        texts: &Arc<Fragments>,
        fragments: &[Fragment],
    ) -> Sources {
        let mut sources = Sources { fragments: Arc::clone(texts), ..Sources::default() };
        for (part, why) in &self.why {
            match fragments.iter().find(|fragment| fragment.root == *part) {
                Some(fragment) => drop(sources.refused.insert(fragment.source.clone(), why.clone())),
                None => drop(sources.set_aside.insert(shown(reader.key(*part)), why.clone())),
            }
        }
        // Of one that can't be used at all, more need not be said.
        sources.set_aside.retain(|name, _| {
            let source = name.source().unwrap_or_default();
            !sources.refused.keys().any(|refused| refused.as_str() == source)
        });
        sources
    }
}
