//! The drills of before: a line of JSON each, the newest last.

use crate::error::Failure;
use crate::show;
use fulcrum_config::UnixTime;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

#[cfg(test)]
mod tests;

/// As many are kept.
const KEPT: usize = 500;
/// More than so many of them ever need.
const LIMIT: u64 = 4 << 20;

/// What was done to the node that led.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Handover,
    Kill,
    Cut,
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Handover => "handover",
            Self::Kill => "kill",
            Self::Cut => "cut",
        }
    }
}

/// One drill, as far as one group is concerned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// In seconds since 1970.
    pub(crate) at: u64,
    /// Who asked, and on which machine it was measured.
    pub(crate) by: String,
    pub(crate) kind: Kind,
    pub(crate) group: String,
    pub(crate) from: String,
    /// Who took it over; none if that was not seen.
    pub(crate) to: Option<String>,
    /// Who leads it in the end.
    pub(crate) leads: Option<String>,
    pub(crate) outage_ms: f64,
    /// If not, it lasted at least so long.
    pub(crate) is_over: bool,
    pub(crate) resolution_ms: f64,
    pub(crate) requests: usize,
    pub(crate) failed: usize,
    /// Connections that were held open, and those of them that broke.
    pub(crate) held: usize,
    pub(crate) broken: usize,
}

/// What stands in the file, without lines that can't be read: the last one may be torn.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct History {
    pub(crate) entries: Vec<Entry>,
    /// Lines that can't be read.
    pub(crate) unread: usize,
}

/// Where it is unless said otherwise: beside the inventory.
pub(crate) fn beside(inventory: &Path) -> PathBuf {
    let mut path = inventory.as_os_str().to_owned();
    path.push(".drills");
    PathBuf::from(path)
}

impl History {
    /// Reads it; none is as good as an empty one.
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        let mut bytes = Vec::new();
        match std::fs::File::open(path).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes)) {
            Ok(_) => Ok(Self::parse(&String::from_utf8_lossy(&bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Failure::Io {
                what: format!("{}: the drills of before can't be read", path.display()),
                error,
            }),
        }
    }

    fn parse(text: &str) -> Self {
        let mut history = Self::default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            match serde_json::from_str(line) {
                Ok(entry) => history.entries.push(entry),
                Err(_) => history.unread = history.unread.saturating_add(1),
            }
        }
        history
    }

    /// Adds `new`, lets the oldest go, and writes all of it beside before it takes the file's place.
    pub(crate) fn add(path: &Path, new: Vec<Entry>) -> Result<(), Failure> {
        let mut entries = Self::load(path)?.entries;
        entries.extend(new);
        let gone = entries.len().saturating_sub(KEPT);
        write(path, entries.get(gone..).unwrap_or_default()).map_err(|error| Failure::Io {
            what: format!("{}: the drill was made, and can't be kept", path.display()),
            error,
        })
    }

    /// For people.
    pub(crate) fn in_words(&self) -> String {
        if self.entries.is_empty() {
            return "there was no drill yet\n".to_owned();
        }
        let mut table = show::table(&[
            "when",
            "by",
            "kind",
            "group",
            "from",
            "to",
            "outage ms",
            "+-",
            "failed",
            "broken",
        ]);
        for entry in &self.entries {
            let more = if entry.is_over { "" } else { ">" };
            table.add_row([
                when(entry.at),
                entry.by.clone(),
                entry.kind.word().to_owned(),
                entry.group.clone(),
                entry.from.clone(),
                entry.to.clone().unwrap_or_else(|| "nobody".to_owned()),
                format!("{more}{:.1}", entry.outage_ms),
                format!("{:.1}", entry.resolution_ms),
                format!("{} of {}", entry.failed, entry.requests),
                format!("{} of {}", entry.broken, entry.held),
            ]);
        }
        let mut text = format!("{}\n\n", show::text(table, false).trim_end());
        for (kind, outages) in self.by_kind() {
            let (median, worst) = (median(&outages), outages.last().copied().unwrap_or_default());
            let count = show::counted(outages.len(), "drill");
            text.push_str(&format!("{}: {count}, median {median:.1} ms, worst {worst:.1} ms\n", kind.word()));
        }
        if self.unread > 0 {
            text.push_str(&format!("left out: {}\n", show::counted(self.unread, "unreadable line")));
        }
        text
    }

    /// How long clients had no answer, the shortest first.
    fn by_kind(&self) -> BTreeMap<Kind, Vec<f64>> {
        let mut kinds: BTreeMap<Kind, Vec<f64>> = BTreeMap::new();
        for entry in &self.entries {
            kinds.entry(entry.kind).or_default().push(entry.outage_ms);
        }
        kinds.values_mut().for_each(|outages| outages.sort_by(f64::total_cmp));
        kinds
    }
}

/// Of sorted ones, of two in the middle the longer.
fn median(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn when(at: u64) -> String {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(at));
    time.map_or_else(|| at.to_string(), |time| humantime::format_rfc3339_seconds(time).to_string())
}

/// By the wall clock.
#[allow(clippy::disallowed_methods, reason = "for people to see; nothing is decided by it")]
pub(crate) fn now() -> u64 {
    UnixTime::of(SystemTime::now()).0
}

fn write(path: &Path, entries: &[Entry]) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    for entry in entries {
        serde_json::to_writer(&mut file, entry)?;
        file.write_all(b"\n")?;
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    // The rename itself is safe only once the directory is.
    std::fs::File::open(directory)?.sync_all()
}
