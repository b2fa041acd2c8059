//! What was read of an offer that would be applied here: what comes next is in all likelihood the same, and need not be read
//! again.

use super::source::Adopted;
use fulcrum_config::{Allocations, Fragments, Overrides};
use fulcrum_peer::{Offer, Text};
use std::path::Path;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// An offer, and what was read of it.
pub(super) struct Agreed {
    said: Said,
    adopted: Adopted,
}

/// All that a node says of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    text: Arc<str>,
    allocations: Arc<Allocations>,
    overrides: Arc<Overrides>,
    fragments: Arc<Fragments>,
}

impl std::fmt::Debug for Agreed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agreed").finish_non_exhaustive()
    }
}

impl Agreed {
    /// None, if the same could be read otherwise later: what an older version leaves out is taken from what runs then, and
    /// deadlines of overrides may be over.
    pub(super) fn new(offer: &Offer, adopted: Adopted) -> Option<Self> {
        let said = said(&offer.text, &offer.allocations, &offer.overrides, &offer.fragments)?;
        Some(Self { said, adopted })
    }

    /// What was read, if `text` says what was offered, and this node's own file is as it was.
    pub(super) fn of(self, text: &Text, file: &Path) -> Option<Adopted> {
        let said = said(&text.text, &text.allocations, &text.overrides, &text.fragments)?;
        let is_same =
            self.said == said && fulcrum_config::read(file).is_ok_and(|own| own == self.adopted.own);
        is_same.then_some(self.adopted)
    }
}

fn said(
    text: &Arc<str>,
    allocations: &Option<Arc<Allocations>>,
    overrides: &Option<Arc<Overrides>>,
    fragments: &Option<Arc<Fragments>>,
) -> Option<Said> {
    let overrides = overrides.clone().filter(|overrides| overrides.is_empty())?;
    let (allocations, fragments) = (allocations.clone()?, fragments.clone()?);
    Some(Said { text: Arc::clone(text), allocations, overrides, fragments })
}
