//! The text of a page of metrics, as Prometheus reads it.
//!
//! Each series is written once, straight into the text of its family: with thousands of backends there are hundreds of
//! thousands of them.

use std::cell::RefCell;
use std::fmt::Write;
use std::rc::Rc;

#[cfg(test)]
mod tests;

/// What a family's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
}

impl Kind {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// A page in the making.
#[derive(Debug, Default)]
pub(super) struct Page {
    families: Vec<Rc<Family>>,
}

/// All series of one name.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: String,
    pub(super) help: String,
    pub(super) kind: Kind,
    /// The names of the labels in their order, and where each stands among the values.
    labels: Vec<(usize, String)>,
    lines: RefCell<String>,
}

/// One series; it is to be given its value once.
pub(super) struct Series<'a, V> {
    family: &'a Family,
    values: &'a [V],
}

impl Page {
    pub(super) fn gauge(&mut self, name: &str, help: &str, labels: &[&str]) -> Rc<Family> {
        self.family(name, help, labels, Kind::Gauge)
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, labels: &[&str]) -> Rc<Family> {
        self.family(name, help, labels, Kind::Counter)
    }

    /// A gauge without labels.
    pub(super) fn value(&mut self, name: &str, help: &str, value: f64) {
        self.gauge(name, help, &[]).with_label_values::<&str>(&[]).set(value);
    }

    /// A counter without labels.
    pub(super) fn count(&mut self, name: &str, help: &str, count: u64) {
        self.counter(name, help, &[]).with_label_values::<&str>(&[]).set(super::number(count));
    }

    fn family(&mut self, name: &str, help: &str, labels: &[&str], kind: Kind) -> Rc<Family> {
        let mut labels: Vec<(usize, String)> =
            labels.iter().enumerate().map(|(place, label)| (place, (*label).to_owned())).collect();
        labels.sort_by(|one, other| one.1.cmp(&other.1));
        let (name, help) = (name.to_owned(), help.to_owned());
        let family = Rc::new(Family { name, help, kind, labels, lines: RefCell::default() });
        self.families.push(Rc::clone(&family));
        family
    }

    /// The families that have a series, in the order of their names.
    pub(super) fn families(mut self) -> Vec<Rc<Family>> {
        self.families.retain(|family| !family.lines.borrow().is_empty());
        self.families.sort_by(|one, other| one.name.cmp(&other.name));
        self.families
    }

    /// The page.
    pub(super) fn text(self) -> String {
        let families = self.families();
        let heads = families.len().saturating_mul(256);
        let length =
            families.iter().map(|family| family.lines.borrow().len()).fold(heads, usize::saturating_add);
        let mut text = String::with_capacity(length);
        for family in families {
            let Family { name, help, kind, lines, .. } = &*family;
            // Writing to a String does not fail.
            let _infallible = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {}", kind.word());
            text.push_str(&lines.take());
        }
        text
    }
}

impl Family {
    /// The names of its labels, in their order.
    #[cfg(test)]
    pub(super) fn labels(&self) -> impl Iterator<Item = &str> {
        self.labels.iter().map(|(_, label)| label.as_str())
    }

    /// The series whose labels have these values, in the order in which the labels were given.
    pub(super) fn with_label_values<'a, V: AsRef<str>>(&'a self, values: &'a [V]) -> Series<'a, V> {
        Series { family: self, values }
    }
}

impl<V: AsRef<str>> Series<'_, V> {
    /// What it is.
    pub(super) fn set(&self, value: f64) {
        let mut lines = self.family.lines.borrow_mut();
        lines.push_str(&self.family.name);
        let mut before = '{';
        for (place, label) in &self.family.labels {
            lines.push(before);
            lines.push_str(label);
            lines.push_str("=\"");
            escape(self.values.get(*place).map_or("", AsRef::as_ref), &mut lines);
            lines.push('"');
            before = ',';
        }
        if before == ',' {
            lines.push('}');
        }
        let _infallible = writeln!(lines, " {value}");
    }
}

fn escape(value: &str, into: &mut String) {
    for character in value.chars() {
        match character {
            '\\' => into.push_str("\\\\"),
            '"' => into.push_str("\\\""),
            '\n' => into.push_str("\\n"),
            other => into.push(other),
        }
    }
}
