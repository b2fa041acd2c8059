//! Services that come from outside the file: what each source says.

use super::{Config, Noted, ServiceName, SourceName};
use crate::scalar::Name;
use crate::table::Scalar;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The longest name of who set one.
const BY_LIMIT: usize = 256;

/// What each source says: YAML with `services:` and nothing else. Kept on every node, across reloads, restarts and
/// takeovers, until the source says something else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<SourceName, Noted<Arc<str>>>", into = "BTreeMap<SourceName, Noted<Arc<str>>>")]
pub struct Fragments(BTreeMap<SourceName, Noted<Arc<str>>>);

impl Fragments {
    /// The most sources.
    pub const COUNT: usize = 32;
    /// The longest text of all of them together: 16 MiB.
    pub const SIZE: usize = 16 << 20;

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What `source` says.
    #[must_use]
    pub fn of(&self, source: &SourceName) -> Option<&Noted<Arc<str>>> {
        self.0.get(source)
    }

    /// Each source, and what it says.
    pub fn iter(&self) -> impl Iterator<Item = (&SourceName, &Noted<Arc<str>>)> {
        self.0.iter()
    }

    /// The same with another text of `source`; none takes the source out.
    ///
    /// # Errors
    /// Why that can't be, for people.
    pub fn with(&self, source: SourceName, text: Option<Noted<Arc<str>>>) -> Result<Self, String> {
        let mut fragments = self.0.clone();
        match text {
            Some(text) => drop(fragments.insert(source, text)),
            None => drop(fragments.remove(&source)),
        }
        Self::try_from(fragments)
    }

    /// Holds the texts that `other` has, too, together with it.
    pub fn share(&mut self, other: &Self) {
        for (source, text) in &mut self.0 {
            if let Some(other) = other.0.get(source).filter(|other| other.what == text.what) {
                text.what = Arc::clone(&other.what);
            }
        }
    }
}

impl From<Fragments> for BTreeMap<SourceName, Noted<Arc<str>>> {
    fn from(fragments: Fragments) -> Self {
        fragments.0
    }
}

impl TryFrom<BTreeMap<SourceName, Noted<Arc<str>>>> for Fragments {
    type Error = String;

    fn try_from(fragments: BTreeMap<SourceName, Noted<Arc<str>>>) -> Result<Self, Self::Error> {
        if fragments.len() > Self::COUNT {
            return Err(format!("there would be more than {} sources", Self::COUNT));
        }
        let size = fragments.values().map(|text| text.what.len()).fold(0, usize::saturating_add);
        if size > Self::SIZE {
            return Err(format!("all sources together would say more than {} MiB", Self::SIZE >> 20));
        }
        for (source, text) in &fragments {
            Name::parse(source.as_str())
                .map_err(|problem| format!("{}: {}", problem.message, problem.help))?;
            // They would take more room on their way than there is for a text.
            let is_odd = |byte: u8| byte < b' ' && !b"\t\n\r".contains(&byte);
            if text.what.bytes().any(is_odd) {
                return Err("there are control characters in it, which no YAML has".to_owned());
            }
            if text.by.len() > BY_LIMIT || text.by.chars().any(char::is_control) {
                return Err("a name that none can have".to_owned());
            }
        }
        Ok(Self(fragments))
    }
}

/// The sources, and what of them is not in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// What they say.
    pub fragments: Arc<Fragments>,
    /// Services that are set aside, and why, for people.
    pub set_aside: BTreeMap<ServiceName, String>,
    /// Sources of which nothing can be used, and why, for people.
    pub refused: BTreeMap<SourceName, String>,
}

impl Sources {
    /// The services of `source` that are set aside, and why.
    pub fn set_aside_of<'a>(
        &'a self,
        source: &'a SourceName,
    ) -> impl Iterator<Item = (&'a ServiceName, &'a str)> {
        let of = self.set_aside.iter().filter(|(name, _)| name.source() == Some(source.as_str()));
        of.map(|(name, why)| (name, why.as_str()))
    }
}

impl Config {
    /// The services of `source` that are in force.
    pub fn services_of<'a>(
        &'a self,
        source: &'a SourceName,
    ) -> impl Iterator<Item = &'a Arc<super::Service>> {
        self.services.values().filter(|it| it.name.source() == Some(source.as_str()))
    }
}
