//! `pools`, and what a service asks of them.

use crate::model::{AddressSpan, Family};
use crate::scalar::{Label, LinkName, Name, NamePattern, Number};
use crate::table::{List, Named, section};
use std::net::IpAddr;

section! {
    /// A pool of addresses for services.
    AddressPoolSection {
        /// Its addresses: networks, ranges such as 10.0.0.100-10.0.0.150, single addresses.
        addresses: required List<AddressSpan>,
        /// The VIP group that they belong to while they are in use. Default: each is a group of its own, whose leader the nodes elect.
        group: optional Name,
        /// The interface that they live behind. Default: the one that has their network.
        interface: optional LinkName,
        /// Whether services get addresses of it that do not name it. Default: true.
        auto_assign: optional bool,
        /// The pool of the highest is tried first; at a tie the lower name. Default: 100.
        priority: optional Number<0, 1_000_000>,
        /// Whether IPv4 addresses that end in .0 or .255 are left alone, which some old equipment drops. Default: false.
        avoid_reserved: optional bool,
        /// Who may use it: services that one of these fits. Default: all.
        allow: optional List<AllowSection>,
        /// How many of its addresses the services of a tenant may have. Default: any number.
        quotas: optional Named<Name, Number<0, 1_000_000>>,
    }
}

section! {
    /// Services of which everything here is true.
    AllowSection {
        /// Their names, with `*` for any text.
        services: optional List<NamePattern>,
        /// Labels that they have.
        labels: optional Named<Label, Label>,
        /// Their tenants.
        tenants: optional List<Name>,
    }
}

section! {
    /// An address from a pool.
    RequestSection {
        /// The pool. Default: the first that the service may use and that has one.
        pool: optional Name,
        /// The address. Default: the lowest that is free.
        address: optional IpAddr,
        /// Addresses of these ranges only, those of the first before those of the next; as good as naming their pools. Default: any.
        within: optional List<AddressSpan>,
        /// These, as far as it can have them; it keeps what it has.
        prefer: optional List<IpAddr>,
        /// One address of each: ipv4, ipv6. Default: one of what there is, IPv4 if there is that.
        families: optional List<Family>,
        /// Whether an address of one of `families` is enough, rather of the first, where there are none of all. Default: false.
        prefer_families: optional bool,
    }
}
