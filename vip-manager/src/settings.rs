//! The kernel settings this room relies on: set, remembered in a file, shown, and put back.
//!
//! What was found before the first change is kept on disk, so that also a later life of this process can
//! put it back.

use crate::border::KernelSetting;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where the kernel shows them.
const ROOT: &str = "/proc/sys";
/// The file in the state directory.
const FILE: &str = "kernel-settings.json";

/// A setting by its path below `/proc/sys`, and the value it must have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wanted {
    name: String,
    value: &'static str,
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
    shown: BTreeMap<String, KernelSetting>,
}

impl Settings {
    /// Reads what an earlier life left to be put back. Without a directory nothing outlives the process.
    pub(crate) fn load(directory: Option<&Path>) -> io::Result<Self> {
        Self::load_at(Path::new(ROOT), directory)
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
        Ok(Self { root: root.to_owned(), file, originals, shown: BTreeMap::new() })
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

    fn apply_one(&mut self, wanted: &Wanted) -> io::Result<()> {
        let path = self.root.join(&wanted.name);
        let found = fs::read_to_string(&path)?.trim().to_owned();
        let differs = found != wanted.value;
        let original = self.originals.get(&wanted.name).cloned();
        self.shown.insert(
            wanted.name.clone(),
            KernelSetting {
                name: wanted.name.clone(),
                wanted: wanted.value.to_owned(),
                found: original.clone().unwrap_or_else(|| found.clone()),
                set_by_us: original.is_some(),
            },
        );
        if !differs {
            return Ok(());
        }
        if original.is_none() {
            // Remembered before it is changed: a crash in between puts back what already is.
            self.originals.insert(wanted.name.clone(), found);
            self.save()?;
        }
        fs::write(&path, wanted.value)?;
        if let Some(shown) = self.shown.get_mut(&wanted.name) {
            shown.set_by_us = true;
        }
        Ok(())
    }

    /// Puts back everything that this process or an earlier life changed.
    pub(crate) fn restore(&mut self) {
        for (name, value) in std::mem::take(&mut self.originals) {
            if let Err(error) = fs::write(self.root.join(&name), &value) {
                // An interface that is gone took its settings with it.
                tracing::debug!(setting = name, value, %error, "kernel setting not put back");
            }
        }
        for shown in self.shown.values_mut() {
            shown.set_by_us = false;
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
