//! How operators and monitoring reach the daemon: HTTP over a Unix socket, over TCP with mutual TLS, and a
//! plain listener for metrics alone.
//!
//! Who calls is known before the request is read ([`caller`]); what may be asked is one table ([`api`]).

mod api;
mod caller;
mod server;
mod tls;

pub(crate) use api::NO_SUCH_PATH;
pub(crate) use api::drill::path as path_of_strike;
pub(crate) use api::hooks::{Told, path as path_of_told};
pub(crate) use api::inplace::path as path_of_in_place;
pub(crate) use api::overrides::path as path_of_wish;
pub(crate) use api::sources::{Asked, path as path_of_source};
pub(crate) use server::{Bound, bind, serve};

use crate::node::Node;
use caller::{Caller, Role};

/// Reloads because of SIGHUP, which only root and the daemon's own user can send.
pub(crate) async fn reload_by_signal(node: &Node) {
    let caller = Caller { role: Role::Operator, who: "SIGHUP".to_owned() };
    // The outcome is in the log and the status.
    let _ = api::reload_as(node, &caller, crate::node::How::default()).await;
}
