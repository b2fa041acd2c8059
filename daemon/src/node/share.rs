//! Changes of the configuration that the nodes share: offered, checked, applied on all or on none, and caught up with.
#![allow(clippy::disallowed_methods, reason = "a driver: it waits for peers")]

use super::agree::{Task, Vote, next_serial, task, vote, voters};
use super::shared::{Received, Shared};
use super::source::{Adopted, Source};
use super::{Agreed, How, Node};
use crate::wire::Refusal;
use fulcrum_config::{Allocations, Before, Change, Config, Fragments, NodeName, Overrides, digest_of_file};
use fulcrum_peer::{ALLOCATIONS_LIMIT, Answer, LinkState, Offer, PeerState, TEXT_LIMIT, Text};
use std::collections::BTreeSet;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the peers may take to check an offer.
const ANSWER: Duration = Duration::from_secs(15);
/// How long the answer to a reload waits for the peers to have applied it.
const APPLIED: Duration = Duration::from_secs(5);
/// Time between two checks for peers, at most, and as long as the last one took: none may keep this node busy with them.
const PAUSE: Duration = Duration::from_millis(100);
/// Time until what could not be applied is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// What came of asking the peers.
#[derive(Debug)]
pub(super) struct Agreement {
    /// The serial number to apply it with.
    pub(super) serial: u64,
    /// Who agreed.
    pub(super) voters: BTreeSet<NodeName>,
    /// What the operator should know.
    pub(super) notes: Vec<String>,
}

/// What a peer runs and this node could not apply.
#[derive(Debug, Clone)]
pub(super) struct Behind {
    pub(super) from: NodeName,
    pub(super) serial: u64,
    pub(super) lines: Vec<String>,
    at: Instant,
}

