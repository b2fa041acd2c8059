//! The listeners, and one bounded HTTP/1 connection after the other.
#![allow(clippy::disallowed_methods, reason = "a driver: its timeouts are its own")]

use crate::admin::api::{self, Answer, refuse};
use crate::admin::caller::{self, Caller, Role};
use crate::admin::tls::Tls;
use crate::error::Failure;
use crate::inplace::Estate;
use crate::node::Node;
use fulcrum_config::{Admin, Fragments, TcpAdmin};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt::{set_ip_freebind, set_ipv6_freebind};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// By these names another process gets them.
const SOCKET: &str = "admin.socket";
const TLS: &str = "admin.tcp";
const METRICS: &str = "admin.metrics";
/// Connections of one listener at a time; further ones wait in its queue.
const CONNECTIONS: usize = 64;
/// A request's head must fit.
const HEAD_BYTES: usize = 16 * 1024;
/// But for what a source says no request needs a body; a small one is ignored.
const BODY_BYTES: usize = 4 * 1024;
/// What a source says must have come by then.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// A request's head must have come by then.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// A whole connection takes at most so long: longer than the longest handover.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(240);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;
/// Time between two attempts to open a listener.
const RETRY: Duration = Duration::from_secs(3);
/// How long the listeners of services may take before those of the daemon itself do not wait for them any more.
const SERVICES_FIRST: Duration = Duration::from_secs(1);
/// Wait after an error of accept that does not go away by itself at once (no files left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The listeners, before there is a node to speak of.
#[derive(Debug)]
pub(crate) struct Bound {
    unix: UnixListener,
    viewers: Option<u32>,
    tls: Option<TcpAdmin>,
    metrics: Option<SocketAddr>,
}

/// Opens the Unix socket. The others follow once the node runs: it does not need them. The caller holds the lock of the socket's path, so one that is there is a dead one's.
pub(crate) fn bind(admin: &Admin, estate: &Estate) -> Result<Bound, Failure> {
    let viewers = match &admin.viewer_group {
        Some(name) => Some(caller::group_id(name).map_err(|error| io_failure("admin.viewer_group", error))?),
        None => None,
    };
    let socket = admin.socket.display().to_string();
    let inherited = estate.inherit(SOCKET).map(std::os::unix::net::UnixListener::from);
    let unix = inherited
        .map_or_else(|| bind_unix(&admin.socket, viewers), UnixListener::from_std)
        .and_then(|unix| {
            estate.keep(SOCKET, unix.as_fd().try_clone_to_owned()?);
            Ok(unix)
        })
        .map_err(|error| io_failure(&format!("{socket}: the admin socket can't be opened"), error))?;
    Ok(Bound { unix, viewers, tls: admin.tcp.clone(), metrics: admin.metrics })
}

fn io_failure(what: &str, error: io::Error) -> Failure {
    Failure::Io { what: what.to_owned(), error }
}

