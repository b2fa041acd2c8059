//! The witness that holds a lock: takes it when the nodes need it, keeps it, gives it back. Without it nothing moves as
//! long as more than half of the nodes hear each other.
#![allow(clippy::disallowed_methods, reason = "a driver: when the lock was had is when it was asked for")]

mod etcd;
mod http;

use etcd::{Client, Holder, Lease};
use fulcrum_config::{Config, Etcd, NodeName, Witness};
use http::Failure;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Between attempts to have what somebody else has, or whose keeper does not answer.
const AGAIN: Duration = Duration::from_millis(100);
/// How often it is looked at while it is not needed.
const LOOK: Duration = Duration::from_secs(5);

/// Both ends of what the election wants and has of the lock.
pub(crate) struct Ends {
    /// Whether it is to be had.
    pub(crate) wanted: watch::Receiver<bool>,
    /// Until when it is.
    pub(crate) held: watch::Sender<Option<Instant>>,
}

/// What is known of the witness, for people.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<Known>);

/// Of a witness that holds a lock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Why it was not reached, if it was asked.
    pub(crate) error: Option<String>,
    /// Whether it was reached.
    pub(crate) reached: bool,
    /// Who has the lock.
    pub(crate) holder: Option<String>,
}

impl From<Known> for fulcrum_lifecycle::Witness {
    fn from(Known { error, holder, .. }: Known) -> Self {
        Self { error, holder }
    }
}

impl Seen {
    pub(crate) fn get(&self) -> Known {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, known: Known) {
        let before =
            std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), known.clone());
        match (&before.error, &known.error) {
            (None, Some(error)) => {
                tracing::warn!("the witness can't be asked: {error}; nothing moves for that alone")
            }
            (Some(_), None) if known.reached => tracing::info!("the witness answers again"),
            _ => {}
        }
    }
}

/// Follows what the configuration says of the witness, for ever.
pub(crate) async fn keep(config: impl Fn() -> Arc<Config>, mut ends: Ends, seen: Arc<Seen>) {
    let mut keeper: Option<Keeper> = None;
    loop {
        let now = config();
        let etcd = match &now.witness {
            Witness::Etcd(etcd) => Some(etcd),
            Witness::None | Witness::Gateway { .. } => None,
        };
        if keeper.as_ref().map(|keeper| &keeper.etcd) != etcd {
            if let Some(keeper) = &mut keeper {
                keeper.let_go(&ends).await;
            }
            seen.set(Known::default());
            keeper = etcd.map(|etcd| Keeper::new(etcd, &now.node));
        }
        let wait = match &mut keeper {
            Some(keeper) => {
                let wanted = *ends.wanted.borrow_and_update();
                keeper.turn(wanted, &ends, &seen).await
            }
            None => LOOK,
        };
        tokio::select! {
            changed = ends.wanted.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// One lock.
struct Keeper {
    etcd: Etcd,
    node: String,
    client: Result<Client, String>,
    /// A lease, when it was asked for or renewed last, and whether the lock is held by it.
    lease: Option<(Lease, Instant, bool)>,
}

impl Keeper {
    fn new(etcd: &Etcd, node: &NodeName) -> Self {
        Self { etcd: etcd.clone(), node: node.to_string(), client: Client::new(etcd.clone()), lease: None }
    }

    /// Does what is due. Gives when to come again.
    async fn turn(&mut self, wanted: bool, ends: &Ends, seen: &Seen) -> Duration {
        if !wanted && self.lease.is_some() {
            self.let_go(ends).await;
        }
        let done = if wanted { self.hold(ends).await } else { self.look().await };
        match done {
            Ok((holder, wait)) => {
                seen.set(Known { error: None, reached: true, holder });
                wait
            }
            Err(error) => {
                seen.set(Known { error: Some(error), reached: false, holder: None });
                if wanted { AGAIN } else { LOOK }
            }
        }
    }

    async fn look(&mut self) -> Result<(Option<String>, Duration), String> {
        if self.client.is_err() {
            // Its files may be there by now.
            self.client = Client::new(self.etcd.clone());
        }
        let client = self.client.as_mut().map_err(|error| error.clone())?;
        let holder = client.look().await.map_err(|failure| failure.to_string())?;
        Ok((holder.map(|holder| holder.name), LOOK))
    }

    /// Takes the lock, or renews it.
    async fn hold(&mut self, ends: &Ends) -> Result<(Option<String>, Duration), String> {
        let third = self.etcd.ttl.checked_div(3).unwrap_or_default();
        if let Some((_, since, true)) = self.lease
            && since.elapsed() < third
        {
            return Ok((Some(self.node.clone()), third.saturating_sub(since.elapsed())));
        }
        let holder = self.ask().await.map_err(|failure| failure.to_string())?;
        let Some((lease, since, holds)) = &mut self.lease else { return Ok((None, AGAIN)) };
        let held = std::mem::replace(holds, holder.is(&self.node, *lease));
        if held && !*holds {
            tracing::error!(
                holder = holder.name,
                "the witness's lock was taken from this node, which held it"
            );
            ends.held.send_replace(None);
        }
        if *holds {
            // A part of it is left for the way, and for clocks that go at different paces.
            let most = self.etcd.ttl.saturating_mul(4).checked_div(5).unwrap_or_default();
            ends.held.send_replace(since.checked_add(most));
            return Ok((Some(holder.name), third.saturating_sub(since.elapsed())));
        }
        Ok((Some(holder.name), AGAIN))
    }

    /// Has a lease that is young, and asks for the lock by it.
    async fn ask(&mut self) -> Result<Holder, Failure> {
        let client = match &mut self.client {
            Ok(client) => client,
            Err(error) => return Err(Failure::Unreachable(error.clone())),
        };
        let asked = Instant::now();
        match &mut self.lease {
            Some((lease, since, _))
                if since.elapsed() >= self.etcd.ttl.checked_div(3).unwrap_or_default() =>
            {
                if client.renew(*lease).await? {
                    *since = asked;
                } else {
                    self.lease = None;
                }
            }
            Some(_) | None => {}
        }
        let lease = match self.lease {
            Some((lease, ..)) => lease,
            None => {
                let lease = client.grant(self.etcd.ttl).await?;
                self.lease = Some((lease, asked, false));
                lease
            }
        };
        client.take(&self.node, lease).await
    }

    /// What was held is not any more, and then it is given back.
    async fn let_go(&mut self, ends: &Ends) {
        ends.held.send_replace(None);
        if let (Some((lease, ..)), Ok(client)) = (self.lease.take(), &mut self.client)
            && let Err(failure) = client.give_back(lease).await
        {
            tracing::debug!("the witness's lock could not be given back: {failure}; it ends by itself");
        }
    }
}
