//! Why something of ours is not in the kernel.

use std::error::Error;
use std::io;

/// Why the fence or the plane is not in the kernel, or not on an interface.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The kernel takes no programs from this process.
    #[error(
        "this process may not load BPF programs (that takes CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN outside of a user namespace)"
    )]
    Forbidden,
    /// Something else.
    #[error("{what}: {why}")]
    Failed {
        /// What failed.
        what: String,
        /// Why, as the kernel says.
        why: String,
    },
}

impl KernelError {
    /// `what` failed because of `error`.
    pub(crate) fn of(what: impl Into<String>, error: &(dyn Error + 'static)) -> Self {
        if system_error(error).is_some_and(is_forbidden) {
            return Self::Forbidden;
        }
        Self::Failed { what: what.into(), why: chain(error) }
    }
}

/// The verifier's refusal of a program is another one: EACCES.
fn is_forbidden(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error())
}

/// The kernel's own error, wherever it stands in the chain.
pub(crate) fn system_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<io::Error>().filter(|e| e.raw_os_error().is_some()) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The error and its causes, each said once, in a line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        next = error.source();
    }
    shortened(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The verifier tells all that it did; what is wrong stands at the end.
fn shortened(text: &str) -> String {
    const BEGINNING: usize = 150;
    const END: usize = 450;
    let length = text.chars().count();
    if length <= BEGINNING.saturating_add(END) {
        return text.to_owned();
    }
    let beginning: String = text.chars().take(BEGINNING).collect();
    let end: String = text.chars().skip(length.saturating_sub(END)).collect();
    format!("{beginning} ... {end}")
}
