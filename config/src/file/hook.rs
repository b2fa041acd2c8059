//! `hooks`.

use crate::model::{HookEvent, Policy};
use crate::scalar::{AbsolutePath, Time, WebUrl};
use crate::table::{List, section};

section! {
    /// A program that is run when something has happened, with what happened as JSON at its standard input and in its environment.
    HookSection {
        /// What it is run after: before-leading, after-leading, before-standby, after-standby, before-drain, after-drain, before-upgrade, after-upgrade, config-applied, backend-down, fault.
        on: optional List<HookEvent>,
        /// Only for these groups, and the backends of services in them. Default: all.
        groups: optional List<String>,
        /// The program, by its absolute path, and its arguments; no shell.
        run: optional List<String>,
        /// In place of `run`: what happened is posted there as JSON; https:// or http://. It is done if the answer is 200 to 299; redirects are not followed.
        url: optional WebUrl,
        /// Of an https `url`: PEM file of the authorities that are trusted. Default: those of the system.
        ca_file: optional AbsolutePath,
        /// Of an https `url`: the file with the token that is sent as `Authorization: Bearer`.
        token_file: optional AbsolutePath,
        /// In place of `run` and `on`: a notify script of keepalived and its arguments, which `GROUP` or `INSTANCE`, the name, the state and the priority follow.
        notify: optional List<String>,
        /// It is killed, with all that it started, if it runs for longer. Default: 10s.
        deadline: optional Time<100, 600_000>,
        /// What comes of its failure: ignore; before something that is planned also hold (it waits, and the hook is run again) or abort. It is in status, metrics and the log, and there is an alarm until it succeeds. Default: ignore.
        on_failure: optional Policy,
    }
}
