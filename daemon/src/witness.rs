//! The witness that holds a lock: takes it when the nodes need it, keeps it, gives it back. Without it nothing moves as
//! long as more than half of the nodes hear each other.
#![allow(clippy::disallowed_methods, reason = "a driver: when the lock was had is when it was asked for")]

mod etcd;
mod http;

use fulcrum_config::{Config, NodeName, Witness};
use fulcrum_k8s::driver::{Held, Lock as LeaseLock};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Between attempts to have what somebody else has, or whose keeper does not answer.
const AGAIN: Duration = Duration::from_millis(100);
/// The same of an API server, which others ask, too.
const AGAIN_API: Duration = Duration::from_millis(500);
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
    let mut follows = Witness::None;
    loop {
        let now = config();
        if follows != now.witness {
            if let Some(keeper) = &mut keeper {
                keeper.let_go(&ends).await;
            }
            seen.set(Known::default());
            keeper = Keeper::new(&now.witness, &now.node);
            follows = now.witness.clone();
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

/// A lock, wherever it is.
enum Lock {
    Etcd(etcd::Lock),
    Kubernetes(LeaseLock),
}

impl Lock {
    async fn look(&mut self) -> Result<Option<String>, String> {
        match self {
            Self::Etcd(lock) => lock.look().await,
            Self::Kubernetes(lock) => lock.look().await,
        }
    }

    async fn hold(&mut self) -> Result<Held, String> {
        match self {
            Self::Etcd(lock) => lock.hold().await,
            Self::Kubernetes(lock) => lock.hold().await,
        }
    }

    async fn give_back(&mut self) -> Result<(), String> {
        match self {
            Self::Etcd(lock) => lock.give_back().await,
            Self::Kubernetes(lock) => lock.give_back().await,
        }
    }

    fn again(&self) -> Duration {
        match self {
            Self::Etcd(_) => AGAIN,
            Self::Kubernetes(_) => AGAIN_API,
        }
    }
}

/// Has a lock when it is wanted.
struct Keeper {
    lock: Lock,
    ttl: Duration,
    node: String,
    /// It was wanted, and not given back since.
    wanted: bool,
    /// When what gave it was asked for, while it is had.
    since: Option<Instant>,
}

impl Keeper {
    fn new(witness: &Witness, node: &NodeName) -> Option<Self> {
        let node = node.to_string();
        let lock = match witness {
            Witness::None | Witness::Gateway { .. } => return None,
            Witness::Etcd(etcd) => Lock::Etcd(etcd::Lock::new(etcd.clone(), node.clone())),
            Witness::Kubernetes(lease) => Lock::Kubernetes(LeaseLock::new(lease.clone(), node.clone())),
        };
        Some(Self { lock, ttl: witness.ttl()?, node, wanted: false, since: None })
    }

    /// Does what is due. Gives when to come again.
    async fn turn(&mut self, wanted: bool, ends: &Ends, seen: &Seen) -> Duration {
        if !wanted && self.wanted {
            self.let_go(ends).await;
        }
        let done =
            if wanted { self.hold(ends).await } else { self.lock.look().await.map(|holder| (holder, LOOK)) };
        match done {
            Ok((holder, wait)) => {
                seen.set(Known { error: None, reached: true, holder });
                wait
            }
            Err(error) => {
                seen.set(Known { error: Some(error), reached: false, holder: None });
                if wanted { self.lock.again() } else { LOOK }
            }
        }
    }

    /// Takes the lock, or renews it.
    async fn hold(&mut self, ends: &Ends) -> Result<(Option<String>, Duration), String> {
        self.wanted = true;
        let third = self.ttl.checked_div(3).unwrap_or_default();
        if let Some(since) = self.since
            && since.elapsed() < third
        {
            return Ok((Some(self.node.clone()), third.saturating_sub(since.elapsed())));
        }
        let Held { holder, since } = self.lock.hold().await?;
        if self.since.is_some() && since.is_none() {
            tracing::error!(holder, "the witness's lock was taken from this node, which held it");
            ends.held.send_replace(None);
        }
        self.since = since;
        let Some(since) = since else { return Ok((holder, self.lock.again())) };
        // A part of it is left for the way, and for clocks that go at different paces.
        let most = self.ttl.saturating_mul(4).checked_div(5).unwrap_or_default();
        ends.held.send_replace(since.checked_add(most));
        Ok((holder, third.saturating_sub(since.elapsed())))
    }

    /// What was held is not any more, and then it is given back.
    async fn let_go(&mut self, ends: &Ends) {
        ends.held.send_replace(None);
        (self.wanted, self.since) = (false, None);
        if let Err(why) = self.lock.give_back().await {
            tracing::debug!("the witness's lock could not be given back: {why}; it ends by itself");
        }
    }
}
