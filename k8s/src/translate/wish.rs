//! Which addresses a Service asks for, and with whom it shares them.

use super::reach::{Asked, Reach, reach};
use super::{Around, Problem, SOURCES};
use crate::words::{fingerprint, shown};
use fulcrum_config::{AddressSpan, Cluster, Family, PoolName};
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

const ADDRESSES: [&str; 3] =
    ["metallb.io/loadBalancerIPs", "metallb.universe.tf/loadBalancerIPs", "kube-vip.io/loadbalancerIPs"];
const POOL: [&str; 2] = ["metallb.io/address-pool", "metallb.universe.tf/address-pool"];
const SHARED: [&str; 2] = ["metallb.io/allow-shared-ip", "metallb.universe.tf/allow-shared-ip"];

/// Annotations of others that mean something for addresses, and that are not read.
const NOT_READ: [&str; 5] = [
    "kube-vip.io/loadbalancerHostname",
    "kube-vip.io/serviceInterface",
    "kube-vip.io/serviceVLAN",
    "kube-vip.io/hwaddr",
    "kube-vip.io/dhcp-broadcast",
];

/// What a Service asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) pool: Option<String>,
    pub(super) address: Option<IpAddr>,
    /// Of these ranges only; empty means any.
    pub(super) within: Vec<AddressSpan>,
    /// These, if it can have them.
    pub(super) prefer: Vec<IpAddr>,
    /// Never empty; the first is that of its backends, where there can be only one.
    pub(super) families: Vec<Family>,
    /// An address of one of them is enough: only who gives them away knows what is free.
    pub(super) prefer_families: bool,
    /// Who has the same word shares its address.
    pub(super) share: String,
    /// What is done otherwise than it asks.
    pub(super) notes: Vec<String>,
}

/// What a Service has.
#[derive(Clone, Copy)]
pub(super) struct Has<'a> {
    /// What its ports have of us.
    pub(super) held: &'a [IpAddr],
    /// What it had before, if they have nothing: under other names of its ports, or of another one.
    pub(super) had: &'a [IpAddr],
}

pub(super) fn wish(
    cluster: &Cluster,
    service: &Service,
    spec: &ServiceSpec,
    Has { held, had }: Has<'_>,
    around: &Around<'_>,
    is_forwarded: bool,
) -> Result<Wish, Problem> {
    let nothing = BTreeMap::new();
    let annotations = service.metadata.annotations.as_ref().unwrap_or(&nothing);
    let is_read = |key: &str| cluster.annotations.reads(key);
    let read = |keys: &[&str]| {
        let mut keys = keys.iter().filter(|key| is_read(key));
        keys.find_map(|key| annotations.get(*key)).map(|text| text.trim())
    };
    let pool = read(&POOL).filter(|pool| !pool.is_empty()).map(str::to_owned);
    let mut notes = Vec::new();
    let addresses = addresses(read(&ADDRESSES), spec)?;
    // As long as nothing else is asked for.
    let had = if addresses.is_empty() { had } else { &[] };
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let asked = Asked {
        namespace,
        labels: service.metadata.labels.as_ref().unwrap_or(&nothing),
        pool: pool.as_deref(),
        addresses: &addresses,
        has: if held.is_empty() { had } else { held },
    };
    let reached = around.metallb.map(|metallb| reach(&asked, metallb, around)).transpose()?.flatten();
    let is_of_file = reached.is_none();
    if let Some(pool) = pool.as_ref().filter(|_| is_of_file)
        && !around.config.pools.contains_key(&PoolName::new(pool))
    {
        let further = if around.metallb.is_some() { "no IPAddressPool and " } else { "" };
        let message = format!(
            "there is {further}no pool `{}`: add it to `pools` of fulcrum.yaml, or change the annotation",
            shown(pool)
        );
        return Err(Problem::new("NoSuchPool", message));
    }
    let pool = pool.filter(|_| is_of_file);
    let Reach { mut within, notes: of_reach } = reached.unwrap_or_default();
    notes.extend(of_reach);
    let has_family = |family: Family| has_family(family, pool.as_deref(), &within, around);
    let families = families(spec, has_family, is_forwarded, &mut notes)?;
    if let Some(address) = addresses.iter().find(|address| !families.contains(&Family::of(**address))) {
        let message =
            format!("it asks for {address}, which is of no family in `ipFamilies`: change one of them");
        return Err(Problem::new("AddressOfOtherFamily", message));
    }
    let address = match addresses.as_slice() {
        [] => None,
        [address] => Some(*address),
        // Just these, one of each family.
        several => {
            within = several.iter().copied().map(AddressSpan::from).collect();
            None
        }
    };
    let prefer = had.iter().copied().filter(|address| families.contains(&Family::of(*address))).collect();
    let not_read = NOT_READ.iter().filter(|key| annotations.contains_key(**key));
    notes.extend(not_read.map(|key| format!("the annotation {key} is not read")));
    let known = ADDRESSES.iter().chain(&POOL).chain(&SHARED).chain([&SOURCES]);
    let left_out = known.filter(|key| annotations.contains_key(**key) && !is_read(key));
    notes.extend(left_out.map(|key| {
        format!(
            "the annotation {key} is not read: `annotations` of this cluster in fulcrum.yaml leaves it out"
        )
    }));
    // Who names one of each family wants both.
    let prefer_families = families.len() > 1 && addresses.len() < 2 && is_preferred(spec);
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let share = match read(&SHARED).filter(|key| !key.is_empty()) {
        Some(key) => fingerprint([cluster.name.as_str(), key]),
        None => fingerprint([cluster.name.as_str(), namespace, name]),
    };
    let share = format!("kubernetes-{share:016x}");
    Ok(Wish { pool, address, within, prefer, families, prefer_families, share, notes })
}