impl Node {
    pub(super) fn shared(&self) -> Shared {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether there can be links at all: without, nothing is kept and nobody asked.
    fn has_peers(&self) -> bool {
        self.handle.peer().borrow().state == LinkState::On
    }

    /// What runs from now on is this, and peers that are behind are sent its text.
    ///
    /// # Errors
    /// It can't be kept: why, for people. It is in force all the same.
    pub(super) async fn set_shared(&self, shared: Shared, text: Option<Arc<Text>>) -> Result<(), String> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&shared);
        self.handle.say(|changes| changes.text = text);
        // Without a link nothing has to last but what stands in no file.
        let has_peers = self.has_peers();
        let (state_dir, file) = (self.state_dir.clone(), self.file.clone());
        let work = move || {
            let is_asked = !shared.overrides.is_empty() || !shared.fragments.is_empty();
            let lasts = has_peers || is_asked || Shared::is_kept(&state_dir, &file);
            if lasts { shared.keep(&state_dir, &file) } else { Ok(()) }
        };
        let kept = tokio::task::spawn_blocking(work).await;
        let kept = kept.unwrap_or_else(|error| Err(error.to_string()));
        if let Err(error) = &kept {
            tracing::warn!(target: "config", "{error}");
        }
        kept
    }

    /// Asks every peer that can be asked whether it would apply `text`, whose configuration is `new`.
    pub(super) async fn agree(
        &self,
        text: &str,
        old: &Config,
        new: &Config,
        how: &How,
    ) -> Result<Agreement, Refusal> {
        let mut peer = self.handle.peer();
        let (voters, notes, same) = {
            let seen = peer.borrow();
            let voters = voters(&seen.peers);
            let away = seen.peers.iter().filter(|(name, _)| !voters.contains(*name));
            let notes: Vec<String> = away
                .map(|(name, peer)| match peer.state {
                    PeerState::Up => format!("{name} runs a version that can't be asked; reload there, too"),
                    PeerState::Down | PeerState::Refused => format!(
                        "applied on this node alone: there is no link to {name} ({}); it catches up when there is",
                        peer.reason
                    ),
                })
                .collect();
            let has = |name| seen.peers.get(name).and_then(|peer| peer.config).map(|it| it.digest);
            let same = old.shared == new.shared && voters.iter().all(|name| has(name) == Some(new.shared));
            (voters, notes, same)
        };
        let own = self.shared().serial;
        if how.local {
            let note = "applied on this node alone, as asked; its peers run what they ran".to_owned();
            return Ok(Agreement { serial: own, voters: BTreeSet::new(), notes: vec![note] });
        }
        if same {
            return Ok(Agreement { serial: own, voters: BTreeSet::new(), notes: Vec::new() });
        }
        let is_long = |new: &Config| {
            serde_json::to_string(&*new.allocations).is_ok_and(|it| it.len() > ALLOCATIONS_LIMIT)
        };
        if is_long(new) && !voters.is_empty() {
            return Err(Refusal::new(format!(
                "services have more addresses of pools than nodes can tell each other ({} KiB); nothing was applied\n  use \
                 shorter names, or 'fulcrum reload --local' on each node",
                ALLOCATIONS_LIMIT >> 10
            )));
        }
        if text.len() > TEXT_LIMIT && !voters.is_empty() {
            return Err(Refusal::new(format!(
                "the file is larger than the {} MiB that nodes send each other; nothing was applied\n  'fulcrum reload \
                 --local' on each node applies it there",
                TEXT_LIMIT >> 20
            )));
        }
        if voters.is_empty() {
            let serial = next_serial(own, &peer.borrow().peers);
            return Ok(Agreement { serial, voters, notes });
        }
        let number = fastrand::u64(1..);
        let allocations = Some(Arc::clone(&new.allocations));
        let forced = how.forced.clone();
        let overrides = Some(Arc::clone(&new.overrides));
        let fragments = Some(Arc::clone(&new.sources.fragments));
        let offer = Arc::new(Offer { number, forced, text: text.into(), allocations, overrides, fragments });
        self.handle.say(|changes| changes.offer = Some(offer));
        let decided = |seen: &fulcrum_peer::Observed| vote(&old.node, own, number, &voters, &seen.peers);
        let waited = tokio::time::timeout(ANSWER, peer.wait_for(|seen| decided(seen) != Vote::Waiting)).await;
        let vote = waited.ok().and_then(Result::ok).map_or(Vote::Waiting, |seen| decided(&seen));
        match vote {
            Vote::Agreed(serial) => Ok(Agreement { serial, voters, notes }),
            vote @ (Vote::Waiting | Vote::Refused(_) | Vote::Lost(_) | Vote::Second(_)) => {
                self.withdraw();
                Err(not_agreed(vote))
            }
        }
    }

    /// Nothing is offered any more.
    pub(super) fn withdraw(&self) {
        self.handle.say(|changes| changes.offer = None);
    }

    /// Waits until those who agreed have applied it, but not for long; a line for each that has, and has not.
    pub(super) async fn applied_by(&self, agreement: &Agreement) -> Vec<String> {
        let mut peer = self.handle.peer();
        let has = |seen: &fulcrum_peer::Observed, name: &NodeName| {
            let config = seen.peers.get(name).and_then(|peer| peer.config);
            config.is_some_and(|config| config.serial >= agreement.serial)
        };
        let all = |seen: &fulcrum_peer::Observed| agreement.voters.iter().all(|name| has(seen, name));
        let _ = tokio::time::timeout(APPLIED, peer.wait_for(all)).await;
        let seen = peer.borrow();
        let line = |name: &NodeName| {
            if has(&seen, name) {
                format!("applied on {name}, too")
            } else {
                format!("{name} agreed, and has not applied it yet: look at 'fulcrum status' there")
            }
        };
        agreement.voters.iter().map(line).collect()
    }

    /// Reads what `from` sent as this node's, off the loop that serves signals; or what is wrong with it, for people.
    async fn read_received(
        &self,
        from: &NodeName,
        text: &Arc<str>,
        before: Before,
    ) -> Result<Adopted, Vec<String>> {
        let (file, from, text) = (self.file.clone(), from.clone(), Arc::clone(text));
        let read = tokio::task::spawn_blocking(move || Adopted::read(&file, &from, &text, &before)).await;
        read.unwrap_or_else(|error| Err(vec![format!("it could not be read: {error}")]))
    }

    /// Answers whether what `from` offers would be applied here.
    async fn check_offer(&self, from: &NodeName, offer: &Offer) {
        // It has no link any more to answer over.
        let Ok(_changing) = self.change().await else { return };
        let errors = match self.try_offer(from, offer).await {
            Ok(()) => Vec::new(),
            Err(errors) => errors,
        };
        tracing::info!(
            target: "audit", who = %from, what = "offers a configuration",
            result = if errors.is_empty() { "would be applied" } else { "refused" }
        );
        let serial = self.shared().serial;
        let answer = Arc::new(Answer { number: offer.number, serial, errors });
        self.handle.say(|changes| {
            changes.answers.insert(from.clone(), answer);
        });
    }

    async fn try_offer(&self, from: &NodeName, offer: &Offer) -> Result<(), Vec<String>> {
        let old = self.handle.config();
        let Offer { allocations, overrides, fragments, .. } = offer;
        let given = self.given(&old, allocations.as_ref(), overrides.as_ref(), fragments.as_ref());
        let before = Before { programs: crate::hooks::JUDGE, ..given };
        let mut adopted = self.read_received(from, &offer.text, before).await?;
        // Until it is applied, it costs what is new of it.
        adopted.parsed.config.share(&old);
        let new = &adopted.parsed.config;
        self.check_allocations(offer, new).await?;
        self.check_overrides(&old, new).await?;
        self.possible(&old, new).map_err(of_refusal)?;
        self.protects(&old, new, &offer.forced).map_err(of_refusal)?;
        self.try_listeners(&old, &Arc::new(new.clone()), true).await.map(drop).map_err(of_refusal)?;
        *self.agreed() = Agreed::new(offer, adopted);
        Ok(())
    }

    fn agreed(&self) -> MutexGuard<'_, Option<Agreed>> {
        self.agreed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `text` says: as it was read when it was offered, if it is what was offered.
    async fn read_newer(&self, from: &NodeName, text: &Text, before: Before) -> Result<Adopted, Vec<String>> {
        let agreed = self.agreed().take();
        // Of a file that changes there may be warnings that an offer's reading has not.
        let known = agreed
            .and_then(|agreed| agreed.of(text, &self.file))
            .filter(|adopted| self.says_the_same(&adopted.text).is_some());
        match known {
            Some(adopted) => Ok(adopted),
            None => self.read_received(from, &text.text, before).await,
        }
    }

    /// Whether services would have here what they have there, and that could be kept.
    async fn check_allocations(&self, offer: &Offer, config: &Config) -> Result<(), Vec<String>> {
        if offer.allocations.as_ref().is_some_and(|given| *given != config.allocations) {
            return Err(vec![
                "services would get other addresses from pools here: is the version the same?".to_owned(),
            ]);
        }
        let (allocations, state_dir, file) =
            (Arc::clone(&config.allocations), self.state_dir.clone(), self.file.clone());
        let work = move || super::allocated::try_out(&allocations, &state_dir, &file);
        let tried = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()));
        tried.map_err(|why| vec![format!("what services get from pools can't be kept here: {why}")])
    }

    /// Whether what operators ask for over the file could be kept here.
    async fn check_overrides(&self, old: &Config, new: &Config) -> Result<(), Vec<String>> {
        if old.overrides == new.overrides {
            return Ok(());
        }
        let shared = Shared { overrides: Arc::clone(&new.overrides), ..self.shared() };
        let (state_dir, file) = (self.state_dir.clone(), self.file.clone());
        let work = move || shared.try_out(&state_dir, &file);
        let tried = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()));
        tried.map_err(|why| vec![format!("what is asked for can't be kept here: {why}")])
    }

    /// Applies what `from` runs, because it is newer.
    async fn catch_up(&self, from: &NodeName, text: &Text) {
        let Ok(_changing) = self.change().await else { return };
        if self.shared().serial >= text.serial {
            return;
        }
        let result = self.try_catch_up(from, text).await;
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(changes) => {
                *behind = None;
                self.set_found();
                tracing::info!(target: "audit", who = %from, what = "sent a newer configuration", result = "applied");
                changes.iter().for_each(|line| tracing::info!(target: "config", "{line}"));
            }
            Err(lines) => {
                let serial = text.serial;
                tracing::error!(target: "config", peer = %from, serial, "its configuration can't be applied here");
                lines.iter().for_each(|line| tracing::error!(target: "config", "{line}"));
                *behind = Some(Behind { from: from.clone(), serial, lines, at: Instant::now() });
            }
        }
    }

    async fn try_catch_up(&self, from: &NodeName, text: &Text) -> Result<Vec<String>, Vec<String>> {
        let old = self.handle.config();
        // Its operator was asked about addresses that are lost, too.
        let Text { allocations, overrides, fragments, .. } = text;
        let given = self.given(&old, allocations.as_ref(), overrides.as_ref(), fragments.as_ref());
        let before = Before { give_up: true, ..given };
        let Adopted { own, text: adopted, mut parsed } = self.read_newer(from, text, before).await?;
        let running = self.says_the_same(&adopted);
        let is_of_sources = running.is_some() && parsed.config.overrides == old.overrides;
        parsed.config.share(&old);
        let new = Arc::new(parsed.config);
        self.possible(&old, &new).map_err(of_refusal)?;
        say_moved(from, &old, &new);
        self.keep_allocations(&new)
            .await
            .map_err(|why| vec![format!("what services have from pools can't be kept here: {why}")])?;
        // Its operator was asked about the control plane.
        let revision = match self.put_in_force(&old, &new, text.serial).await {
            Ok(revision) => revision,
            Err(refusal) => {
                self.keep_allocations_again(&old).await;
                return Err(of_refusal(refusal));
            }
        };
        super::trial::applied(self.handle.lb(), revision).await;
        if !is_of_sources {
            let warnings = parsed.warnings.iter().map(ToString::to_string).collect();
            self.set_applied(warnings);
        }
        let source = running.unwrap_or_else(|| {
            // The own file may say the same by now.
            let is_own = digest_of_file(&own).is_some_and(|it| Some(it) == digest_of_file(&adopted));
            let received = Received { from: from.to_string(), text: text.text.to_string() };
            Source { own, received: (!is_own).then_some(received), runs: adopted }
        });
        let shared = source.shared(text.serial, &new);
        let fragments = text.fragments.is_some().then(|| Arc::clone(&new.sources.fragments));
        let _ = self.set_shared(shared, Some(Arc::new(Text { fragments, ..text.clone() }))).await;
        if !is_of_sources {
            drop(self.take_unproven());
            self.keep_text(source.runs.clone()).await;
        }
        self.set_source(source);
        Ok(in_short(&fulcrum_config::difference(&old, &new)))
    }
}

