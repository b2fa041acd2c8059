//! Which addresses MetalLB's objects leave to a Service: they narrow what the file's pools grant, and never widen it.

use super::{Around, Problem};
use crate::metallb::{AddressPool, Labels, Metallb, PoolSays};
use crate::objects::ObjectName;
use crate::words::shown;
use fulcrum_config::{AddressSpan, PoolName};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Of one Service: each is written for each of its ports.
const SPANS_AT_MOST: usize = 32;
/// So many ranges are named in words.
const SHOWN: usize = 3;

/// Whose addresses are looked for.
pub(super) struct Asked<'a> {
    pub(super) namespace: &'a str,
    pub(super) labels: &'a Labels,
    /// The pool that it names.
    pub(super) pool: Option<&'a str>,
    /// The addresses that it asks for.
    pub(super) addresses: &'a [IpAddr],
    /// Those that it has.
    pub(super) has: &'a [IpAddr],
}

/// What a Service may have.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reach {
    pub(super) within: Vec<AddressSpan>,
    pub(super) notes: Vec<String>,
}

/// A pool that can be used, and whether it is announced.
struct Candidate<'a> {
    name: &'a ObjectName,
    says: &'a PoolSays,
    is_announced: bool,
}

/// What `asked` may have; nothing, if `IPAddressPools` have no say in it.
pub(super) fn reach(
    asked: &Asked<'_>,
    metallb: &Metallb,
    around: &Around<'_>,
) -> Result<Option<Reach>, Problem> {
    let Some(pools) = metallb.pools.as_ref().filter(|pools| !pools.is_empty()) else { return Ok(None) };
    let named = asked.pool.and_then(|asked| pools.iter().find(|(name, _)| name.name == asked));
    let candidates = match (asked.pool, named) {
        (Some(_), None) => return Ok(None),
        (_, Some((name, pool))) => vec![of_name(asked, metallb, name, pool)?],
        (None, None) if asked.addresses.is_empty() => unnamed(asked, metallb),
        (None, None) => fitting(asked, metallb).collect(),
    };
    if !asked.addresses.is_empty() {
        return wished(asked, &candidates).map(Some);
    }
    // What a Service has it keeps, whatever becomes of pools that it does not name.
    let is_granted = |address: &&IpAddr| around.config.pool_of(**address).is_some();
    let stays = asked.has.iter().filter(|_| named.is_none()).filter(is_granted);
    let stays: Vec<IpAddr> = stays.copied().collect();
    announced(&candidates, asked.has, !stays.is_empty())?;
    let candidates: Vec<&Candidate<'_>> = candidates.iter().filter(|it| it.is_announced).collect();
    if candidates.is_empty() && stays.is_empty() {
        let message = "no IPAddressPool is for it (`autoAssign`, `serviceAllocation`): change one, or name one by the annotation metallb.io/address-pool";
        return Err(Problem::new("NoPoolForIt", message.to_owned()));
    }
    granted(&candidates, &stays, around)?;
    Ok(Some(joined(&candidates, asked.has, &stays)))
}

fn of_name<'a>(
    asked: &Asked<'_>,
    metallb: &Metallb,
    name: &'a ObjectName,
    pool: &'a AddressPool,
) -> Result<Candidate<'a>, Problem> {
    let says = pool.says.as_ref().map_err(|why| {
        let message = format!("the IPAddressPool `{}`, which it names, can't be used: {why}", name.name);
        Problem::new("BadPool", message)
    })?;
    if !is_for(asked, metallb, says) {
        let message = format!(
            "the IPAddressPool `{}`, which it names, is for other Services: change the annotation or `serviceAllocation` of the pool",
            name.name
        );
        return Err(Problem::new("NoPoolForIt", message));
    }
    Ok(Candidate { name, says, is_announced: is_announced(asked, metallb, name, pool) })
}

/// All that can be used and are for this Service.
fn fitting<'a>(asked: &'a Asked<'_>, metallb: &'a Metallb) -> impl Iterator<Item = Candidate<'a>> + use<'a> {
    let pools = metallb.pools.iter().flatten();
    let usable = pools.filter_map(|(name, pool)| Some((name, pool, pool.says.as_ref().ok()?)));
    usable.filter(|(_, _, says)| is_for(asked, metallb, says)).map(|(name, pool, says)| Candidate {
        name,
        says,
        is_announced: is_announced(asked, metallb, name, pool),
    })
}

/// Those that a Service which asks for nothing may have, in the order in which they are tried: first those with
/// `serviceAllocation`, by priority.
fn unnamed<'a>(asked: &'a Asked<'_>, metallb: &'a Metallb) -> Vec<Candidate<'a>> {
    let mut candidates: Vec<_> = fitting(asked, metallb).filter(|it| it.says.auto_assign).collect();
    candidates.sort_by_key(|candidate| match &candidate.says.allocation {
        Some(allocation) => (false, allocation.priority == 0, allocation.priority),
        None => (true, false, 0),
    });
    candidates
}

fn is_for(asked: &Asked<'_>, metallb: &Metallb, says: &PoolSays) -> bool {
    let of_namespace = metallb.namespaces.as_ref().and_then(|all| all.get(asked.namespace));
    says.allocation.as_ref().is_none_or(|it| it.fits(asked.namespace, of_namespace, asked.labels))
}

