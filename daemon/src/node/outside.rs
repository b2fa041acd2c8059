//! Services that come from outside the file: what a source says is in force on all nodes or on none, as a reload is.
#![allow(clippy::disallowed_methods, reason = "a driver: it reads the clocks")]

use super::{How, Node, overriding};
use crate::wire::Refusal;
use fulcrum_config::{ClusterName, Config, Noted, ServiceName, SourceName, difference};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

#[cfg(test)]
mod tests;

/// Of many services, so many are named.
const NAMED: usize = 20;

/// What came of the services of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Applied {
    /// Services that are not in force, and why.
    pub(crate) set_aside: BTreeMap<String, String>,
    /// The addresses of all others.
    pub(crate) addresses: BTreeMap<String, Vec<IpAddr>>,
    /// Whether anything is another than before.
    pub(crate) changed: bool,
    /// What became of it at each peer.
    pub(crate) peers: Vec<String>,
}

impl Applied {
    fn of(config: &Config, source: &SourceName) -> Self {
        let set_aside = config.sources.set_aside_of(source);
        Self {
            set_aside: set_aside.map(|(name, why)| (name.to_string(), why.to_owned())).collect(),
            addresses: config.services_of(source).map(|it| (it.name.to_string(), it.vips.clone())).collect(),
            ..Self::default()
        }
    }
}

impl Node {
    /// Has `source` say `text` from now on: YAML with `services:` and nothing else; an empty text takes it out. It is in
    /// force here and on every peer that can be asked when this is done. What is wrong with a service sets that aside.
    ///
    /// # Errors
    /// Nothing of it was applied: why, for people.
    pub(crate) async fn apply(&self, source: &str, text: Arc<str>) -> Result<Applied, String> {
        self.apply_by(source, text, source).await.map_err(|refusal| {
            let lines = std::iter::once(refusal.error).chain(refusal.diagnostics);
            lines.collect::<Vec<_>>().join("\n")
        })
    }

    /// The same, for whoever asked.
    pub(crate) async fn apply_by(&self, source: &str, text: Arc<str>, by: &str) -> Result<Applied, Refusal> {
        let _changing = self.change().await?;
        let result = self.try_apply(&SourceName::new(source), text, by).await;
        self.withdraw();
        result
    }

    async fn try_apply(&self, name: &SourceName, text: Arc<str>, by: &str) -> Result<Applied, Refusal> {
        let begun = Instant::now();
        let old = self.handle.config();
        let said = (!text.trim().is_empty()).then_some(text);
        let before = old.sources.fragments.of(name);
        if said.as_deref() == before.map(|before| &*before.what) {
            return Ok(Applied::of(&old, name));
        }
        let noted = said.map(|text| Noted { what: text, by: by.to_owned(), since: overriding::wall_clock() });
        let fragments = old.sources.fragments.with(name.clone(), noted);
        let fragments =
            fragments.map_err(|why| Refusal::new(format!("source {name}: {why}; nothing was changed")))?;
        let Some(source) = self.source() else {
            return Err(Refusal::new(format!(
                "source {name}: the file was bad at the start, and its last good copy runs: nothing was changed\n  correct \
                 it and 'fulcrum reload' first"
            )));
        };
        let mut before = self.before(&old, false);
        before.fragments = Arc::new(fragments);
        let parsed = self.parse_source(&source, before).await.map_err(|wrong| self.refusal(&wrong))?;
        let mut new = parsed.config;
        if let Some(why) = new.sources.refused.get(name) {
            return Err(Refusal::new(format!(
                "source {name} is refused, and what it said before stays: {why}"
            )));
        }
        new.share(&old);
        let how = How::default();
        self.protects(&old, &new, &how.forced)?;
        let new = Arc::new(new);
        let everywhere = self.apply_everywhere(begun, source, &old, &new, &how).await?;
        let changes = difference(&old, &new).len();
        let applied = Applied { changed: true, peers: everywhere.peers, ..Applied::of(&new, name) };
        tracing::info!(
            target: "config", source = %name, services = applied.addresses.len(), set_aside = applied.set_aside.len(),
            changes, took_ms = begun.elapsed().as_millis(), "a source says something else"
        );
        Ok(applied)
    }

    /// An edit of the file takes no address away from services that do not stand there.
    pub(super) fn keeps_addresses_of_sources(
        &self,
        old: &Config,
        new: &Config,
        how: &How,
    ) -> Result<(), Refusal> {
        if how.give_up {
            return Ok(());
        }
        let loses = losses(old, new);
        if loses.is_empty() {
            return Ok(());
        }
        let mut diagnostics: Vec<String> = loses.iter().take(NAMED).cloned().collect();
        let more = loses.len().saturating_sub(NAMED);
        diagnostics.extend((more > 0).then(|| format!("... and {more} more")));
        Err(Refusal {
            error: format!(
                "{} takes addresses away from services that come from outside it; the running configuration stays\n  undo \
                 that change; or, if they may lose them: 'fulcrum reload --give-up-addresses'",
                self.file.display()
            ),
            diagnostics,
        })
    }
}

/// The services from outside that have addresses of pools in `old` and not in `new`, and why, for people.
fn losses(old: &Config, new: &Config) -> Vec<String> {
    let of_pools =
        old.services.keys().filter(|name| name.source().is_some() && old.allocations.of(name).is_some());
    let why = |name: &ServiceName| {
        let vips = |config: &Config| config.services.get(name).map(|service| service.vips.clone());
        let (was, is) = (vips(old).unwrap_or_default(), vips(new).unwrap_or_default());
        // One more is no loss.
        if !was.iter().all(|vip| is.contains(vip)) {
            let why = new.sources.set_aside.get(name).cloned();
            return Some(why.unwrap_or_else(|| "it would get another".to_owned()));
        }
        reclassed(old, new, name).or_else(|| renamed(old, new, name))
    };
    let loss = |name: &ServiceName| {
        Some(format!("service {name} has an address of a pool, and would lose it: {}", why(name)?))
    };
    of_pools.filter_map(loss).collect()
}

/// What a cluster has served it gives up by itself as soon as its section asks for Services of another class.
fn reclassed(old: &Config, new: &Config, service: &ServiceName) -> Option<String> {
    let name = ClusterName::new(service.source()?);
    let (was, is) = (old.kubernetes.get(&name)?, new.kubernetes.get(&name)?);
    (was.class != is.class).then(|| {
        format!(
            "cluster {name} would serve Services of class {} from then on, and of {} no more",
            is.class, was.class
        )
    })
}

/// Under another name a cluster's Services are others': what they have stays with the name of before, and the cluster tells
/// them another address.
fn renamed(old: &Config, new: &Config, service: &ServiceName) -> Option<String> {
    let name = ClusterName::new(service.source()?);
    let was = old.kubernetes.get(&name).filter(|_| !new.kubernetes.contains_key(&name))?;
    let mut come = new.kubernetes.iter().filter(|(name, _)| !old.kubernetes.contains_key(*name));
    let (is, _) = come.find(|(_, is)| is.access == was.access && (is.class == was.class || is.unclassed))?;
    Some(format!("cluster {is} would serve it in place of {name}, with another address: keep the name"))
}
