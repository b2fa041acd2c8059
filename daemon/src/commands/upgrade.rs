//! `fulcrum upgrade-binary`: another version on this node, while others lead what it led.
#![allow(clippy::disallowed_methods, reason = "waits between two looks, and says how long things took")]

use crate::admin::Told;
use crate::cli::upgrade::UpgradeOptions;
use crate::client::Client;
use crate::commands::overrides::grant;
use crate::commands::{ask, hook};
use crate::error::Failure;
use crate::node::{Target, Upgrading, Wish};
use crate::show::counted;
use files::Installed;
use fulcrum_lifecycle::Status;
use fulcrum_lifecycle::hooks::UpgradeEnd;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

mod files;
mod in_place;
mod words;

/// As hooks are told what does it.
const CAUSE: &str = "upgrade-binary";
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// How long the node may go on leading that is to lead nothing.
const LEAVES: Duration = Duration::from_secs(60);
/// How long the new binary may take to say its version and to check the file.
const TRIAL: Duration = Duration::from_secs(20);
/// How long the command that restarts the daemon may take.
const RESTART: Duration = Duration::from_secs(120);

/// Takes each step, and says so; what is refused changes nothing, and a binary that does not become ready is taken back.
pub(crate) fn upgrade(options: &UpgradeOptions) -> Result<ExitCode, Failure> {
    let client = Client::new(&options.connect);
    let begun = Instant::now();
    let before = ask::<Status>(&client)?;
    let installed = Installed::find(options.installed.as_deref())?;
    let version = try_out(&options.new, Path::new(&before.config.file))?;
    let in_place = options.in_place || is_alone(&before);
    let how = if in_place { ", in place" } else { "" };
    let path = installed.path.display();
    say(format!("{}: {} is to become {version}{how} ({path})", before.node, before.version));
    let upgrading =
        Upgrading { cause: CAUSE.to_owned(), to: Some(version.clone()), forced: !options.forced.is_empty() };
    match hook::tell(&client, &Told::Before(upgrading.clone()))? {
        Some(0) => {}
        Some(hooks) => say(format!("{} run", counted(hooks, "hook"))),
        None => say(format!("hooks before-upgrade were not run: {} does not know them", before.version)),
    }
    let drained = is_drained(&before);
    let result = if in_place {
        in_place::change(&client, options, &before, &installed, &version)
    } else {
        change(&client, options, &before, &installed, drained, &version)
    };
    let outcome = if result.is_ok() { UpgradeEnd::Done } else { UpgradeEnd::Abandoned };
    let result =
        result.and_then(|()| if drained || in_place { Ok(()) } else { undrain(&client, &before, options) });
    if let Err(failure) = hook::tell(&client, &Told::After(upgrading, outcome)) {
        say(format!("hooks after-upgrade were not told: {failure}"));
    }
    result?;
    installed.forget();
    say(format!("{} runs {version} and is ready, after {:.1} s", before.node, begun.elapsed().as_secs_f64()));
    Ok(ExitCode::SUCCESS)
}

fn undrain(client: &Client, before: &Status, options: &UpgradeOptions) -> Result<(), Failure> {
    ask_for(client, &Wish::Undrain(Target::Node(before.node.clone())), &options.forced)
}

/// Drains the node and replaces the binary, or puts all back as it was.
fn change(
    client: &Client,
    options: &UpgradeOptions,
    before: &Status,
    installed: &Installed,
    drained: bool,
    version: &str,
) -> Result<(), Failure> {
    if drained {
        say(format!("{} is drained already, and stays so afterwards", before.node));
    } else {
        ask_for(
            client,
            &Wish::Drain(Target::Node(before.node.clone()), Some(options.deadline)),
            &options.forced,
        )?;
    }
    if let Err(why) = leave(client, options.deadline) {
        return Err(taken_back(client, before, drained, &options.forced, &why));
    }
    if let Err(why) = installed.replace(&options.new) {
        return Err(taken_back(client, before, drained, &options.forced, &why));
    }
    say(format!("installed; restarting by '{}'", options.restart));
    let result = restart(client, options, before, Some(version));
    if let Err(why) = result {
        return Err(abandon(client, options, installed, before, drained, &why));
    }
    Ok(())
}

fn say(line: impl Display) {
    println!("{line}");
}

/// The version of a binary that runs here and takes the file.
fn try_out(new: &Path, file: &Path) -> Result<String, Failure> {
    let refused = |why: String| Failure::Refused(format!("{}: {why}; nothing was changed", new.display()));
    if !new.is_file() {
        return Err(refused("there is no such file".to_owned()));
    }
    let said = words::run(Command::new(new).arg("version"), TRIAL).map_err(refused)?;
    let version = said.trim().strip_prefix("fulcrum ").ok_or_else(|| {
        refused(format!(
            "'version' says {:?}, not which fulcrum it is",
            said.chars().take(80).collect::<String>()
        ))
    })?;
    words::run(Command::new(new).arg("check").arg(file), TRIAL)
        .map_err(|why| refused(format!("it does not take {}: {why}", file.display())))?;
    Ok(version.to_owned())
}

