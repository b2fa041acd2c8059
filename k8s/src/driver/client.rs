//! The way to a cluster's API.

use crate::words;
use fulcrum_config::ClusterAccess;
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{ClientBuilder, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::ErrorResponse;
use kube::{Client, Config};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tower::util::option_layer;
use tower::{BoxError, ServiceExt};

const CONNECT: Duration = Duration::from_secs(5);
/// Longer than a watch lasts ([`super::WATCH`]): what is silent for longer is dead.
const READ: Duration = Duration::from_secs(60);
/// A connection on which nothing comes for so long is asked, so often, and given up; or if what was sent is not acknowledged.
const IDLE: Duration = Duration::from_secs(10);
const PROBE: Duration = Duration::from_secs(5);
const PROBES: u32 = 2;
const UNHEARD: Duration = Duration::from_secs(15);
const WRITE: Duration = Duration::from_secs(10);
/// Where a pod finds its account.
const POD_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Of each file.
const SIZE_AT_MOST: u64 = 1 << 20;

/// Connects nothing yet.
pub(crate) async fn client(access: &ClusterAccess) -> Result<Client, String> {
    let mut config = match access {
        ClusterAccess::InCluster => Config::incluster().map_err(|error| {
            format!(
                "the service account of this pod can't be read: {}: mount it, or write `kubeconfig`",
                chain(&error)
            )
        })?,
        ClusterAccess::Kubeconfig(path) => of_file(path)
            .await
            .map_err(|why| format!("the kubeconfig {} can't be used: {why}", path.display()))?,
    };
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(READ);
    config.write_timeout = Some(WRITE);
    connected(&config).map_err(|why| format!("the kubeconfig can't be used: {why}"))
}

/// As kube makes it, but that it looks after connections on which nothing comes: a watch is one for most of its time, and says
/// nothing either when the machine behind it has lost its power.
fn connected(config: &Config) -> Result<Client, String> {
    if config.proxy_url.is_some() {
        return Err("it asks for an HTTP proxy, by which no API is reached: take `proxy-url` out".to_owned());
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_keepalive(Some(IDLE));
    connector.set_keepalive_interval(Some(PROBE));
    connector.set_keepalive_retries(Some(PROBES));
    connector.set_tcp_user_timeout(Some(UNHEARD));
    let connector = config.rustls_https_connector_with_connector(connector).map_err(|error| chain(&error))?;
    let mut connector = TimeoutConnector::new(connector);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
    let http = http.map_err(BoxError::from);
    let auth = option_layer(config.auth_layer().map_err(|error| chain(&error))?);
    let headers = config.extra_headers_layer().map_err(|error| chain(&error))?;
    let client = ClientBuilder::new(http, config.default_namespace.clone());
    Ok(client.with_layer(&headers).with_layer(&auth).with_layer(&config.base_uri_layer()).build())
}

async fn of_file(path: &Path) -> Result<Config, String> {
    let kubeconfig = Kubeconfig::read_from(path).map_err(|error| chain(&error))?;
    let options = KubeConfigOptions::default();
    Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| chain(&error))
}

/// What stands for the contents of the files that say how the API is reached: it is another when one has changed.
pub(super) fn fingerprint(access: &ClusterAccess) -> u64 {
    let content = |path: PathBuf| {
        let is_small =
            std::fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() <= SIZE_AT_MOST);
        if is_small { std::fs::read(&path).unwrap_or_default() } else { Vec::new() }
    };
    words::fingerprint(files(access).into_iter().map(content))
}

/// A pod's token is read again by the client itself, too, but a minute late, also after it was refused.
fn files(access: &ClusterAccess) -> Vec<PathBuf> {
    let ClusterAccess::Kubeconfig(path) = access else {
        return ["ca.crt", "token"].map(|name| Path::new(POD_ACCOUNT).join(name)).into();
    };
    let mut files = vec![path.clone()];
    let Ok(kubeconfig) = Kubeconfig::read_from(path) else { return files };
    let clusters = kubeconfig.clusters.into_iter().filter_map(|named| named.cluster?.certificate_authority);
    let users = kubeconfig.auth_infos.into_iter().filter_map(|named| named.auth_info);
    let users = users
        .flat_map(|user| [user.client_certificate, user.client_key, user.token_file].into_iter().flatten());
    files.extend(clusters.chain(users).map(PathBuf::from));
    files
}

/// An error and what caused it; of what the API server itself says, that alone, with what to do.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(kube::Error::SerdeError(_)) = cause.downcast_ref() {
            return "what answers is no object: the API server is too busy (429), or something else stands in its place"
                .to_owned();
        }
        if let Some(response) = cause.downcast_ref::<ErrorResponse>() {
            return answer(response);
        }
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

fn answer(response: &ErrorResponse) -> String {
    let advice = match response.code {
        401 => ": give the kubeconfig a token or certificate that is good",
        403 => ": give its account the rights that stand in packaging/kubernetes",
        429 => ": the API server is too busy, or keeps its time for others (flowschemas)",
        _ => "",
    };
    format!("{} ({}){advice}", response.message.trim(), response.code)
}
