//! A lock in etcd, by its JSON API (`/v3`, etcd 3.4 and later): a key that lasts as long as its lease.

use super::http::{self, Failure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fulcrum_config::Etcd;
use fulcrum_k8s::driver::Held;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio_rustls::TlsConnector;

#[cfg(test)]
mod tests;

/// A lock in etcd, that this node takes and gives back.
pub(super) struct Lock {
    etcd: Etcd,
    node: String,
    client: Result<Client, String>,
    /// A lease, and when it was asked for or renewed last.
    lease: Option<(Lease, Instant)>,
}

impl Lock {
    pub(super) fn new(etcd: Etcd, node: String) -> Self {
        Self { client: Client::new(etcd.clone()), etcd, node, lease: None }
    }

    /// Who has it, if anybody.
    pub(super) async fn look(&mut self) -> Result<Option<String>, String> {
        if self.client.is_err() {
            // Its files may be there by now.
            self.client = Client::new(self.etcd.clone());
        }
        let client = self.client.as_mut().map_err(|error| error.clone())?;
        let holder = client.look().await.map_err(|failure| failure.to_string())?;
        Ok(holder.map(|holder| holder.name))
    }

    /// Takes it, if nobody else has it, or renews it. Gives who has it now.
    pub(super) async fn hold(&mut self) -> Result<Held, String> {
        let (holder, lease, since) = self.ask().await.map_err(|failure| failure.to_string())?;
        let since = holder.is(&self.node, lease).then_some(since);
        Ok(Held { holder: Some(holder.name), since })
    }

    /// Has a lease that is young, and asks for the lock by it.
    async fn ask(&mut self) -> Result<(Holder, Lease, Instant), Failure> {
        let client = match &mut self.client {
            Ok(client) => client,
            Err(error) => return Err(Failure::Unreachable(error.clone())),
        };
        let asked = Instant::now();
        let third = self.etcd.ttl.checked_div(3).unwrap_or_default();
        match &mut self.lease {
            Some((lease, since)) if since.elapsed() >= third => {
                if client.renew(*lease).await? {
                    *since = asked;
                } else {
                    self.lease = None;
                }
            }
            Some(_) | None => {}
        }
        let (lease, since) = match self.lease {
            Some(lease) => lease,
            None => {
                let lease = (client.grant(self.etcd.ttl).await?, asked);
                *self.lease.insert(lease)
            }
        };
        Ok((client.take(&self.node, lease).await?, lease, since))
    }

    /// It is free for others at once, if this node had it.
    pub(super) async fn give_back(&mut self) -> Result<(), String> {
        match (self.lease.take(), &mut self.client) {
            (Some((lease, _)), Ok(client)) => {
                client.give_back(lease).await.map_err(|failure| failure.to_string())
            }
            _ => Ok(()),
        }
    }
}

/// A lease, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lease(i64);

/// Who has the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    /// What it wrote: its node's name.
    pub(super) name: String,
    lease: Lease,
}

impl Holder {
    /// Whether it is this one, by this lease.
    pub(super) fn is(&self, name: &str, lease: Lease) -> bool {
        self.name == name && self.lease == lease
    }
}

/// Asks the members in turn, first the one that answered last.
pub(super) struct Client {
    etcd: Etcd,
    tls: Option<TlsConnector>,
    member: usize,
    token: Option<String>,
}

impl Client {
    /// Reads the files of TLS; the password is read when it is asked for.
    pub(super) fn new(etcd: Etcd) -> Result<Self, String> {
        Ok(Self { tls: http::tls(&etcd)?, etcd, member: 0, token: None })
    }

    pub(super) async fn grant(&mut self, time: Duration) -> Result<Lease, Failure> {
        let answer = self.call("/v3/lease/grant", &json!({ "TTL": time.as_secs() })).await?;
        lease(answer.get("ID")).ok_or_else(|| unclear("/v3/lease/grant"))
    }

    /// Takes the lock if nobody has it. Gives who has it now.
    pub(super) async fn take(&mut self, name: &str, lease: Lease) -> Result<Holder, Failure> {
        let key = STANDARD.encode(&self.etcd.key);
        let answer = self.call("/v3/kv/txn", &taking(&key, name, lease)).await?;
        if answer.get("succeeded") == Some(&Value::Bool(true)) {
            return Ok(Holder { name: name.to_owned(), lease });
        }
        let range = answer.pointer("/responses/0/response_range");
        range.and_then(holder).ok_or_else(|| unclear("/v3/kv/txn"))
    }