/// Whether no other node could lead what this one does.
fn is_alone(status: &Status) -> bool {
    let peers = &status.peer_link.peers;
    if led(status).is_empty() {
        return false;
    }
    if !peers.is_empty() {
        return peers.iter().all(|peer| peer.state != "up");
    }
    // Without keys nothing is known of the others: whether one takes over shows.
    let file = crate::node::read(Path::new(&status.config.file));
    file.is_ok_and(|(_, parsed)| parsed.config.nodes.len() == 1)
}

fn is_drained(status: &Status) -> bool {
    let own = format!("lb-node {}", status.node);
    status.overrides.iter().any(|it| it.of == own)
}

fn ask_for(client: &Client, wish: &Wish, forced: &[String]) -> Result<(), Failure> {
    grant(client, wish, forced).map(|done| print!("{done}"))
}

fn led(status: &Status) -> Vec<&str> {
    status.groups.iter().filter(|it| it.role == "leader").map(|it| it.name.as_str()).collect()
}

/// Waits until this node leads nothing, and until the connections that it proxies have ended or `deadline` is over.
fn leave(client: &Client, deadline: Duration) -> Result<(), String> {
    let begun = Instant::now();
    let mut told = String::new();
    loop {
        let status = ask::<Status>(client).map_err(|failure| failure.to_string())?;
        let leads = led(&status);
        let proxied = status.services.iter().filter(|it| it.mode == "proxy").map(|it| it.connections);
        let connections = proxied.fold(0, u64::saturating_add);
        let left = usize::try_from(connections).unwrap_or(usize::MAX);
        if leads.is_empty() && (left == 0 || begun.elapsed() >= deadline) {
            say(match left {
                0 => "it leads nothing, and every connection that it proxied has ended".to_owned(),
                _ => format!(
                    "it leads nothing; {} will be cut: the deadline is over",
                    counted(left, "connection")
                ),
            });
            return Ok(());
        }
        if !leads.is_empty() && begun.elapsed() >= LEAVES {
            return Err(format!("it leads {} after {} s still", leads.join(", "), LEAVES.as_secs()));
        }
        let line = match leads.as_slice() {
            [] => {
                let rest = deadline.saturating_sub(begun.elapsed()).as_secs();
                format!("{} left, for {rest} s at most", counted(left, "connection"))
            }
            leads => format!("it leads {} still", leads.join(", ")),
        };
        // Not each second of a long drain.
        let kind: String = line.chars().filter(|it| !it.is_ascii_digit()).collect();
        if told != kind {
            say(line);
            told = kind;
        }
        std::thread::sleep(LOOK);
    }
}

/// Restarts the daemon, and waits until another process answers, of `version` if one is named, that is ready and as much
/// in touch as the one before.
fn restart(
    client: &Client,
    options: &UpgradeOptions,
    before: &Status,
    version: Option<&str>,
) -> Result<(), String> {
    let begun = Instant::now();
    words::run(Command::new("sh").arg("-c").arg(&options.restart), RESTART)
        .map_err(|why| format!("'{}' failed: {why}", options.restart))?;
    let restarted = Instant::now();
    loop {
        let lacks = match ask::<Status>(client) {
            Err(failure) => failure.to_string(),
            Ok(status) => match words::lacks(before, &status, version, begun.elapsed()) {
                None => return Ok(()),
                Some(lacks) => lacks,
            },
        };
        if restarted.elapsed() >= options.ready {
            return Err(format!("after {} s {lacks}", options.ready.as_secs()));
        }
        std::thread::sleep(LOOK);
    }
}

/// Ends the drain if it is this command's; what to do if that can't be.
fn end_drain(client: &Client, before: &Status, drained: bool, forced: &[String]) -> String {
    if drained {
        return String::new();
    }
    match ask_for(client, &Wish::Undrain(Target::Node(before.node.clone())), forced) {
        Ok(()) => String::new(),
        Err(failure) => {
            format!("\n  it is drained still: 'fulcrum undrain lb-node {}': {failure}", before.node)
        }
    }
}

/// Nothing was replaced: the node takes part again.
fn taken_back(client: &Client, before: &Status, drained: bool, forced: &[String], why: &str) -> Failure {
    let and = end_drain(client, before, drained, forced);
    Failure::Refused(format!("{why}; the binary was not replaced, and {} runs on{and}", before.version))
}

/// The old binary goes on.
fn abandon(
    client: &Client,
    options: &UpgradeOptions,
    installed: &Installed,
    before: &Status,
    drained: bool,
    why: &str,
) -> Failure {
    say(format!("{why}: the binary of before is put back"));
    let back = installed.put_back().and_then(|()| restart(client, options, before, None));
    let and = match back {
        Ok(()) => {
            let and = end_drain(client, before, drained, &options.forced);
            format!("{} runs again and is ready{and}", before.version)
        }
        Err(failed) => format!(
            "and the one before does not become ready either: {failed}\n  the node leads nothing as long as another can; look at \
             its log, then 'fulcrum undrain lb-node {}'",
            before.node
        ),
    };
    Failure::Refused(format!("the new binary was abandoned: {why}\n  {and}"))
}

/// The file that is replaced, unless one is named: this very program.
fn own_path() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| Failure::Io { what: "where is this program".to_owned(), error })
}
