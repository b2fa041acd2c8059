//! The kernel settings this room relies on: set, remembered in a file, shown, and put back.
//!
//! What was found before the first change is kept on disk, so that also a later life of this process can
//! put it back.
//!
//! Somebody else may change them at any time (`sysctl --system`): they are looked at again from time to time.

use crate::border::{Advice, KernelSetting};
use fulcrum_config::preflight::Line;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where the kernel shows them.
const ROOT: &str = "/proc/sys";
/// The same where somebody gives them to a container, whose own can't be written to.
const GIVEN: &str = "/run/host/proc/sys";
/// The file in the state directory.
const FILE: &str = "kernel-settings.json";
/// The value of rp_filter that drops what comes in by another interface than the answer would leave by.
pub(crate) const STRICT: u8 = 1;

/// A setting by its path below `/proc/sys`, and the value it must have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wanted {
    name: String,
    value: &'static str,
}

impl Wanted {
    /// Why the daemon could not set it here, if it is not set and can't be.
    pub(crate) fn unsettable(&self) -> Option<Line> {
        let path = root().join(&self.name);
        // Of an interface that is not there.
        let found = read(&path).ok()?;
        if found == self.value {
            return None;
        }
        let error = fs::OpenOptions::new().write(true).open(&path).err()?;
        let Self { name, value } = self;
        Some(Line::failed(
            "sysctl",
            name,
            format!(
                "it is {found} and must be {value}, which can't be set from here ({error}): this node would answer ARP for VIPs that it does not lead"
            ),
            format!(
                "sysctl -w {name}={value} from outside, and the same in /etc/sysctl.d; in a container, mount /proc/sys/net of the host at {GIVEN}/net"
            ),
        ))
    }
}

/// What an interface with VIPs behind it needs.
pub(crate) fn for_interface(interface: &str) -> [Wanted; 2] {
    let wanted = |name: &str, value| Wanted { name: format!("net/ipv4/conf/{interface}/{name}"), value };
    [
        // Answer ARP only for addresses of the interface itself: never for the VIPs on the loopback.
        wanted("arp_ignore", "1"),
        // Never name a VIP as the sender of an ARP request: neighbours would learn this node's MAC for it.
        wanted("arp_announce", "2"),
    ]
}

/// What a device that carries a virtual MAC needs.
pub(crate) fn for_virtual_mac(device: &str) -> [Wanted; 6] {
    let v4 = |name: &str, value| Wanted { name: format!("net/ipv4/conf/{device}/{name}"), value };
    let v6 = |name: &str, value| Wanted { name: format!("net/ipv6/conf/{device}/{name}"), value };
    [
        v4("arp_ignore", "8"),
        v4("arp_announce", "2"),
        // Answers leave by the interface below, so the way back is never the way in.
        v4("rp_filter", "2"),
        // The device only receives; it needs no addresses of its own.
        v6("accept_ra", "0"),
        v6("autoconf", "0"),
        v6("addr_gen_mode", "1"),
    ]
}

/// Those in force.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    root: PathBuf,
    file: Option<PathBuf>,
    /// What was found before the first change, by name.
    originals: BTreeMap<String, String>,
    /// What this node keeps as it must be.
    kept: BTreeSet<Wanted>,
    shown: BTreeMap<String, KernelSetting>,
}

/// A setting that somebody else changed.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) name: String,
    pub(crate) wanted: &'static str,
    pub(crate) found: String,
    /// Why it could not be set again.
    pub(crate) error: Option<io::Error>,
}

impl Settings {
    /// Reads what an earlier life left to be put back. Without a directory nothing outlives the process.
    pub(crate) fn load(directory: Option<&Path>) -> io::Result<Self> {
        Self::load_at(root(), directory)
    }