/// The addresses that its status says.
pub(super) fn said(service: &Service) -> Vec<IpAddr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|status| status.ingress.as_deref()).unwrap_or_default();
    let mut said: Vec<IpAddr> = Vec::new();
    for address in ingress.iter().filter_map(|it| it.ip.as_deref()?.parse().ok()) {
        if !said.iter().any(|it| Family::of(*it) == Family::of(address)) {
            said.push(address);
        }
    }
    said
}

/// Whether there are addresses of `family` that it may have.
fn has_family(family: Family, pool: Option<&str>, within: &[AddressSpan], around: &Around<'_>) -> bool {
    let mut pools = around.config.pools.values();
    if !within.is_empty() {
        let mut spans = within.iter().filter(|span| span.family() == family);
        return spans.any(|span| pools.clone().any(|pool| pool.meets(span)));
    }
    pools.any(|it| pool.map_or(it.auto_assign, |name| it.name.as_str() == name) && it.has_family(family))
}

/// The addresses that it asks for: none, one, or one of each family. Annotations go before the field, which is deprecated.
fn addresses(annotation: Option<&str>, spec: &ServiceSpec) -> Result<Vec<IpAddr>, Problem> {
    let field = spec.load_balancer_ip.as_deref().map(str::trim).unwrap_or_default();
    let annotated = annotation.unwrap_or_default();
    let (written, other) = if annotated.is_empty() { (field, "") } else { (annotated, field) };
    if written.is_empty() {
        return Ok(Vec::new());
    }
    let parsed: Result<Vec<IpAddr>, _> = written.split(',').map(|text| text.trim().parse()).collect();
    let bad = |message: String| Err(Problem::new("BadAddress", message));
    let Ok(addresses) = parsed else {
        return bad(format!(
            "`{}` is not an IP address: change the annotation or `loadBalancerIP`",
            shown(written)
        ));
    };
    let families: BTreeSet<Family> = addresses.iter().map(|address| Family::of(*address)).collect();
    if families.len() < addresses.len() {
        let message =
            "it asks for several addresses of one family, and it can have one of each: name that one";
        return bad(message.to_owned());
    }
    if let Some(address) = addresses.iter().find(|address| address.is_unspecified()) {
        return bad(format!(
            "it asks for an address by DHCP ({address}), which is not done: ask for an address of a pool, or for none"
        ));
    }
    if !other.is_empty() && !other.parse().is_ok_and(|other| addresses.contains(&other)) {
        return bad(format!(
            "its annotation asks for {}, `loadBalancerIP` for {}: delete one",
            shown(written),
            shown(other)
        ));
    }
    Ok(addresses)
}

fn is_preferred(spec: &ServiceSpec) -> bool {
    spec.ip_family_policy.as_deref() == Some("PreferDualStack")
}

fn families(
    spec: &ServiceSpec,
    has_family: impl Fn(Family) -> bool,
    is_forwarded: bool,
    notes: &mut Vec<String>,
) -> Result<Vec<Family>, Problem> {
    let written = spec.ip_families.as_deref().unwrap_or_default().iter();
    let mut families: Vec<Family> = written
        .filter_map(|family| match family.as_str() {
            "IPv4" => Some(Family::Ipv4),
            "IPv6" => Some(Family::Ipv6),
            _ => None,
        })
        .collect();
    if families.is_empty() {
        families.push(Family::Ipv4);
    }
    let [first, _, ..] = families.as_slice() else { return Ok(families) };
    let first = *first;
    let is_preferred = is_preferred(spec);
    if is_forwarded {
        let what = "where the kernel forwards, a Service has one address family";
        if !is_preferred {
            let message = format!(
                "{what}: use `ipFamilyPolicy: PreferDualStack` or SingleStack, or `mode: proxy` for the cluster"
            );
            return Err(Problem::new("DualStackNotServed", message));
        }
        notes.push(format!("{what}, so it has no address of the other"));
        return Ok(vec![first]);
    }
    if is_preferred {
        let there: Vec<Family> = families.iter().copied().filter(|family| has_family(*family)).collect();
        if let [only] = there.as_slice() {
            notes.push(format!("no pool that it may use has addresses of the other family than {only}"));
            return Ok(there);
        }
    }
    Ok(families)
}
