//! What the kernel knows by numbers, by its name.

use fulcrum_lb::capture::{Capture, Fate, Packet};
use fulcrum_lifecycle::Service;
use rustix::net::netdevice::index_to_name;
use rustix::net::{AddressFamily, SocketType, socket};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

#[cfg(test)]
mod tests;

/// The names of services, backends and interfaces.
#[derive(Debug, Default)]
pub(crate) struct Names {
    services: BTreeMap<u32, Service>,
    backends: BTreeMap<u32, (IpAddr, u16)>,
    interfaces: BTreeMap<u32, String>,
}

/// The address and port that a service is found by, and whether it is of TCP.
pub(crate) fn first_endpoint(service: &Service) -> Option<(SocketAddr, bool)> {
    let address: IpAddr = service.vips.first()?.parse().ok()?;
    let port = service.ports.split('-').next()?.parse().ok()?;
    Some((SocketAddr::new(address, port), service.protocol == "tcp"))
}

impl Names {
    /// A service's index is this.
    pub(crate) fn add(&mut self, index: u32, service: Service) {
        self.services.insert(index, service);
    }

    /// Looks up what a packet names for the first time.
    pub(crate) fn learn(&mut self, packet: &Packet, capture: &Capture) {
        if let Some(index) = packet.backend
            && let Some(address) = capture.backend(index)
        {
            // Each time: a backend's index may be another's by now.
            self.backends.insert(index, address);
        }
        self.interfaces.entry(packet.interface).or_insert_with(|| interface_name(packet.interface));
    }

    /// An interface's name.
    pub(crate) fn interface(&self, index: u32) -> &str {
        self.interfaces.get(&index).map_or("?", String::as_str)
    }

    fn service(&self, index: u32) -> String {
        self.services.get(&index).map_or_else(|| format!("service {index}"), |service| service.name.clone())
    }

    fn backend(&self, service: Option<u32>, index: u32) -> String {
        let Some((ip, port)) = self.backends.get(&index).copied() else { return format!("backend {index}") };
        let configured = service.and_then(|index| self.services.get(&index)).into_iter();
        let named = configured.flat_map(|service| &service.backends).find(|backend| {
            let (address, own) = backend.address.rsplit_once(':').unwrap_or((&backend.address, "*"));
            let address = address.trim_start_matches('[').trim_end_matches(']');
            address.parse() == Ok(ip) && (port == 0 || own == port.to_string())
        });
        let shown = if port == 0 { ip.to_string() } else { SocketAddr::new(ip, port).to_string() };
        match named {
            Some(backend) if backend.name != shown => format!("{} ({shown})", backend.name),
            Some(_) | None => shown,
        }
    }

    /// What became of a packet.
    pub(crate) fn fate(&self, packet: &Packet) -> String {
        let of = packet.service.map(|index| format!(" of {}", self.service(index))).unwrap_or_default();
        let backend = packet.backend.map(|index| self.backend(packet.service, index));
        match (packet.fate, backend) {
            (Fate::Forwarded, Some(backend)) if packet.is_reply => {
                format!("reply of {backend}{of}, forwarded to the client")
            }
            (Fate::Forwarded, Some(backend)) => format!("forwarded to {backend}{of}"),
            (Fate::Forwarded, None) => format!("forwarded{of}"),
            (Fate::Answered(reason), _) => format!("answered ({reason}){of}"),
            (Fate::Dropped(reason), _) => format!("dropped ({reason}){of}"),
        }
    }
}

fn interface_name(index: u32) -> String {
    let name =
        socket(AddressFamily::INET, SocketType::DGRAM, None).and_then(|socket| index_to_name(socket, index));
    // 0: the way is the kernel's to find.
    name.unwrap_or_else(|_| if index == 0 { "?".to_owned() } else { format!("interface-{index}") })
}