impl Node {
    /// What a peer's configuration goes by: what it says, or if its version says nothing of that, what is in force here.
    fn given(
        &self,
        old: &Config,
        allocations: Option<&Arc<Allocations>>,
        overrides: Option<&Arc<Overrides>>,
        fragments: Option<&Arc<Fragments>>,
    ) -> Before {
        let mut before = self.before(old, false);
        if let Some(allocations) = allocations {
            before.allocations = Arc::clone(allocations);
        }
        if let Some(overrides) = overrides {
            before.overrides = Arc::clone(overrides);
        }
        if let Some(fragments) = fragments {
            // What stays as it was is kept once.
            let mut fragments = (**fragments).clone();
            fragments.share(&before.fragments);
            before.fragments = Arc::new(fragments);
        }
        before
    }

    /// The text that runs here, if that says what `theirs` says: then nobody's file has changed, and one that is being edited
    /// here stays this node's own.
    fn says_the_same(&self, theirs: &str) -> Option<Source> {
        let source = self.source()?;
        let digest = digest_of_file(theirs)?;
        (digest_of_file(&source.runs) == Some(digest)).then_some(source)
    }
}

/// Nodes that were apart may have given a service different addresses: those of the newer configuration hold.
fn say_moved(from: &NodeName, old: &Config, new: &Config) {
    let addresses = |config: &Config, service| {
        let addresses = config.allocations.of(service).into_iter().flatten();
        let addresses: Vec<String> = addresses.map(|(address, _)| address.to_string()).collect();
        addresses.join(" and ")
    };
    for service in new.allocations.moved(&old.allocations) {
        tracing::warn!(
            target: "config", %service, peer = %from, had = addresses(old, service), has = addresses(new, service),
            "the service has another address from its pool now: that of the newer configuration"
        );
    }
}

