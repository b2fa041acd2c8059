//! The cluster's API by a `kubectl proxy`: plain HTTP, so that a request costs no start of a program.

use fulcrum_tests::lab::kubernetes::KubernetesApi;
use fulcrum_tests::lab::{Machine, Process};
use fulcrum_tests::wait::wait_until;
use fulcrum_tests::{LabError, Result};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

const PROXY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8001);
/// Requests under way while many objects are made.
const AT_ONCE: usize = 6;
const ANSWER: Duration = Duration::from_secs(20);

/// The admin's way to it.
pub(super) struct Api {
    machine: Machine,
    _proxy: Process,
}

impl Api {
    pub(super) fn start(kube: &KubernetesApi) -> Result<Self> {
        let proxy = kube.admin()?.spawn("proxy", &["proxy", "--port=8001"])?;
        let api = Self { machine: kube.etcd.machine.clone(), _proxy: proxy };
        wait_until("kubectl proxy", ANSWER, || api.get("/version").is_ok())?;
        Ok(api)
    }

    pub(super) fn get(&self, path: &str) -> Result<Value> {
        self.ask("GET", path, "")
    }

    pub(super) fn post(&self, path: &str, object: &Value) -> Result<Value> {
        self.ask("POST", path, &object.to_string())
    }

    pub(super) fn patch(&self, path: &str, patch: &Value) -> Result<Value> {
        self.ask("PATCH", path, &patch.to_string())
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Result<Value> {
        self.machine.namespace().enter(|| ask(method, path, body))?
    }

    /// Makes many objects, several at a time.
    pub(super) fn create_all(&self, path: &str, objects: &[Value]) -> Result<()> {
        let share = objects.len().div_ceil(AT_ONCE).max(1);
        let make = |objects: &[Value]| {
            self.machine
                .namespace()
                .enter(|| objects.iter().try_for_each(|it| ask("POST", path, &it.to_string()).map(drop)))?
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                objects.chunks(share).map(|objects| scope.spawn(move || make(objects))).collect();
            threads.into_iter().try_for_each(|it| it.join().map_err(|_| LabError::new("it panicked"))?)
        })
    }
}

/// One request. By HTTP/1.0, so that the answer ends with the connection.
fn ask(method: &str, path: &str, body: &str) -> Result<Value> {
    let mut stream = TcpStream::connect(PROXY)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let code = head.split(' ').nth(1).unwrap_or_default();
    if !code.starts_with('2') {
        return Err(LabError::new(format!("{method} {path}: {code}: {body}")));
    }
    Ok(serde_json::from_str(body)?)
}