/// The address need not be there yet.
fn bind_tcp(what: &str, address: SocketAddr, estate: &Estate) -> Result<TcpListener, String> {
    let listen = || -> io::Result<TcpListener> {
        if let Some(inherited) = estate.inherit(what) {
            return TcpListener::from_std(inherited.into());
        }
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        if address.is_ipv4() {
            set_ip_freebind(&socket, true)?;
        } else {
            set_ipv6_freebind(&socket, true)?;
        }
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    let kept = |listener: TcpListener| {
        estate.keep(what, listener.as_fd().try_clone_to_owned()?);
        Ok(listener)
    };
    listen().and_then(kept).map_err(|error| {
        format!("{what}: {address} can't be listened on: {error}; is it taken ('ss -ltnp' says by whom)?")
    })
}

fn open_tls(files: &TcpAdmin, estate: &Estate) -> Result<(TcpListener, Arc<Tls>), String> {
    let tls = Arc::new(Tls::new(files.clone())?);
    Ok((bind_tcp(TLS, files.listen, estate)?, tls))
}

/// Opens a listener, however long that takes; until then it is an alarm. A port that a service wants, too, is the
/// service's.
async fn opened<T>(name: &'static str, node: &Node, open: impl Fn() -> Result<T, String>) -> T {
    let mut lb = node.handle().lb();
    let _ = tokio::time::timeout(SERVICES_FIRST, lb.wait_for(|lb| lb.ready)).await;
    loop {
        match open() {
            Ok(listener) => {
                if node.set_listener(name, Ok(())) {
                    tracing::info!("{name} listens now");
                }
                return listener;
            }
            Err(error) => {
                if node.set_listener(name, Err(error.clone())) {
                    tracing::error!("{error}; it is tried again every {} s", RETRY.as_secs());
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// The socket gets its mode while nobody can reach it: in a new directory of ours, then it is moved.
fn bind_unix(path: &Path, viewers: Option<u32>) -> io::Result<UnixListener> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let private = tempfile::Builder::new().prefix(".fulcrum").tempdir_in(parent)?;
    let name = private.path().join("s");
    let listener = UnixListener::bind(&name)?;
    let mode = if viewers.is_some() { 0o660 } else { 0o600 };
    if viewers.is_some() {
        chown(&name, None, viewers)?;
    }
    std::fs::set_permissions(&name, std::fs::Permissions::from_mode(mode))?;
    std::fs::rename(&name, path)?;
    Ok(listener)
}

/// Serves the listeners for as long as the runtime lives.
pub(crate) fn serve(bound: Bound, node: &Arc<Node>) {
    let (unix, viewers) = (bound.unix, bound.viewers);
    if let Some(files) = bound.tls {
        node.estate().spawn(serve_tls(files, Arc::clone(node)));
    }
    if let Some(address) = bound.metrics {
        node.estate().spawn(serve_metrics(address, Arc::clone(node)));
    }
    node.estate().spawn(serve_unix(unix, viewers, Arc::clone(node)));
}

/// Accepts one connection after the other, no more than [`CONNECTIONS`] at a time.
async fn accept<S, F>(
    what: &'static str,
    mut poll_accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<S>>,
    handle: impl Fn(S) -> F,
) where
    S: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match poll_fn(&mut poll_accept).await {
            Ok(stream) => {
                let work = handle(stream);
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, work).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "{what} can't accept; are there files left (LimitNOFILE=)?");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_unix(listener: UnixListener, viewers: Option<u32>, node: Arc<Node>) {
    let next = |cx: &mut Context<'_>| listener.poll_accept(cx).map_ok(|(stream, _)| stream);
    accept("the admin socket", next, |stream: UnixStream| {
        let node = Arc::clone(&node);
        async move {
            match caller::of_unix(&stream, viewers) {
                Ok(caller) => connection(stream, caller, node).await,
                Err(error) => tracing::warn!(%error, "the kernel does not say who calls; refused"),
            }
        }
    })
    .await;
}

async fn serve_tls(files: TcpAdmin, node: Arc<Node>) {
    let (listener, tls) = opened(TLS, &node, || open_tls(&files, node.estate())).await;
    let next = |cx: &mut Context<'_>| listener.poll_accept(cx);
    accept(TLS, next, |(stream, from): (TcpStream, SocketAddr)| {
        let (tls, node) = (Arc::clone(&tls), Arc::clone(&node));
        async move {
            match tokio::time::timeout(HEAD_TIMEOUT, tls.accept(stream, from)).await {
                Ok(Ok((stream, caller))) => connection(stream, Some(caller), node).await,
                Ok(Err(error)) => {
                    tracing::info!(target: "audit", who = %from, result = %error, "TLS refused")
                }
                Err(_) => tracing::info!(target: "audit", who = %from, result = "too slow", "TLS refused"),
            }
        }
    })
    .await;
}

async fn serve_metrics(address: SocketAddr, node: Arc<Node>) {
    let listener = opened(METRICS, &node, || bind_tcp(METRICS, address, node.estate())).await;
    let next = |cx: &mut Context<'_>| listener.poll_accept(cx);
    accept(METRICS, next, |(stream, from): (TcpStream, SocketAddr)| {
        let caller = Caller { role: Role::Monitor, who: from.to_string() };
        connection(stream, Some(caller), Arc::clone(&node))
    })
    .await;
}

/// One request, one answer; a caller without a role gets a refusal.
async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, caller: Option<Caller>, node: Arc<Node>) {
    let service = service_fn(|request: Request<Incoming>| {
        let (caller, node) = (caller.clone(), Arc::clone(&node));
        async move { Ok::<Answer, Infallible>(respond(&node, caller, request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an admin connection ended early");
    }
}

async fn respond(node: &Arc<Node>, caller: Option<Caller>, request: Request<Incoming>) -> Answer {
    let Some(caller) = caller else {
        return refuse(StatusCode::FORBIDDEN, "only root, the daemon's user and admin.viewer_group may ask");
    };
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let has_text = caller.role >= Role::Operator && api::sources::has_text(path);
    let limit = if has_text { Fragments::SIZE } else { BODY_BYTES };
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "no request needs so large a body");
    }
    let text = if has_text {
        let read = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, limit).collect()).await;
        let text = read.ok().and_then(Result::ok).map(|body| body.to_bytes());
        match text.and_then(|bytes| String::from_utf8(bytes.into()).ok()) {
            Some(text) => text,
            None => {
                return refuse(StatusCode::BAD_REQUEST, "the text is too long, is no UTF-8 or did not come");
            }
        }
    } else {
        String::new()
    };
    api::answer(node, &caller, &head.method, path, text).await
}
