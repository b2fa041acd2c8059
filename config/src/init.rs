//! Working, commented files from a few options, for `fulcrum init`.
//!
//! What is written is parsed before it is returned, so it works or is refused with the reason.

use crate::diagnostic::Diagnostics;
use crate::model::{InterfaceName, KeyPin, NodeName, PeerLink, Vrid};
use crate::parse::parse;
use ipnet::IpNet;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

#[cfg(test)]
mod tests;

/// A node, as in `lb-1=10.0.0.11,2001:db8::11`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeOption {
    /// Its name.
    pub name: NodeName,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// Its key on the peer link.
    pub key: Option<KeyPin>,
}

impl FromStr for NodeOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a node: write name=address, or name=address,address6");
        let (name, addresses) = text.split_once('=').ok_or_else(wrong)?;
        let addresses: Result<Vec<IpAddr>, _> = addresses.split(',').map(str::parse).collect();
        match addresses {
            Ok(addresses) if !name.is_empty() => Ok(Self { name: NodeName::new(name), addresses, key: None }),
            Ok(_) | Err(_) => Err(wrong()),
        }
    }
}

/// What both recipes need to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The nodes; the first leads.
    pub nodes: Vec<NodeOption>,
    /// The addresses that move between them.
    pub vips: Vec<IpAddr>,
    /// The interface that the VIPs live behind.
    pub interface: InterfaceName,
    /// The networks on it. A VIP in none of them gets the /24 or /64 around it.
    pub networks: Vec<IpNet>,
    /// The virtual router identifier.
    pub vrid: Vrid,
}

/// A pair in front of servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairOptions {
    /// Where.
    pub site: Site,
    /// The port of the service.
    pub port: u16,
    /// The servers.
    pub backends: Vec<SocketAddr>,
}

/// A pair in front of the Kubernetes API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlaneOptions {
    /// Where.
    pub site: Site,
    /// The port of the VIP and of the apiservers, usually 6443.
    pub port: u16,
    /// The machines with apiservers; they need not exist yet.
    pub apiservers: Vec<IpAddr>,
}

/// The file of each node of a pair in front of servers.
///
/// # Errors
/// The options do not fit together; the diagnostics speak of the file that they would make.
pub fn pair(options: &PairOptions) -> Result<Vec<(NodeName, String)>, Diagnostics> {
    let mut text = String::new();
    text.push_str(&options.site.sections("web", None));
    let mut services = String::from(
        "\nchecks:\n  # Whether a connection can be made. `type: http` with a `path:` says more.\n  \
         connect: {type: tcp, interval: 2s, timeout: 1s, rise: 2, fall: 3}\n\n\
         services:\n  web:\n",
    );
    let _infallible = writeln!(services, "    vips: [{}]", list(&options.site.vips));
    let _infallible = writeln!(services, "    port: {}", options.port);
    services.push_str("    check: connect\n    backends:\n");
    for backend in &options.backends {
        let _infallible = writeln!(services, "      - {}", quoted(&backend.to_string()));
    }
    text.push_str(&services);
    options.site.files("A pair in front of servers.", &text)
}

/// The file of each node of a pair in front of the Kubernetes API. It works before the first apiserver
/// exists.
///
/// # Errors
/// The options do not fit together; the diagnostics speak of the file that they would make.
pub fn control_plane(options: &ControlPlaneOptions) -> Result<Vec<(NodeName, String)>, Diagnostics> {
    let mut text = options.site.sections("control-plane", Some("control-plane"));
    text.push_str(
        "\nchecks:\n  # Whether the apiserver can serve. A check asks for life, not for identity, so its \
         certificate is not\n  # verified; `tls: {verify: true, ca: /etc/fulcrum/kubernetes-ca.pem}` changes \
         that.\n  readyz: {type: https, path: /readyz, interval: 2s, timeout: 1s, rise: 2, fall: 3}\n\n\
         services:\n  # In kubeadm's configuration: controlPlaneEndpoint: ",
    );
    let endpoint = options.site.vips.first().map(|vip| SocketAddr::new(*vip, options.port).to_string());
    let _infallible = writeln!(text, "\"{}\"", endpoint.unwrap_or_default());
    text.push_str("  kubernetes-api:\n");
    let _infallible = writeln!(text, "    vips: [{}]", list(&options.site.vips));
    let _infallible = writeln!(text, "    port: {}", options.port);
    text.push_str("    check: readyz\n");
    text.push_str(
        "    # They need not exist yet: one that is not yet checked counts as up, and one that does not \
         listen\n    # refuses at once, so that the next is tried.\n    backends:\n",
    );
    for (apiserver, number) in options.apiservers.iter().zip(1_u32..) {
        let address = quoted(&apiserver.to_string());
        let _infallible =
            writeln!(text, "      - {{name: cp-{number}, address: {address}, port: {}}}", options.port);
    }
    text.push_str(
        "    # Watches stay open for long; those of an apiserver that died are closed over five seconds, so \
         that\n    # the others are not stormed.\n    timeouts: {idle: 24h}\n    on_down: {reset: {spread: 5s}}\n",
    );
    options.site.files("A pair in front of the Kubernetes API.", &text)
}

