//! `fulcrum backup`, `fulcrum backups` and `fulcrum restore`.
#![allow(clippy::disallowed_methods, reason = "names of files show the time; nothing is decided by it")]

use crate::backup::file::{self, Backup, SealedKey};
use crate::backup::gather::{Occasion, Source, gather};
use crate::backup::restore::{self, How, Restored, Verdict};
use crate::backup::seal::{self, Passphrase};
use crate::backup::shelf;
use crate::cli::backup::{BackupOptions, BackupsOptions, RestoreOptions};
use crate::cli::config::CONFIG_FILE;
use crate::client::Client;
use crate::commands::{ask, print};
use crate::error::Failure;
use crate::lock;
use crate::node::read;
use fulcrum_config::{Admin, Backups, Config};
use fulcrum_lifecycle::Status;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

pub(crate) fn backup(options: &BackupOptions) -> Result<ExitCode, Failure> {
    let file = options.connect.config.clone().unwrap_or_else(|| PathBuf::from(CONFIG_FILE));
    let config = configuration(&file)?;
    let passphrase = passphrase(options.passphrase_file.as_deref(), Some(&config.admin.backups))?;
    let source = Source {
        node: config.node.to_string(),
        config_file: file,
        state_dir: config.admin.state_dir.clone(),
        key: config.peer.key.clone(),
        may_lack_file: false,
    };
    let roles = roles(options, &config);
    let occasion = Occasion { why: "asked for".to_owned(), roles, at: SystemTime::now() };
    let backup = gather(&source, occasion, passphrase.as_ref()).map_err(refuse)?;
    let (path, made) = match &options.to {
        Some(path) => (path.clone(), shelf::write(path, &backup).map(|()| true).map_err(refuse)?),
        None => shelf::put(&source.state_dir, &backup, kept(&config.admin.backups)).map_err(refuse)?,
    };
    for missing in &backup.missing {
        eprintln!("not in it: {missing}");
    }
    if let SealedKey::LeftOut { .. } = backup.key {
        eprintln!(
            "not in it: the private key of the peer link, for there is no passphrase to encrypt it with; a node that is \
             restored from it needs a new one ('fulcrum peer-key'), listed in the others' file\n  to have it in: \
             --passphrase-file FILE, {} or `admin: {{backups: {{passphrase_file: FILE}}}}`",
            seal::VARIABLE
        );
    }
    let same = if made { "" } else { " (nothing has changed since it was made)" };
    print(&format!("{}{same}\n", path.display()))
}

/// What the node is to its groups, if a daemon can say so.
fn roles(options: &BackupOptions, config: &Config) -> BTreeMap<String, String> {
    let mut connect = options.connect.clone();
    connect.socket = connect.socket.or_else(|| Some(config.admin.socket.clone()));
    let status = ask::<Status>(&Client::new(&connect)).ok();
    let groups = status.map(|status| status.groups).unwrap_or_default();
    groups.into_iter().map(|group| (group.name, group.role)).collect()
}

/// So many are kept where they are asked for, too.
fn kept(backups: &Backups) -> usize {
    let keep = if backups.keep == 0 { Backups::default().keep } else { backups.keep };
    usize::try_from(keep).unwrap_or(usize::MAX)
}

fn configuration(file: &Path) -> Result<Config, Failure> {
    let read = read(file).map_err(|mistakes| {
        refuse(format!(
            "\n{mistakes}\n{} is refused, and so it can't be told what belongs into a backup\n  correct it first; what ran \
             before is in the backups that were made by themselves ('fulcrum backups')",
            file.display()
        ))
    });
    read.map(|(_, parsed)| parsed.config)
}

/// From the file that is named, here, in the environment or in the configuration.
fn passphrase(named: Option<&Path>, configured: Option<&Backups>) -> Result<Option<Passphrase>, Failure> {
    let file = named.or_else(|| configured?.passphrase_file.as_deref());
    file.map(Passphrase::read).transpose().map_err(refuse)
}

fn refuse(why: impl Into<String>) -> Failure {
    Failure::Refused(why.into())
}

pub(crate) fn backups(options: &BackupsOptions) -> Result<ExitCode, Failure> {
    let file = options.config.path();
    // A bad file is when one looks for a backup.
    let state_dir = read(file).map_or_else(
        |_| {
            let from_systemd = std::env::var("STATE_DIRECTORY").ok();
            let mut candidates = crate::last_good::candidates(file, from_systemd.as_deref()).into_iter();
            let has_some = candidates.find(|it| shelf::directory(it).exists());
            has_some.unwrap_or_else(|| Admin::default().state_dir)
        },
        |(_, parsed)| parsed.config.admin.state_dir,
    );
    let directory = shelf::directory(&state_dir);
    let kept = shelf::list(&directory)
        .map_err(|error| Failure::Io { what: format!("{} can't be read", directory.display()), error })?;
    let (mut page, mut list) = (String::new(), Vec::new());
    for kept in &kept {
        let read = kept.read();
        if options.json {
            list.push(match &read {
                Ok(backup) => json!({
                    "file": kept.path, "node": backup.node, "made_at": backup.made_at, "why": backup.why,
                    "serial": backup.serial, "version": backup.version, "roles": backup.roles, "key": key_word(backup),
                }),
                Err(damage) => json!({ "file": kept.path, "damage": damage.to_string() }),
            });
        }
        let line = match &read {
            Ok(backup) => format!(
                "made {} {}, serial {}, key {}",
                backup.made_at,
                backup.why,
                backup.serial,
                key_word(backup)
            ),
            Err(damage) => format!("DAMAGED: {damage}"),
        };
        page.push_str(&format!("{}\n  {line}\n", kept.path.display()));
    }
    if options.json {
        return print(&format!("{:#}\n", json!(list)));
    }
    if kept.is_empty() {
        page = format!("there are none in {}\n", directory.display());
    }
    print(&page)
}

