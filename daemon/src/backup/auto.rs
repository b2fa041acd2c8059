//! Makes a backup after each change, beside everything else: nothing waits for it, and one that fails is an alarm.
#![allow(clippy::disallowed_methods, reason = "names of files show the time; nothing is decided by it")]

use super::gather::{Occasion, Source, gather};
use super::seal::Passphrase;
use super::shelf;
use crate::node::Node;
use fulcrum_lifecycle::{Alarm, Severity};
use fulcrum_vip_manager::Role;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;

/// Until one that failed is tried again.
const AGAIN: Duration = Duration::from_secs(30);

/// What is known of them.
#[derive(Debug, Default)]
pub(crate) struct Backups {
    changed: Notify,
    failed: Mutex<Option<String>>,
}

impl Backups {
    /// Something changed that is to be in a backup.
    pub(crate) fn changed(&self) {
        self.changed.notify_one();
    }

    /// That the last one could not be made.
    pub(crate) fn alarm(&self) -> Option<Alarm> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.as_ref().map(|why| Alarm {
            severity: Severity::Warning,
            what: format!("no backup could be made: {why}"),
            affected: "nothing that runs; 'fulcrum restore' would bring back what was before the last change"
                .to_owned(),
            remedy: "remove the cause that is named; it is tried again by itself, or say 'fulcrum backup'"
                .to_owned(),
        })
    }

    fn set(&self, failed: Option<String>) {
        let mut known = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = failed.as_ref().filter(|why| known.as_ref() != Some(why)) {
            tracing::warn!(target: "backup", "no backup could be made: {why}");
        }
        *known = failed;
    }
}

/// Makes them for as long as the node lives.
pub(crate) async fn keep(node: Arc<Node>) {
    let backups = node.backups();
    if node.admin().backups.keep == 0 {
        return;
    }
    loop {
        let again = async {
            match backups.alarm() {
                Some(_) => tokio::time::sleep(AGAIN).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = backups.changed.notified() => {}
            () = again => {}
        }
        let work = one(&node);
        let made = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()));
        match made {
            Ok((path, true)) => tracing::info!(target: "backup", file = %path.display(), "a backup was made"),
            Ok(_) => {}
            Err(why) => {
                backups.set(Some(why));
                continue;
            }
        }
        backups.set(None);
    }
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Init => "init",
        Role::Standby => "standby",
        Role::Leader => "leader",
    }
}

fn one(node: &Node) -> impl FnOnce() -> Result<(PathBuf, bool), String> + Send + 'static {
    let config = node.handle().config();
    let admin = node.admin().clone();
    let source = Source {
        node: config.node.to_string(),
        config_file: node.file().to_owned(),
        state_dir: admin.state_dir.clone(),
        key: config.peer.key.clone(),
        may_lack_file: false,
    };
    let vip = node.handle().vip();
    let roles = vip
        .borrow()
        .groups
        .iter()
        .map(|(name, seen)| (name.to_string(), word(seen.role).to_owned()))
        .collect();
    let occasion = Occasion { why: "after a change".to_owned(), roles, at: SystemTime::now() };
    move || {
        let passphrase = admin.backups.passphrase_file.as_deref().map(Passphrase::read).transpose()?;
        let backup = gather(&source, occasion, passphrase.as_ref())?;
        let keep = usize::try_from(admin.backups.keep).unwrap_or(usize::MAX);
        shelf::put(&source.state_dir, &backup, keep)
    }
}
