//! Who gets which address of which pool: a pure function of the pools, of what services ask for, and of what they had.
//!
//! What a service has it keeps, for as long as a pool that it may use has the address and the service does not ask for
//! another. Then those are served that ask for certain addresses, then all others; each time in the order of their
//! names, those that prefer some first, so that the order of a file does not matter. Services of the file come before those of other sources, and
//! share nothing with them. A pool of higher priority goes first, then that of the lower
//! name; of a pool the lowest address that is free. A service has all its addresses in one group, or none.

mod book;
mod words;

use crate::model::{
    AddressSpan, Allocations, Family, GroupName, Pool, PoolName, PortRange, Protocol, ServiceName, TenantName,
};
use book::Book;
use std::collections::BTreeMap;
use std::net::IpAddr;

#[cfg(test)]
mod tests;

/// What a service asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its name.
    pub service: ServiceName,
    /// Addresses of this pool only.
    pub pool: Option<PoolName>,
    /// This address.
    pub address: Option<IpAddr>,
    /// Addresses of these only, in the order of preference; empty means any. It is as good as naming their pools.
    pub within: Vec<AddressSpan>,
    /// These, as far as they can be had.
    pub prefer: Vec<IpAddr>,
    /// One address of each; empty means one of what there is, IPv4 if the service may have that.
    pub families: Vec<Family>,
    /// One of them is enough, rather the first.
    pub prefer_families: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whom it belongs to.
    pub tenant: Option<TenantName>,
    /// Services of one tenant with the same word share an address where their ports allow it.
    pub share: Option<String>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its ports.
    pub ports: PortRange,
}

impl Request {
    /// Whether it may have `address`, as far as it says itself.
    fn reaches(&self, address: IpAddr) -> bool {
        self.within.is_empty() || self.within.iter().any(|span| span.contains(address))
    }
}

/// What became of the requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What each service has now.
    pub allocations: Allocations,
    /// What is kept for those who are away.
    pub reserved: Allocations,
    /// Services that did not get all that they ask for, and why: they have what they had.
    pub refused: BTreeMap<ServiceName, Reason>,
    /// Addresses that services had and can't keep although they did not ask for others. They have been given
    /// others, if there were any.
    pub lost: Vec<Lost>,
}

/// Why something can't be had, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// What is the case.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// An address that a service can't keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The service.
    pub service: ServiceName,
    /// The address.
    pub address: IpAddr,
    /// The pool that it was taken from.
    pub pool: PoolName,
    /// Why.
    pub why: String,
}

/// Gives addresses of `pools` to those who ask for them. `rooms` says how many addresses each group still has room for,
/// besides those of its pools. What others had who are `away` is given to nobody.
#[must_use]
pub fn allocate(
    pools: &BTreeMap<PoolName, Pool>,
    requests: &[Request],
    before: &Allocations,
    rooms: &BTreeMap<GroupName, usize>,
    away: &dyn Fn(&ServiceName) -> bool,
) -> Outcome {
    let mut sorted: Vec<&Request> = requests.iter().collect();
    sorted.sort_by_key(|request| (request.service.source().is_some(), &request.service));
    let mut book = Book::new(pools, rooms);
    let mut lost = Vec::new();
    let asked_by_file: BTreeMap<IpAddr, &ServiceName> = sorted
        .iter()
        .filter(|request| request.service.source().is_none())
        .filter_map(|request| Some((request.address?, &request.service)))
        .collect();
    // Who asks for what it has can't go elsewhere if those that share it part.
    let mut keepers = sorted.clone();
    keepers.sort_by_key(|request| (request.service.source().is_some(), request.address.is_none()));
    for request in keepers {
        for (address, pool) in before.of(&request.service).into_iter().flatten() {
            let first = asked_by_file.get(address).filter(|_| request.service.source().is_some());
            let kept = match first {
                Some(first) => Kept::No(format!("service `{first}` of the file asks for it")),
                None => book.keep(request, *address, pool),
            };
            match kept {
                Kept::Yes | Kept::NotWanted => {}
                Kept::No(why) => {
                    let (service, pool) = (request.service.clone(), pool.clone());
                    lost.push(Lost { service, address: *address, pool, why });
                }
            }
        }
    }
    let reserved = book.reserve(before, away);
    let mut refused = BTreeMap::new();
    let (of_file, from_outside): (Vec<&Request>, Vec<&Request>) =
        sorted.into_iter().partition(|request| request.service.source().is_none());
    for requests in [of_file, from_outside] {
        serve(&mut book, &requests, &mut refused);
    }
    Outcome { allocations: book.into_allocations(), reserved, refused, lost }
}

/// Those first that ask for certain addresses, then those that prefer some, then what is missing.
fn serve<'a>(book: &mut Book<'a>, requests: &[&'a Request], refused: &mut BTreeMap<ServiceName, Reason>) {
    let (asking, others): (Vec<&Request>, Vec<&Request>) =
        requests.iter().partition(|request| request.address.is_some());
    for request in asking {
        if let Err(reason) = book.serve(request) {
            refused.insert(request.service.clone(), reason);
        }
    }
    let taken: Vec<_> = others.iter().map(|request| book.take_preferred(request)).collect();
    for (request, taken) in others.into_iter().zip(taken) {
        let mut result = book.serve(request);
        if result.is_err() && !taken.is_empty() {
            book.take_all_back(request, &taken);
            result = book.serve(request);
        }
        if let Err(reason) = result {
            refused.insert(request.service.clone(), reason);
        }
    }
}

/// Whether a service keeps an address.
enum Kept {
    Yes,
    /// It asks for another.
    NotWanted,
    /// Why not.
    No(String),
}