    fn load_at(root: &Path, directory: Option<&Path>) -> io::Result<Self> {
        let file = directory.map(|directory| directory.join(FILE));
        let mut originals = BTreeMap::new();
        if let Some(file) = &file {
            match fs::read(file) {
                Ok(bytes) => match serde_json::from_slice(&bytes) {
                    Ok(remembered) => originals = remembered,
                    Err(error) => put_aside(file, &error),
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { root: root.to_owned(), file, originals, kept: BTreeSet::new(), shown: BTreeMap::new() })
    }

    /// Sets what differs. An error names the setting.
    pub(crate) fn apply(&mut self, wanted: &[Wanted]) -> Result<(), String> {
        let mut failed = Vec::new();
        for wanted in wanted {
            if let Err(error) = self.apply_one(wanted) {
                let Wanted { name, value } = wanted;
                failed.push(format!("{ROOT}/{name} could not be set to {value}: {error}"));
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
    }

    /// Gives what was found if it was not what is wanted.
    fn apply_one(&mut self, wanted: &Wanted) -> io::Result<Option<String>> {
        let path = self.root.join(&wanted.name);
        let found = read(&path)?;
        let differs = found != wanted.value;
        let original = self.originals.get(&wanted.name).cloned();
        self.shown.insert(
            wanted.name.clone(),
            KernelSetting {
                name: wanted.name.clone(),
                wanted: wanted.value.to_owned(),
                found: original.clone().unwrap_or_else(|| found.clone()),
                value: found.clone(),
                good: !differs,
                set_by_us: original.is_some(),
                advice: None,
            },
        );
        self.kept.insert(wanted.clone());
        if !differs {
            return Ok(None);
        }
        if original.is_none() {
            // Remembered before it is changed: a crash in between puts back what already is.
            self.originals.insert(wanted.name.clone(), found.clone());
            self.save()?;
        }
        fs::write(&path, wanted.value)?;
        if let Some(shown) = self.shown.get_mut(&wanted.name) {
            wanted.value.clone_into(&mut shown.value);
            shown.good = true;
            shown.set_by_us = true;
        }
        Ok(Some(found))
    }

    /// Looks at all that were set, and sets what somebody else changed. Gives what there is to tell.
    pub(crate) fn keep(&mut self) -> Vec<Kept> {
        let mut told = Vec::new();
        for wanted in self.kept.clone() {
            let Wanted { name, value: wanted_value } = wanted.clone();
            let was_good = self.shown.get(&name).is_none_or(|shown| shown.good);
            match self.apply_one(&wanted) {
                Ok(None) => {}
                Ok(Some(found)) => told.push(Kept { name, wanted: wanted_value, found, error: None }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // It went with its interface, and is set anew when that returns.
                    self.kept.remove(&wanted);
                    self.shown.remove(&name);
                }
                Err(error) if was_good => {
                    let found = self.shown.get(&name).map(|shown| shown.value.clone()).unwrap_or_default();
                    told.push(Kept { name, wanted: wanted_value, found, error: Some(error) });
                }
                Err(_) => {}
            }
        }
        told
    }

    /// Whether everything that an interface with VIPs behind it needs is set.
    pub(crate) fn is_good(&self, interface: &str) -> bool {
        let good = |wanted: &Wanted| self.shown.get(&wanted.name).is_some_and(|shown| shown.good);
        for_interface(interface).iter().all(good)
    }

    /// Looks at the reverse path filter of `interface`; `several` says whether this machine has other interfaces
    /// that answers may leave by. The kernel takes the larger of the interface's value and that for all.
    pub(crate) fn look_at_reverse_path(&mut self, interface: &str, several: bool) {
        let name = format!("net/ipv4/conf/{interface}/rp_filter");
        let values = [self.root.join(&name), self.root.join("net/ipv4/conf/all/rp_filter")]
            .map(|path| read(&path).ok()?.parse::<u8>().ok());
        let [Some(own), all] = values else { return drop(self.shown.remove(&name)) };
        let value = own.max(all.unwrap_or_default());
        let advice = Advice {
            harm: format!(
                "packets for VIPs that come in by {interface} are dropped if the way back to their sender is by \
                 another interface"
            ),
            remedy: format!("if such ways exist, sysctl -w {name}=2 (loose), and the same in /etc/sysctl.d"),
        };
        let setting = self.shown.entry(name.clone()).or_insert_with(|| KernelSetting {
            name,
            wanted: "0 or 2".to_owned(),
            found: value.to_string(),
            value: String::new(),
            good: true,
            set_by_us: false,
            advice: Some(advice),
        });
        setting.value = value.to_string();
        setting.good = value != STRICT || !several;
    }

    /// Puts back everything that this process or an earlier life changed.
    pub(crate) fn restore(&mut self) {
        for (name, value) in std::mem::take(&mut self.originals) {
            if let Err(error) = fs::write(self.root.join(&name), &value) {
                // An interface that is gone took its settings with it.
                tracing::debug!(setting = name, value, %error, "kernel setting not put back");
            }
        }
        self.kept.clear();
        for shown in self.shown.values_mut().filter(|shown| shown.advice.is_none()) {
            shown.set_by_us = false;
            shown.value.clone_from(&shown.found);
        }
        if let Some(file) = &self.file {
            let _ = fs::remove_file(file);
        }
    }

    /// All of them, for people.
    pub(crate) fn shown(&self) -> Vec<KernelSetting> {
        self.shown.values().cloned().collect()
    }

    fn save(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory)?;
        }
        let new = file.with_extension("new");
        let mut written = fs::File::create(&new)?;
        written.write_all(&serde_json::to_vec_pretty(&self.originals)?)?;
        written.sync_all()?;
        fs::rename(&new, file)
    }
}

fn root() -> &'static Path {
    let given = Path::new(GIVEN);
    if given.join("net").is_dir() { given } else { Path::new(ROOT) }
}

fn read(path: &Path) -> io::Result<String> {
    Ok(fs::read_to_string(path)?.trim().to_owned())
}

/// A damaged file is no reason not to serve: it is kept for people, and a new one begun.
fn put_aside(file: &Path, error: &serde_json::Error) {
    let bad = file.with_extension("json.bad");
    let kept = fs::rename(file, &bad);
    tracing::warn!(
        file = %file.display(), %error, kept_as = %bad.display(), kept = kept.is_ok(),
        "the remembered kernel settings are damaged: what an earlier life of this process changed can't be put \
         back; check arp_ignore and arp_announce of its interfaces by hand"
    );
}

#[cfg(test)]
mod tests;
