//! Who calls, and what they may do.

use crate::sys;
use std::fmt;
use std::io;
use tokio::net::UnixStream;

#[cfg(test)]
mod tests;

/// What a caller may do; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Metrics and health of the daemon, as anybody who reaches the plain listener.
    Monitor,
    /// Look.
    Viewer,
    /// Change things.
    Operator,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) role: Role,
    /// For the audit log: `uid 0 pid 4711`, `certificate 3f..a9 from 10.0.0.7:4242`.
    pub(crate) who: String,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Monitor => "monitor",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        })
    }
}

/// Who is at the other end of `stream`, by the kernel's word; `None` if they may do nothing.
pub(crate) fn of_unix(stream: &UnixStream, viewers: Option<u32>) -> io::Result<Option<Caller>> {
    let peer = stream.peer_cred()?;
    let mut groups = sys::peer_groups(stream)?;
    groups.push(peer.gid());
    let own = rustix::process::geteuid().as_raw();
    let pid = peer.pid().map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
    let who = format!("uid {} pid {pid}", peer.uid());
    Ok(role(peer.uid(), &groups, own, viewers).map(|role| Caller { role, who }))
}

fn role(uid: u32, groups: &[u32], own: u32, viewers: Option<u32>) -> Option<Role> {
    if uid == 0 || uid == own {
        Some(Role::Operator)
    } else if viewers.is_some_and(|viewers| groups.contains(&viewers)) {
        Some(Role::Viewer)
    } else {
        None
    }
}

/// The number of the Unix group `name`, which may be a number itself.
pub(crate) fn group_id(name: &str) -> io::Result<u32> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let groups = std::fs::read_to_string("/etc/group")?;
    find_group(&groups, name).ok_or_else(|| {
        let what =
            format!("there is no group {name} in /etc/group; create it, or correct admin.viewer_group");
        io::Error::new(io::ErrorKind::NotFound, what)
    })
}

/// A line is `name:password:id:members`.
fn find_group(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}
