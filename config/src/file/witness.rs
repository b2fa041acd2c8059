//! `witness`.

use crate::scalar::{AbsolutePath, EtcdKey, HeaderValue, LinkName, Name, Time, WebAddress};
use crate::table::{List, section};
use std::net::IpAddr;

section! {
    /// What decides for groups with `on_split: one` where the nodes fall apart into halves: one of `gateway`, `etcd` and `kubernetes`.
    /// It is never needed while more than half of the nodes hear each other.
    WitnessSection {
        /// A neighbour that answers ARP or ND. A leader that reaches it leads on; it never lets anybody take over.
        gateway: optional IpAddr,
        /// Of a gateway: the interface it is behind. Default: the one that has its network.
        interface: optional LinkName,
        /// A lock in etcd (version 3.4 or later): whoever has it leads.
        etcd: optional EtcdSection,
        /// A lock in the API of a Kubernetes cluster, a Lease: whoever has it leads.
        kubernetes: optional LeaseSection,
    }
}

section! {
    /// A Lease in a Kubernetes cluster, which must not be reached by way of the groups that ask for it.
    LeaseSection {
        /// The file that says how its API is reached, and with which rights. It and what it names are read again after a failure.
        kubeconfig: optional AbsolutePath,
        /// In place of `kubeconfig`: this node runs in a pod of the cluster, with its service account. Default: false.
        in_cluster: optional bool,
        /// The Lease's namespace. Default: fulcrum-system.
        namespace: optional Name,
        /// The Lease's name. Each cluster of nodes has its own. Default: fulcrum-witness.
        name: optional Name,
        /// How long the lock lasts without its holder: for so long the API may be gone while another node is. Default: 15s.
        ttl: optional Time<5_000, 600_000>,
    }
}

section! {
    /// An etcd cluster.
    EtcdSection {
        /// Its members, such as https://10.0.0.21:2379.
        endpoints: required List<WebAddress>,
        /// The key that stands for the lock. Each cluster of nodes has its own. Default: /fulcrum/witness.
        key: optional EtcdKey,
        /// How long the lock lasts without its holder: for so long etcd may be gone while another node is. Default: 15s.
        ttl: optional Time<5_000, 600_000>,
        /// PEM file of the authorities that signed its certificates; https needs it.
        ca: optional AbsolutePath,
        /// PEM file of our certificate, if it asks for one.
        client_certificate: optional AbsolutePath,
        /// PEM file of its key.
        client_key: optional AbsolutePath,
        /// The user, if it asks for one.
        user: optional HeaderValue,
        /// The file with the user's password.
        password_file: optional AbsolutePath,
    }
}
