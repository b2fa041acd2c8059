//! The way to a cluster's API.

use fulcrum_config::ClusterAccess;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use siphasher::sip::SipHasher24;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(5);
/// Longer than a watch lasts ([`super::WATCH`]): what is silent for longer is dead.
const READ: Duration = Duration::from_secs(60);
const WRITE: Duration = Duration::from_secs(10);
/// Of each file.
const SIZE_AT_MOST: u64 = 1 << 20;

/// Connects nothing yet.
pub(super) async fn client(access: &ClusterAccess) -> Result<Client, String> {
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
    Client::try_from(config).map_err(|error| format!("the kubeconfig can't be used: {}", chain(&error)))
}

async fn of_file(path: &Path) -> Result<Config, String> {
    let kubeconfig = Kubeconfig::read_from(path).map_err(|error| chain(&error))?;
    let options = KubeConfigOptions::default();
    Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| chain(&error))
}

/// What stands for the contents of the files that say how the API is reached: it is another when one has changed.
pub(super) fn fingerprint(access: &ClusterAccess) -> u64 {
    let mut hasher = SipHasher24::new();
    for path in files(access) {
        let is_small =
            std::fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() <= SIZE_AT_MOST);
        let content = if is_small { std::fs::read(&path).unwrap_or_default() } else { Vec::new() };
        hasher.write(&content);
        hasher.write_u8(0xff);
    }
    hasher.finish()
}

/// That of a pod is read again by the client itself.
fn files(access: &ClusterAccess) -> Vec<PathBuf> {
    let ClusterAccess::Kubeconfig(path) = access else {
        return vec![PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt")];
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

/// An error and what caused it.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