fn key_word(backup: &Backup) -> &'static str {
    match backup.key {
        SealedKey::Encrypted { .. } => "encrypted",
        SealedKey::LeftOut { .. } => "left out",
        SealedKey::None => "none",
    }
}

pub(crate) fn restore(options: &RestoreOptions) -> Result<ExitCode, Failure> {
    let of_file = |why: String| refuse(format!("{}: {why}", options.file.display()));
    let backup = file::read(&options.file).map_err(|damage| {
        of_file(format!("{damage}; nothing was written\n  'fulcrum backups' lists others"))
    })?;
    let passphrase = passphrase(options.passphrase_file.as_deref(), None)?;
    let restored =
        restore::read(&backup, passphrase.as_ref(), options.without_key, options.force).map_err(of_file)?;
    // Until the end: no daemon starts in the middle.
    let _locks = (lock::take(&restored.config.admin.socket)?, lock::take_namespace()?);
    let verdict = others(&backup, &restored, options.force)?;
    let steps = restore::plan(&backup, &restored, &options.config, verdict.forget_serial).map_err(refuse)?;
    let mut page = format!(
        "backup of {} by fulcrum {}, made {} {}, serial {}\n",
        backup.node, backup.version, backup.made_at, backup.why, backup.serial
    );
    for line in steps.iter().map(restore::Step::words).chain(verdict.notes) {
        page.push_str(&format!("  {line}\n"));
    }
    for note in &restored.notes {
        page.push_str(&format!("to do: {note}\n"));
    }
    if options.dry_run {
        return print(&format!("{page}nothing was written (--dry-run)\n"));
    }
    let replaces = steps.iter().any(|step| step.how == How::Replace);
    if replaces && !options.replace {
        return Err(refuse(format!(
            "\n{page}files are there that say something else; nothing was written\n  to replace them: --replace (a backup \
             of them is made first)"
        )));
    }
    if replaces {
        let before = before(&restored, &options.config, passphrase.as_ref())?;
        page.push_str(&format!("  what was there is in {}\n", before.display()));
    }
    print(&page)?;
    restore::write(&steps).map_err(refuse)?;
    print(&format!(
        "{} is restored. Next: 'fulcrum preflight {file}', then start it ('systemctl start fulcrum'): it comes as standby \
         where another leads, and takes from its peers what is newer\n",
        backup.node,
        file = options.config.display()
    ))
}

/// Whether the node lives elsewhere, as the links show and the peers know. The links first, by questions that name no
/// sender: whoever speaks to the peers from an address that another has takes it away from that one.
fn others(backup: &Backup, restored: &Restored, force: bool) -> Result<Verdict, Failure> {
    let node = &restored.config.node;
    let doubles = fulcrum_vip_manager::preflight::doubles(&restored.config);
    let doubles = restore::judge_links(node, &doubles, force).map_err(refuse)?;
    if !doubles.is_empty() {
        return Ok(Verdict { notes: doubles, forget_serial: false });
    }
    peers(backup, restored, force)
}

fn peers(backup: &Backup, restored: &Restored, force: bool) -> Result<Verdict, Failure> {
    let node = &restored.config.node;
    let nobody = |why: &str| {
        let note = format!(
            "no peer can be asked whether {node} lives elsewhere ({why}): make sure that it does not"
        );
        Ok(Verdict { notes: vec![note], forget_serial: false })
    };
    if restored.config.peer.pins.is_empty() {
        return nobody("no node has `keys`");
    }
    let on_disk = || fulcrum_peer::key::export(&restored.config.peer.key).ok().map(|(text, _)| text);
    let Some(key) = restored.key.clone().or_else(on_disk) else {
        return nobody("its private key is not here");
    };
    match fulcrum_peer::alive::ask(&restored.config, &key) {
        Ok(known) => restore::judge(node, backup.serial, &known, force).map_err(refuse),
        Err(why) => nobody(&why),
    }
}

/// A backup of what is about to be replaced.
fn before(restored: &Restored, file: &Path, passphrase: Option<&Passphrase>) -> Result<PathBuf, Failure> {
    let source = restore::source(restored, file);
    let occasion =
        Occasion { why: "before a restore".to_owned(), roles: BTreeMap::new(), at: SystemTime::now() };
    let old = gather(&source, occasion, passphrase)
        .and_then(|old| shelf::put(&source.state_dir, &old, kept(&restored.config.admin.backups)));
    old.map(|(path, _)| path).map_err(|why| {
        refuse(format!("no backup can be made of what is there, so nothing was written: {why}"))
    })
}