/// Does for the peers what is to be done, for as long as the node lives.
pub(crate) async fn share(node: Arc<Node>) {
    let mut peer = node.handle.peer();
    loop {
        let todo = {
            let seen = peer.borrow_and_update();
            let said = node.handle.said().answers;
            let answered = said.into_iter().map(|(name, answer)| (name, answer.number)).collect();
            let behind = node.behind.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let refused = behind.filter(|behind| behind.at.elapsed() < AGAIN).map(|behind| behind.serial);
            task(node.shared().serial, &answered, refused, &seen.peers)
        };
        let begun = Instant::now();
        match todo {
            Task::Nothing => {
                if peer.changed().await.is_err() {
                    return;
                }
                continue;
            }
            Task::Check(from, offer) => node.check_offer(&from, &offer).await,
            Task::CatchUp(from, text) => node.catch_up(&from, &text).await,
        }
        tokio::time::sleep(begun.elapsed().min(PAUSE)).await;
    }
}

fn not_agreed(vote: Vote) -> Refusal {
    match vote {
        Vote::Refused(refused) => {
            let names: Vec<&str> = refused.iter().map(|(name, _)| name.as_str()).collect();
            Refusal {
                error: format!(
                    "{} can't apply it; nothing was applied on any node\n  correct the file, or 'fulcrum reload --local' \
                     to apply it here alone",
                    names.join(" and ")
                ),
                diagnostics: refused
                    .iter()
                    .flat_map(|(name, errors)| errors.iter().map(move |error| format!("{name}: {error}")))
                    .collect(),
            }
        }
        Vote::Lost(name) => Refusal::new(format!(
            "the link to {name} ended while it checked the file; nothing was applied on any node\n  try again: without a \
             link it is applied here, and {name} catches up"
        )),
        Vote::Second(name) => Refusal::new(format!(
            "{name} changes the configuration at the same time, and goes first; nothing of this file was applied\n  try \
             again when it is done"
        )),
        Vote::Waiting | Vote::Agreed(_) => Refusal::new(format!(
            "not every peer answered within {} s; nothing was applied on any node\n  look at 'fulcrum status' there, or \
             'fulcrum reload --local' to apply it here alone",
            ANSWER.as_secs()
        )),
    }
}

/// Thousands of lines would tell nobody anything.
pub(super) fn in_short(changes: &[Change]) -> Vec<String> {
    const TOLD: usize = 100;
    let more = changes.len().saturating_sub(TOLD);
    let more = (more > 0).then(|| format!("... and {more} more"));
    changes.iter().take(TOLD).map(ToString::to_string).chain(more).collect()
}

fn of_refusal(refusal: Refusal) -> Vec<String> {
    if refusal.diagnostics.is_empty() { vec![refusal.error] } else { refusal.diagnostics }
}

pub(super) fn lines(wrong: &fulcrum_config::Diagnostics) -> Vec<String> {
    wrong.iter().map(|wrong| wrong.to_string().trim_end().to_owned()).collect()
}
