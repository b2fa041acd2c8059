//! Texts that configurations are read from.

use super::allocated::Recalled;
use super::share::lines;
use super::shared::{Received, Shared};
use crate::hooks::JUDGE;
use crate::last_good;
use fulcrum_config::{Before, Config, Diagnostics, NodeName, Parsed, adopt, parse_after};
use fulcrum_peer::{TEXT_LIMIT, Text};
use std::path::Path;
use std::sync::Arc;

/// A peer's file as this node's.
pub(super) struct Adopted {
    /// The text of this node's own file.
    pub(super) own: String,
    /// The peer's, with what is this node's own put in.
    pub(super) text: String,
    pub(super) parsed: Parsed,
}

impl Adopted {
    pub(super) fn read(
        file: &Path,
        from: &NodeName,
        text: &str,
        before: &Before,
    ) -> Result<Self, Vec<String>> {
        let own = fulcrum_config::read(file).map_err(|wrong| lines(&wrong))?;
        let text = adopt(text, &own).map_err(|error| vec![format!("{from}'s file: {error}")])?;
        let name = format!("{from}'s file, for this node");
        let parsed = parse_after(&text, &name, &host_name(), before).map_err(|wrong| lines(&wrong))?;
        Ok(Self { own, text, parsed })
    }
}

/// Where a configuration comes from.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// The text of this node's own file.
    pub(crate) own: String,
    /// The peer's file that runs instead.
    pub(crate) received: Option<Received>,
    /// The text that was parsed.
    pub(crate) runs: String,
}

impl Source {
    /// The text and configuration to run: this node's own file, or a peer's newer one if that was not edited since.
    pub(crate) fn read(file: &Path, shared: &Shared, before: &Before) -> Result<(Self, Parsed), Diagnostics> {
        let own = fulcrum_config::read(file)?;
        let source = match (&shared.received, shared.text(&own)) {
            (Some(received), Some(Ok(adopted))) => {
                Self { own, received: Some(received.clone()), runs: adopted }
            }
            (Some(_) | None, _) => Self { runs: own.clone(), own, received: None },
        };
        let parsed = source.parse(file, before)?;
        Ok((source, parsed))
    }

    pub(crate) fn parse(&self, file: &Path, before: &Before) -> Result<Parsed, Diagnostics> {
        let name = match &self.received {
            Some(received) => format!("{}'s file, for this node", received.from),
            None => file.display().to_string(),
        };
        parse_after(&self.runs, &name, &host_name(), before)
    }

    /// What peers are to run.
    pub(crate) fn text(&self) -> &str {
        self.received.as_ref().map_or(&self.own, |received| &received.text)
    }

    /// The same, to be sent; none if it is too long for that.
    pub(crate) fn text_of(&self, serial: u64, config: &Config) -> Option<Arc<Text>> {
        let text = self.text();
        let (allocations, overrides) =
            (Some(Arc::clone(&config.allocations)), Some(Arc::clone(&config.overrides)));
        let fragments = Some(Arc::clone(&config.sources.fragments));
        (text.len() <= TEXT_LIMIT)
            .then(|| Arc::new(Text { serial, text: text.into(), allocations, overrides, fragments }))
    }

    pub(crate) fn shared(&self, serial: u64, config: &Config) -> Shared {
        let (overrides, fragments) = (Arc::clone(&config.overrides), Arc::clone(&config.sources.fragments));
        Shared { received: self.received.clone(), overrides, fragments, ..Shared::of_own(serial, &self.own) }
    }
}

/// Reads and parses the file, as a node would whose state is on this machine.
pub(crate) fn read(file: &Path) -> Result<(String, Parsed), Diagnostics> {
    let recalled = Recalled::of(&last_good::candidates(file, None), file);
    read_after(file, &recalled.before(false))
}

/// As [`read`], for a file that is to be run: the programs of its hooks are judged, too.
pub(crate) fn read_to_run(file: &Path) -> Result<(String, Parsed), Diagnostics> {
    let recalled = Recalled::of(&last_good::candidates(file, None), file);
    read_after(file, &Before { programs: JUDGE, ..recalled.before(false) })
}

pub(super) fn read_after(file: &Path, before: &Before) -> Result<(String, Parsed), Diagnostics> {
    let text = fulcrum_config::read(file)?;
    let parsed = parse_after(&text, &file.display().to_string(), &host_name(), before)?;
    Ok((text, parsed))
}

/// The name of this machine, without its domain.
pub(crate) fn host_name() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy();
    name.split('.').next().unwrap_or_default().to_owned()
}
