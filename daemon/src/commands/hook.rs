//! `fulcrum hook`: hooks around an upgrade that something else than this program does.

use crate::admin::{NO_SUCH_PATH, Told, path_of_told};
use crate::cli::upgrade::{HookOptions, UpgradeEvent};
use crate::client::{Client, Reply};
use crate::commands::{print, refused};
use crate::error::Failure;
use crate::node::Upgrading;
use crate::show::counted;
use crate::wire::ToldHooks;
use fulcrum_lifecycle::hooks::UpgradeEnd;
use hyper::Method;
use std::process::ExitCode;

pub(super) fn hook(options: &HookOptions) -> Result<ExitCode, Failure> {
    let upgrading = Upgrading { cause: options.cause.clone(), to: options.to.clone(), forced: options.force };
    let told = match (options.event, options.abandoned) {
        (UpgradeEvent::BeforeUpgrade, _) => Told::Before(upgrading),
        (UpgradeEvent::AfterUpgrade, false) => Told::After(upgrading, UpgradeEnd::Done),
        (UpgradeEvent::AfterUpgrade, true) => Told::After(upgrading, UpgradeEnd::Abandoned),
    };
    match tell(&Client::new(&options.connect), &told)? {
        Some(hooks) => print(&format!("{}\n", said(hooks, &told))),
        None => print("the daemon's version has no such hooks: none was run\n"),
    }
}

/// How many hooks were told; none if the daemon's version has no such hooks.
pub(super) fn tell(client: &Client, told: &Told) -> Result<Option<usize>, Failure> {
    match client.ask::<ToldHooks>(Method::POST, &path_of_told(told))? {
        Reply::Done(done) => Ok(Some(done.hooks)),
        Reply::Refused(refusal) if refusal.error == NO_SUCH_PATH => Ok(None),
        Reply::Refused(refusal) => Err(refused(&refusal)),
    }
}

/// For people.
fn said(hooks: usize, told: &Told) -> String {
    match told {
        Told::Before(_) => format!("{} run", counted(hooks, "hook")),
        Told::After(..) => format!("{} told", counted(hooks, "hook")),
    }
}
