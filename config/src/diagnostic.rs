//! What is wrong with a file: where, which field, what to write instead.

use serde::Serialize;
use std::fmt;

#[cfg(test)]
mod tests;

/// More errors than this are only counted: nobody reads them.
const SHOWN_AT_MOST: usize = 100;
/// A longer line of the file is not repeated beneath its error.
const LINE_SHOWN_AT_MOST: usize = 160;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is taken; somebody should look at this.
    Warning,
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Place {
    /// From 1; 0 if the whole file is meant.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// Characters, on this line.
    #[serde(skip)]
    pub length: u32,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file, as it was named.
    pub file: String,
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// The field, such as `services.api.backends[2].port`; empty for the whole file.
    #[serde(rename = "field")]
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// Another place that has to do with it, such as the first of two equal keys.
    pub related: Option<Related>,
    /// The line of the file, if it is not too long.
    #[serde(skip)]
    pub source: Option<String>,
}

/// Another place that has to do with a diagnostic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Related {
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// What is there.
    pub message: String,
}

/// Everything that is wrong with a file, in the order of the file.
///
/// Displayed as a compiler would; serialised as a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    #[serde(skip)]
    left_out: usize,
}

impl Diagnostics {
    /// Sorts `list` and fills in the lines of `text` that it speaks of. `count` is how many there were in all.
    /// If there are too many, warnings are left out before errors.
    pub(crate) fn new(mut list: Vec<Diagnostic>, count: usize, text: &str) -> Self {
        list.sort_by_key(|diagnostic| (diagnostic.severity, diagnostic.place));
        list.truncate(SHOWN_AT_MOST);
        list.sort_by_key(|diagnostic| diagnostic.place);
        let left_out = count.saturating_sub(list.len());
        let mut lines = text.lines().zip(1_u32..);
        let mut current = lines.next();
        for diagnostic in &mut list {
            while current.is_some_and(|(_, number)| number < diagnostic.place.line) {
                current = lines.next();
            }
            diagnostic.source = current
                .filter(|(line, number)| *number == diagnostic.place.line && line.len() <= LINE_SHOWN_AT_MOST)
                .map(|(line, _)| line.trim_end().to_owned());
        }
        Self { list, left_out }
    }

    /// One error about the file as a whole (it can't be read, ...).
    #[must_use]
    pub fn of_file(file: &str, message: &str, help: &str) -> Self {
        let diagnostic = Diagnostic {
            severity: Severity::Error,
            file: file.to_owned(),
            place: Place { line: 0, column: 0, length: 0 },
            path: String::new(),
            message: message.to_owned(),
            help: Some(help.to_owned()),
            related: None,
            source: None,
        };
        Self { list: vec![diagnostic], left_out: 0 }
    }

    /// Without warnings.
    #[must_use]
    pub(crate) fn mistakes(mut self) -> Self {
        self.list.retain(|diagnostic| diagnostic.severity == Severity::Error);
        self
    }

    /// Each diagnostic.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are, those left out included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len().saturating_add(self.left_out)
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl std::error::Error for Diagnostics {}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.list.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        if self.left_out > 0 {
            writeln!(f, "\n... and {} more", self.left_out)?;
        }
        Ok(())
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.severity, self.message)?;
        if self.place.line == 0 {
            writeln!(f, "  --> {}", self.file)?;
        } else {
            write!(f, "  --> {}:{}:{}", self.file, self.place.line, self.place.column)?;
            writeln!(f, "{}{}", if self.path.is_empty() { "" } else { "  " }, self.path)?;
        }
        let number = self.place.line.to_string();
        let margin = " ".repeat(number.len());
        if let Some(source) = &self.source {
            // A tab would move the caret: both lines show it as one space.
            let shown = source.replace('\t', " ");
            let before = self.place.column.saturating_sub(1) as usize;
            let rest = shown.chars().count().saturating_sub(before).max(1);
            let carets = (self.place.length.max(1) as usize).min(rest);
            writeln!(f, "{margin} |\n{number} | {shown}")?;
            writeln!(f, "{margin} | {}{}", " ".repeat(before), "^".repeat(carets))?;
        }
        if let Some(related) = &self.related {
            let Place { line, column, .. } = related.place;
            writeln!(f, "{margin} = {}:{line}:{column}: {}", self.file, related.message)?;
        }
        if let Some(help) = &self.help {
            writeln!(f, "{margin} = help: {help}")?;
        }
        Ok(())
    }
}
