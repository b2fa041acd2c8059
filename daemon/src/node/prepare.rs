//! Before a handover the node that is to lead runs hooks of its own: it is asked over the peer link, and waited for.
#![allow(clippy::disallowed_methods, reason = "a driver: it waits for hooks of another node")]

use super::Node;
use crate::hooks::BOUND;
use crate::wire::Refusal;
use fulcrum_config::{Config, GroupName, HookEvent, NodeName};
use fulcrum_lifecycle::hooks::{Planned, Standing, is_asked_to_lead};
use fulcrum_peer::{Observed, PeerState, Prepared, Preparing};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

#[cfg(test)]
mod tests;

/// How much longer than its hooks the answer may take.
const ON_ITS_WAY: Duration = Duration::from_secs(5);

/// How the node that is to lead stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    /// Its hooks run.
    Waiting,
    /// They have run; how.
    Is(Prepared),
    /// Nothing can be asked of it, or nothing any more: why.
    Silent(&'static str),
}

/// What `node` answers to the question of that number.
fn answer(seen: &Observed, node: &NodeName, number: u64) -> Answer {
    let Some(peer) = seen.peers.get(node).filter(|peer| peer.state == PeerState::Up) else {
        return Answer::Silent("there is no link to it");
    };
    // After a change of what it leads its word is on its way.
    let Some(word) = &peer.word else { return Answer::Waiting };
    match &word.prepared {
        None => Answer::Silent("its version does not know them"),
        Some(prepared) => prepared.get(&number).cloned().map_or(Answer::Waiting, Answer::Is),
    }
}

/// The other node has to be prepared as long as this is there.
#[derive(Debug)]
pub(super) struct Asking {
    node: Arc<Node>,
    group: GroupName,
    /// How many hooks it ran.
    pub(super) hooks: usize,
    /// What the operator should know.
    pub(super) note: Option<String>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.node.handle.set_preparing(&self.group, None);
    }
}

impl Node {
    /// Has the node that is to lead `group` run its hooks, and waits for them.
    pub(super) async fn prepare_other(
        self: &Arc<Self>,
        config: &Config,
        group: &GroupName,
        to: Option<&NodeName>,
        forced: bool,
    ) -> Result<Asking, Refusal> {
        let mut asking = Asking { node: Arc::clone(self), group: group.clone(), hooks: 0, note: None };
        if !is_asked_to_lead(config, group) {
            return Ok(asking);
        }
        let not_run =
            |who: &str, why: &str| Some(format!("hooks before-leading were not run on {who}: {why}"));
        let Some(to) = to else {
            asking.note = not_run("another node", "which one takes the group is not known");
            return Ok(asking);
        };
        let (number, mut peer) = (fastrand::u64(1..), self.handle.peer());
        if let Answer::Silent(why) = answer(&peer.borrow(), to, number) {
            asking.note = not_run(to.as_str(), why);
            return Ok(asking);
        }
        self.handle.set_preparing(group, Some(Preparing { number, to: to.clone(), forced }));
        let decided = |seen: &Observed| answer(seen, to, number) != Answer::Waiting;
        let waited = tokio::time::timeout(BOUND.saturating_add(ON_ITS_WAY), peer.wait_for(decided)).await;
        let came = waited.ok().and_then(Result::ok).map_or(Answer::Waiting, |seen| answer(&seen, to, number));
        let why = match came {
            Answer::Is(Prepared { hooks, refused: None }) => {
                asking.hooks = hooks;
                return Ok(asking);
            }
            Answer::Is(Prepared { refused: Some(why), .. }) => why,
            Answer::Silent(why) => format!("hooks ran there, and now {why}"),
            Answer::Waiting => "its hooks have not ended in time".to_owned(),
        };
        if forced {
            asking.note = Some(format!("{to}: {why}"));
            return Ok(asking);
        }
        Err(Refusal::new(format!(
            "group {group} stays here: {to}: {why}\n  correct what it names, or change `on_failure` of that hook; 'fulcrum \
             status' there shows its runs"
        )))
    }

    /// Runs the hooks of a node that is to lead.
    async fn prepare_own(&self, group: &GroupName, from: NodeName, forced: bool) -> Prepared {
        let standing = self.handle.vip().borrow().groups.get(group).map(Standing::from);
        let Some(standing) = standing else {
            return Prepared { hooks: 0, refused: Some(format!("there is no group {group} here")) };
        };
        let planned = Planned::Leading { group: group.clone(), standing, from };
        match self.hooks.before(&self.handle, &planned, forced).await {
            Ok(hooks) => Prepared { hooks, refused: None },
            Err(why) => Prepared { hooks: 0, refused: Some(why) },
        }
    }
}

/// What others ask of this node: who, and of which group, by the numbers.
fn questions(seen: &Observed, own: &NodeName) -> BTreeMap<u64, (NodeName, GroupName, bool)> {
    let up = seen.peers.iter().filter(|(_, peer)| peer.state == PeerState::Up);
    let words = up.filter_map(|(name, peer)| Some((name, peer.word.as_ref()?)));
    let asked = words.flat_map(|(name, word)| {
        let own = word.prepares.iter().filter(|(_, preparing)| preparing.to == *own);
        own.map(|(group, it)| (it.number, (name.clone(), group.clone(), it.forced)))
    });
    asked.collect()
}

/// A word may be missing for a moment: of peers that are up, but have said nothing yet, nothing is taken back.
fn is_sure(seen: &Observed) -> bool {
    seen.peers.values().all(|peer| peer.state != PeerState::Up || peer.word.is_some())
}

/// Prepares for what other nodes hand over, for as long as the node lives.
pub(crate) async fn prepare(node: Arc<Node>) {
    let mut running: BTreeMap<u64, (GroupName, JoinHandle<()>)> = BTreeMap::new();
    let mut peer = node.handle.peer();
    loop {
        let own = node.handle.config().node.clone();
        let (asked, is_sure) = {
            let seen = peer.borrow_and_update();
            (questions(&seen, &own), is_sure(&seen))
        };
        running.retain(|number, (group, task)| {
            let is_kept = asked.contains_key(number) || !is_sure;
            if !is_kept {
                task.abort();
                node.handle.set_prepared(*number, None);
                if !node.handle.vip().borrow().leads(group) {
                    node.hooks.stays(HookEvent::BeforeLeading, group);
                }
            }
            is_kept
        });
        for (number, (from, group, forced)) in asked {
            running.entry(number).or_insert_with(|| {
                let (node, of) = (Arc::clone(&node), group.clone());
                let task = tokio::spawn(async move {
                    let prepared = node.prepare_own(&of, from, forced).await;
                    node.handle.set_prepared(number, Some(prepared));
                });
                (group, task)
            });
        }
        if peer.changed().await.is_err() {
            return;
        }
    }
}
