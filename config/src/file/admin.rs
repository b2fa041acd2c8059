//! `admin`.

use crate::model::LogFormat;
use crate::scalar::{AbsolutePath, Name, Number};
use crate::table::section;
use std::net::SocketAddr;

section! {
    /// How operators reach the daemon.
    AdminSection {
        /// The Unix socket of the admin API. Default: /run/fulcrum/admin.sock.
        socket: optional AbsolutePath,
        /// A Unix group whose members may look. Default: none.
        viewer_group: optional Name,
        /// The admin API on TCP, with mutual TLS. Default: none.
        tcp: optional TcpAdminSection,
        /// Where /metrics, /healthz and /readyz are served in plain HTTP, such as 127.0.0.1:9127. Default: nowhere.
        metrics: optional SocketAddr,
        /// Where the last good configuration is kept. Default: /var/lib/fulcrum.
        state_dir: optional AbsolutePath,
        /// Backups that are made by themselves, in `backups` of the state directory.
        backups: optional BackupsSection,
        /// Crashes within half an hour after which this node leads only what no other can, for a while; 0: it is never held
        /// back. Default: 3.
        held_after_crashes: optional Number<0, 1_000>,
        /// How log lines look: `text` or `json`. Default: text.
        log: optional LogFormat,
    }
}

section! {
    /// Backups that are made by themselves after each change of the configuration.
    BackupsSection {
        /// How many are kept; 0: none is made. Default: 10.
        keep: optional Number<0, 1_000>,
        /// A file whose first line encrypts the private key in them. Default: none, and the key is left out.
        passphrase_file: optional AbsolutePath,
    }
}

section! {
    /// The admin API on TCP.
    TcpAdminSection {
        /// Where it listens.
        listen: required SocketAddr,
        /// PEM file of our certificate chain.
        certificate: required AbsolutePath,
        /// PEM file of its key.
        key: required AbsolutePath,
        /// PEM file of the authorities whose clients may look.
        viewer_ca: required AbsolutePath,
        /// PEM file of the authorities whose clients may change things.
        operator_ca: required AbsolutePath,
    }
}
