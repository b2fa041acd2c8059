//! A Lease in a cluster, taken and renewed.

use super::client::{chain, client};
use super::teller::now;
use crate::lease::{Observed, Record};
use fulcrum_config::WitnessLease;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use std::time::{Duration, Instant};

/// For the whole of a request. The lock is to be had before a leader's time is over.
const PATIENCE: Duration = Duration::from_secs(1);
/// So much of a holder's name is shown.
const NAME_AT_MOST: usize = 63;

/// Who has a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The name of its node; nobody, if it was given back or taken by two at the same moment.
    pub holder: Option<String>,
    /// If it is this node: when what gave it the lock was asked for.
    pub since: Option<Instant>,
}

/// A lock that one node at a time has.
pub struct Lock {
    lease: WitnessLease,
    node: String,
    client: Option<Client>,
    observed: Observed,
    holds: bool,
}

impl Lock {
    /// Asks nobody yet.
    #[must_use]
    pub fn new(lease: WitnessLease, node: String) -> Self {
        Self { lease, node, client: None, observed: Observed::default(), holds: false }
    }

    /// Who has it, if anybody.
    ///
    /// # Errors
    /// The API does not answer, or refuses: says why.
    pub async fn look(&mut self) -> Result<Option<String>, String> {
        self.read().await?;
        Ok(self.holder())
    }

    /// Takes it, if nobody else has it, or renews it.
    ///
    /// # Errors
    /// The API does not answer, or refuses: says why. What was had until then lasts for its time.
    pub async fn hold(&mut self) -> Result<Held, String> {
        let found = self.read().await?;
        if !self.observed.may_take(&self.node, Instant::now()) {
            self.holds = false;
            return Ok(Held { holder: self.holder(), since: None });
        }
        let asked = Instant::now();
        self.holds = self.write(found, true).await?;
        let holder = self.holds.then(|| self.node.clone());
        Ok(Held { holder, since: self.holds.then_some(asked) })
    }

    /// If this node had it, it is free for others at once.
    ///
    /// # Errors
    /// The API does not answer, or refuses: it is free when its time is over.
    pub async fn give_back(&mut self) -> Result<(), String> {
        if !std::mem::take(&mut self.holds) {
            return Ok(());
        }
        let found = self.read().await?;
        if self.holder().is_some_and(|holder| holder == self.node) {
            self.write(found, false).await?;
        }
        Ok(())
    }

    fn holder(&self) -> Option<String> {
        let holder = self.observed.holder(Instant::now());
        holder.map(|name| name.chars().take(NAME_AT_MOST).collect())
    }

    async fn read(&mut self) -> Result<Option<Lease>, String> {
        let api = self.api().await?;
        let found = in_time(api.get_opt(&self.lease.name)).await;
        let found = self.answered(found)?;
        self.observed.handle(record(found.as_ref()), Instant::now());
        Ok(found)
    }

    /// In place of `found`, if that is still what it says. Gives whether it was.
    async fn write(&mut self, found: Option<Lease>, hold: bool) -> Result<bool, String> {
        let api = self.api().await?;
        let lease = self.wanted(found.as_ref(), hold);
        let params = PostParams { field_manager: Some("fulcrum".to_owned()), ..PostParams::default() };
        let written = if found.is_some() {
            in_time(api.replace(&self.lease.name, &params, &lease)).await
        } else {
            in_time(api.create(&params, &lease)).await
        };
        match written {
            Ok(lease) => {
                self.observed.handle(record(Some(&lease)), Instant::now());
                Ok(true)
            }
            Err(Failure::Refused(kube::Error::Api(response))) if response.code == 409 => Ok(false),
            Err(failure) => self.answered(Err(failure)),
        }
    }

    /// What the Lease is to say, with all that others wrote into it.
    fn wanted(&self, found: Option<&Lease>, hold: bool) -> Lease {
        let metadata = found.map_or_else(
            || ObjectMeta { name: Some(self.lease.name.clone()), ..ObjectMeta::default() },
            |found| found.metadata.clone(),
        );
        let before = found.and_then(|found| found.spec.clone()).unwrap_or_default();
        let is_new = before.holder_identity.as_deref() != Some(self.node.as_str());
        let (time, terms) = (MicroTime(now()), before.lease_transitions.unwrap_or_default());
        let spec = LeaseSpec {
            holder_identity: Some(if hold { self.node.clone() } else { String::new() }),
            lease_duration_seconds: i32::try_from(self.lease.ttl.as_secs()).ok(),
            acquire_time: if is_new { Some(time.clone()) } else { before.acquire_time.clone() },
            renew_time: Some(time),
            lease_transitions: Some(terms.saturating_add(i32::from(is_new))),
            ..before
        };
        Lease { metadata, spec: Some(spec) }
    }

    async fn api(&mut self) -> Result<Api<Lease>, String> {
        let client = match self.client.take() {
            Some(client) => client,
            None => client(&self.lease.access).await?,
        };
        self.client = Some(client.clone());
        Ok(Api::namespaced(client, &self.lease.namespace))
    }

    /// After a failure the client is made anew: its files may have changed.
    fn answered<T>(&mut self, answer: Result<T, Failure>) -> Result<T, String> {
        answer.map_err(|failure| {
            self.client = None;
            match failure {
                Failure::Late => format!("no answer within {} s", PATIENCE.as_secs()),
                Failure::Refused(error) => chain(&error),
            }
        })
    }
}

enum Failure {
    Late,
    Refused(kube::Error),
}

async fn in_time<T>(asked: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    let answer = tokio::time::timeout(PATIENCE, asked).await.map_err(|_| Failure::Late)?;
    answer.map_err(Failure::Refused)
}

/// A Lease that is not there is one that nobody has.
fn record(lease: Option<&Lease>) -> Record {
    let spec = lease.and_then(|lease| lease.spec.as_ref());
    let seconds = spec.and_then(|spec| u64::try_from(spec.lease_duration_seconds?).ok());
    Record {
        version: lease.and_then(|lease| lease.metadata.resource_version.clone()).unwrap_or_default(),
        holder: spec.and_then(|spec| spec.holder_identity.clone()).filter(|holder| !holder.is_empty()),
        lasts: Duration::from_secs(seconds.unwrap_or_default()),
    }
}