/// The file of a node that joins others: it knows itself and one of them, which gives it all else.
///
/// # Errors
/// The two can't stand in one file.
pub fn join(node: &NodeOption, seed: &NodeOption) -> Result<String, Diagnostics> {
    let name = &node.name;
    let text = format!(
        "# A node that joins others. It knows one of them, and gets all else from there over the peer link; it keeps what it\n\
         # got. `fulcrum check FILE` warns that it answers for nothing yet.\nnode: {name}\n\nnodes:\n{}{}\n\
         peer: {{port: 4747, key: {}}}\n",
        node_line(node),
        node_line(seed),
        PeerLink::KEY
    );
    // That it answers for nothing yet is meant.
    parse(&text, &format!("{name}.yaml"), name.as_str()).map_err(Diagnostics::mistakes)?;
    Ok(text)
}

/// A node as a line of `nodes`.
#[must_use]
pub fn node_line(node: &NodeOption) -> String {
    let key = node.key.map(|key| format!(", keys: [\"{key}\"]")).unwrap_or_default();
    format!("  {}: {{addresses: [{}]{key}}}\n", node.name, list(&node.addresses))
}

impl Site {
    /// `nodes`, `interfaces` and `groups`.
    fn sections(&self, group: &str, class: Option<&str>) -> String {
        let mut text = String::from(
            "# Every load balancer node. The one with the highest priority leads when all start at once; who \
             leads then\n# stays leader until it fails.\nnodes:\n",
        );
        for (node, priority) in self.nodes.iter().zip((10_u8..=150).rev().step_by(10)) {
            let addresses = list(&node.addresses);
            let key = node.key.map(|key| format!(", keys: [\"{key}\"]")).unwrap_or_default();
            let _infallible =
                writeln!(text, "  {}: {{addresses: [{addresses}], priority: {priority}{key}}}", node.name);
        }
        if self.nodes.iter().any(|node| node.key.is_some()) {
            text.push_str(
                "\n# The nodes talk over UDP port 4747, encrypted: open it between them. `key` names the file \
                 with this node's private key.\npeer: {port: 4747, key: /etc/fulcrum/peer.key}\n",
            );
        }
        let mut networks = self.networks.clone();
        let mut assumed = "";
        for vip in &self.vips {
            if !networks.iter().any(|network| network.contains(vip)) {
                assumed = "  # assumed: compare with `ip address`";
                networks.extend(IpNet::new(*vip, if vip.is_ipv4() { 24 } else { 64 }).map(|net| net.trunc()));
            }
        }
        let (interface, networks) = (&self.interface, list(&networks));
        let _infallible = writeln!(text, "\ninterfaces:\n  {interface}: {{networks: [{networks}]}}{assumed}");
        let _infallible = writeln!(text, "\n# Addresses that move together.\ngroups:\n  {group}:");
        if let Some(class) = class {
            let _infallible = writeln!(text, "    class: {class}");
        }
        let vrid = self.vrid;
        let _infallible = writeln!(text, "    vrid: {vrid}  # used by no other VRRP router on this network");
        let _infallible = writeln!(text, "    vips: [{}]", list(&self.vips));
        let _infallible = writeln!(text, "    track:\n      - link: {interface}");
        text
    }

    /// The same for each node but for its name.
    fn files(&self, title: &str, sections: &str) -> Result<Vec<(NodeName, String)>, Diagnostics> {
        let mut files = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let text = format!(
                "# {title} `fulcrum check FILE` says whether it can work.\n\n# The node that this file is on; all \
                 else is the same on every node.\nnode: {}\n\n{sections}",
                node.name
            );
            parse(&text, &format!("{}.yaml", node.name), node.name.as_str())?;
            files.push((node.name.clone(), text));
        }
        if files.is_empty() {
            let help = "name this node and its partner, such as lb-1=10.0.0.11 lb-2=10.0.0.12";
            return Err(Diagnostics::of_file("fulcrum.yaml", "there is no node", help));
        }
        Ok(files)
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(&item.to_string())).collect();
    items.join(", ")
}

/// IPv6 is quoted: its colons would be YAML's.
fn quoted(text: &str) -> String {
    if text.matches(':').count() > 1 { format!("\"{text}\"") } else { text.to_owned() }
}
