//! The one place that decides.
//!
//! `plan` says what each engine is to do, [`join`] what the whole node looks like: pure functions of what was
//! asked and what the engines observed. [`start`] runs the thin driver that carries snapshots between them.

mod alarms;
mod control_plane;
mod driver;
#[cfg(test)]
mod fixture;
pub mod hooks;
mod join;
mod overrides;
mod peers;
mod plan;
mod ready;
mod sources;
mod status;
mod sync;
mod verdicts;
mod votes;

pub use control_plane::{Turn, able, is_settled, successor, turn};
pub use driver::{Asked, Engine, Engines, Handle, StartError, Succession, Trial, start};
pub use join::{Facts, Snapshots, Witness, join};
pub use overrides::{led_by, status as overrides};
pub use plan::{data_plane_missing, first_round_done, health_desired, lb_desired, peer_desired, vip_desired};
pub use ready::{Target, may_be_named, target};
pub use status::{
    Address, Alarm, Backend, Checks, Config, ConfigState, Failover, Fence, Finishing, Forwarded, Group, Hook,
    HookRun, Kubernetes, Leader, Limit, Link, Override, Peer, PeerLink, Plane, Pool, Proof, Service, Setting,
    Severity, Source, Status, TablesOf, Track, Votes,
};
pub use verdicts::{Agreement, By, Comparison, Following, ServiceView, View};
