//! What is wrong with fragments: each of their services by itself.

use super::Problem;
use crate::document::NodeId;
use std::collections::BTreeMap;

/// Of one service, so many mistakes are told; further ones are counted.
const TOLD: usize = 3;

/// How soon something is set aside: what can be wrong only because of others is judged without those that are wrong
/// by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Whatever other fragments say.
    First,
    /// Two services of fragments can't both be.
    AgainstAnother,
    /// Pools have nothing for it.
    OfPools,
}

/// Something that is set aside.
#[derive(Debug)]
pub(crate) struct Aside {
    /// A service of a fragment, or the root of one that can't be used at all.
    pub(crate) part: NodeId,
    pub(crate) rank: Rank,
    /// Why, for people.
    pub(crate) why: String,
}

/// All that was found.
#[derive(Debug, Default)]
pub(super) struct Asides(BTreeMap<NodeId, Found>);

#[derive(Debug)]
struct Found {
    rank: Rank,
    nodes: Vec<NodeId>,
    words: Vec<String>,
}

impl Asides {
    pub(super) fn add(&mut self, part: NodeId, within: &str, node: NodeId, text: &Problem, rank: Rank) {
        let found =
            self.0.entry(part).or_insert_with(|| Found { rank, nodes: Vec::new(), words: Vec::new() });
        if rank < found.rank {
            *found = Found { rank, nodes: Vec::new(), words: Vec::new() };
        }
        if rank > found.rank {
            return;
        }
        found.nodes.push(node);
        if found.words.len() < TOLD {
            let Problem { message, help } = text;
            let at = if within.is_empty() { String::new() } else { format!("{within}: ") };
            let then = if help.is_empty() { String::new() } else { format!(" ({help})") };
            found.words.push(format!("{at}{message}{then}"));
        }
    }

    /// Where something was found in `part`.
    pub(super) fn of(&self, part: NodeId) -> &[NodeId] {
        self.0.get(&part).map_or(&[], |found| &found.nodes)
    }

    pub(super) fn into_all(self) -> Vec<Aside> {
        let aside = |(part, found): (NodeId, Found)| {
            let more = found.nodes.len().saturating_sub(found.words.len());
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            Aside { part, rank: found.rank, why: format!("{}{more}", found.words.join("; ")) }
        };
        self.0.into_iter().map(aside).collect()
    }
}