    /// Whether the lease lasts on.
    pub(super) async fn renew(&mut self, Lease(id): Lease) -> Result<bool, Failure> {
        let answer = self.call("/v3/lease/keepalive", &json!({ "ID": id.to_string() })).await?;
        let result = answer.get("result").ok_or_else(|| unclear("/v3/lease/keepalive"))?;
        Ok(number(result.get("TTL")).is_some_and(|seconds| seconds > 0))
    }

    /// Ends the lease, and with it what it holds.
    pub(super) async fn give_back(&mut self, Lease(id): Lease) -> Result<(), Failure> {
        self.call("/v3/lease/revoke", &json!({ "ID": id.to_string() })).await.map(drop)
    }

    /// Who has the lock, if anybody.
    pub(super) async fn look(&mut self) -> Result<Option<Holder>, Failure> {
        let key = STANDARD.encode(&self.etcd.key);
        Ok(holder(&self.call("/v3/kv/range", &json!({ "key": key })).await?))
    }

    async fn call(&mut self, path: &str, body: &Value) -> Result<Value, Failure> {
        let mut last = Failure::Unreachable("there is no member to ask".to_owned());
        let members = self.etcd.endpoints.len();
        for turn in 0..members {
            let member = self.member.saturating_add(turn).checked_rem(members).unwrap_or_default();
            match self.call_member(member, path, body).await {
                Err(failure) if failure.is_of_this_member() => last = failure,
                answer => {
                    self.member = member;
                    return answer;
                }
            }
        }
        Err(last)
    }

    async fn call_member(&mut self, member: usize, path: &str, body: &Value) -> Result<Value, Failure> {
        let Some(to) = self.etcd.endpoints.get(member).cloned() else {
            return Err(Failure::Unreachable("there is no such member".to_owned()));
        };
        let at = |failure| match failure {
            Failure::Unreachable(why) => Failure::Unreachable(format!("{to}: {why}")),
            refused @ Failure::Refused { .. } => refused,
        };
        if let (Some((user, file)), None) = (&self.etcd.user, &self.token) {
            let password = tokio::fs::read_to_string(file).await;
            let password =
                password.map_err(|error| Failure::Unreachable(format!("{}: {error}", file.display())))?;
            let body = json!({ "name": user, "password": password.trim_end_matches('\n') });
            let answer =
                http::post(&to, "/v3/auth/authenticate", None, self.tls.as_ref(), &body).await.map_err(at)?;
            self.token = answer.get("token").and_then(Value::as_str).map(str::to_owned);
        }
        let answer = http::post(&to, path, self.token.as_deref(), self.tls.as_ref(), body).await.map_err(at);
        if answer.is_err() {
            // It may be out of date.
            self.token = None;
        }
        answer
    }
}

/// Writes the key if it is not there, or else reads it.
fn taking(key: &str, name: &str, Lease(id): Lease) -> Value {
    let put = json!({ "key": key, "value": STANDARD.encode(name), "lease": id.to_string() });
    json!({
        "compare": [{ "key": key, "target": "CREATE", "result": "EQUAL", "create_revision": "0" }],
        "success": [{ "request_put": put }],
        "failure": [{ "request_range": { "key": key } }],
    })
}

fn holder(range: &Value) -> Option<Holder> {
    let found = range.pointer("/kvs/0")?;
    let name = STANDARD.decode(found.get("value")?.as_str()?).ok()?;
    let name = String::from_utf8_lossy(&name).chars().take(63).collect();
    Some(Holder { name, lease: lease(found.get("lease")).unwrap_or(Lease(0)) })
}

fn lease(value: Option<&Value>) -> Option<Lease> {
    number(value).filter(|id| *id != 0).map(Lease)
}

/// Numbers of 64 bits are text there.
fn number(value: Option<&Value>) -> Option<i64> {
    match value? {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.as_i64(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn unclear(path: &str) -> Failure {
    Failure::Unreachable(format!("its answer to {path} is not understood; is it etcd 3.4 or later?"))
}
