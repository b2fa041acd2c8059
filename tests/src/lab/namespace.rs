//! A network namespace, and running something inside of it.

use super::process::{ip_batch, output};
use crate::error::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// Where `ip netns` keeps its names.
pub(super) const DIRECTORY: &str = "/run/netns";

/// A named network namespace; the lab's sweep removes it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes it, without IPv6 duplicate address detection, which would delay every address by a second.
    pub(super) fn new(name: String) -> Result<Self> {
        output("ip", &["netns", "add", &name])?;
        let namespace = Self { name };
        namespace.enter(|| -> Result<()> {
            for (key, value) in [
                ("ipv6/conf/all/accept_dad", "0"),
                ("ipv6/conf/default/accept_dad", "0"),
                // FRR's leader sends router advertisements; addresses come from the lab alone.
                ("ipv6/conf/all/accept_ra", "0"),
                ("ipv6/conf/default/accept_ra", "0"),
                ("ipv6/conf/all/disable_ipv6", "0"),
                ("ipv6/conf/default/disable_ipv6", "0"),
            ] {
                std::fs::write(format!("/proc/sys/net/{key}"), value).context(format!("set {key}"))?;
            }
            Ok(())
        })??;
        ip_batch(Some(&namespace), "link set lo up\n")?;
        Ok(namespace)
    }

    /// Its name, for `ip netns exec`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(DIRECTORY).join(&self.name)
    }

    /// Moves the calling thread into this namespace for the rest of its life: sockets it opens and programs
    /// it starts belong here.
    ///
    /// # Errors
    /// The namespace is gone, or this process may not enter it.
    pub fn enter_thread(&self) -> Result<()> {
        let path = self.path();
        let file = File::open(&path).context(format!("open {}", path.display()))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .context(format!("enter namespace {}", self.name))
    }

    /// Runs `work` on a thread inside of this namespace and gives its result.
    ///
    /// # Errors
    /// The namespace can't be entered, or `work` panicked.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter_thread()?;
                Ok(work())
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}