/// Where the cluster knows no `L2Advertisements`, nothing is held against a pool.
fn is_announced(asked: &Asked<'_>, metallb: &Metallb, name: &ObjectName, pool: &AddressPool) -> bool {
    metallb.advertisements.as_ref().is_none_or(|all| {
        let beside = all.iter().filter(|(other, _)| other.namespace == name.namespace);
        beside.into_iter().any(|(_, it)| it.as_ref().is_ok_and(|it| it.fits(&name.name, pool, asked.labels)))
    })
}

/// The addresses that a Service asks for must be of one pool.
fn wished(asked: &Asked<'_>, candidates: &[Candidate<'_>]) -> Result<Reach, Problem> {
    let has_all = |it: &&Candidate<'_>| asked.addresses.iter().all(|address| it.says.has(*address));
    let of: Vec<&Candidate<'_>> = candidates.iter().filter(has_all).collect();
    let Some(first) = of.first() else {
        let addresses: Vec<String> = asked.addresses.iter().map(ToString::to_string).collect();
        let whose = match asked.pool {
            Some(pool) => format!("not of the IPAddressPool `{}`", shown(pool)),
            None => "of no IPAddressPool that is for it".to_owned(),
        };
        let message = format!(
            "it asks for {}, which is {whose}: ask for another one, or add it to the pool",
            addresses.join(" and ")
        );
        return Err(Problem::new("AddressOfNoPool", message));
    };
    match of.iter().any(|it| it.is_announced) {
        true => Ok(Reach::default()),
        false => Err(not_announced(first.name)),
    }
}

/// MetalLB does not answer for what nothing announces, either.
fn announced(candidates: &[Candidate<'_>], has: &[IpAddr], stays: bool) -> Result<(), Problem> {
    let of = |address: IpAddr| candidates.iter().filter(move |it| it.says.has(address));
    for address in has {
        if !of(*address).any(|it| it.is_announced)
            && let Some(silent) = of(*address).next()
        {
            return Err(not_announced(silent.name));
        }
    }
    match candidates.first() {
        Some(first) if !stays && !candidates.iter().any(|it| it.is_announced) => {
            Err(not_announced(first.name))
        }
        _ => Ok(()),
    }
}

fn not_announced(pool: &ObjectName) -> Problem {
    let message = format!(
        "no L2Advertisement announces the IPAddressPool `{}` to it (BGPAdvertisements are not read): add one, such as `kind: L2Advertisement` with `spec: {{ipAddressPools: [{}]}}` in namespace {}",
        pool.name, pool.name, pool.namespace
    );
    Problem::new("NotAdvertised", message)
}

/// The file's pools must have something of it.
fn granted(candidates: &[&Candidate<'_>], stays: &[IpAddr], around: &Around<'_>) -> Result<(), Problem> {
    let ranges = || candidates.iter().flat_map(|it| &it.says.ranges);
    let pools = || around.config.pools.values();
    let any = !stays.is_empty() || ranges().any(|span| pools().any(|pool| pool.meets(span)));
    let Some(first) = candidates.first().filter(|_| !any) else { return Ok(()) };
    let spans: Vec<String> = ranges().take(SHOWN).map(|span| format!("\"{span}\"")).collect();
    let more = if ranges().count() > SHOWN { ", and others" } else { "" };
    let name = &first.name.name;
    let line = if around.config.pools.contains_key(&PoolName::new(name)) {
        format!("add it to `addresses` of pool `{name}` there")
    } else {
        format!("add to `pools` there `{name}: {{addresses: [{}]}}`", spans.join(", "))
    };
    let message = format!("no pool of fulcrum.yaml has anything of {}{more}: {line}", spans.join(", "));
    Err(Problem::new("NotGranted", message))
}

fn joined(candidates: &[&Candidate<'_>], has: &[IpAddr], stays: &[IpAddr]) -> Reach {
    let all = candidates.iter().flat_map(|it| it.says.spans(SPANS_AT_MOST.saturating_add(1)));
    let mut reach = Reach { within: all.take(SPANS_AT_MOST.saturating_add(1)).collect(), notes: Vec::new() };
    if reach.within.len() > SPANS_AT_MOST {
        reach.within.truncate(SPANS_AT_MOST);
        reach.notes.push(format!("of its IPAddressPools the first {SPANS_AT_MOST} ranges are used"));
    }
    let mut single = BTreeSet::new();
    for address in has {
        let is_of_pools = candidates.iter().any(|it| it.says.has(*address));
        if !is_of_pools && stays.contains(address) {
            reach.notes.push(format!(
                "it keeps {address}, which is of no IPAddressPool that it would get an address of now: to give that up, let it ask for another address or pool"
            ));
        }
        let is_within = reach.within.iter().any(|span| span.contains(*address));
        if !is_within && (is_of_pools || stays.contains(address)) {
            single.insert(*address);
        }
    }
    let single = single.into_iter().map(AddressSpan::from);
    reach.within.splice(0..0, single);
    reach
}
