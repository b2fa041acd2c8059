//! Why an address can't be had, for people.

use super::{Reason, Request};
use crate::model::{AddressSpan, Family, GroupName, Pool, PoolName};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Of many pools that have nothing left, so many are named.
const SHOWN: usize = 3;

fn reason(message: String, help: &str) -> Reason {
    Reason { message, help: help.to_owned() }
}

/// Whose the addresses of a pool are.
pub(super) fn whose(group: &Option<GroupName>) -> String {
    match group {
        Some(group) => format!("of group `{group}`"),
        None => "of no listed group".to_owned(),
    }
}

pub(super) fn gone(pools: &[&Pool], was: &PoolName, address: IpAddr) -> String {
    match pools.iter().find(|pool| pool.name == *was) {
        None => format!("pool `{was}` is not there any more"),
        Some(pool) if pool.range_of(address).is_some() => {
            format!("pool `{was}` does not hand it out any more")
        }
        Some(_) => format!("pool `{was}` does not have it any more"),
    }
}

pub(super) fn not_shared(holder: &Request, request: &Request) -> String {
    let other = &holder.service;
    match (&holder.share, &request.share) {
        (Some(_), Some(_)) if holder.tenant != request.tenant => {
            format!("service `{other}` of another tenant has it")
        }
        (Some(_), Some(_)) => format!("service `{other}` has it, and another `share`"),
        (Some(_), None) | (None, Some(_)) => {
            format!("service `{other}` has it, and only one of them has `share`")
        }
        (None, None) => format!("service `{other}` has it"),
    }
}

pub(super) fn no_such_pool(name: &PoolName) -> Reason {
    reason(format!("there is no pool `{name}`"), "add it to `pools`, or name one that is there")
}

pub(super) fn of_no_family(address: IpAddr) -> Reason {
    reason(format!("`{address}` is of none of the families that are asked for"), "add its family")
}

pub(super) fn in_no_pool(request: &Request, address: IpAddr) -> Reason {
    match &request.pool {
        Some(pool) => reason(
            format!("`{address}` is not one of pool `{pool}`"),
            "write an address that the pool has, or add it to the pool",
        ),
        None => reason(format!("`{address}` is of no pool"), "write an address of a pool, or add it to one"),
    }
}

pub(super) fn of_other_pool(address: IpAddr, pool: &Pool) -> Reason {
    reason(format!("`{address}` is of pool `{}`", pool.name), "name that pool, or leave `pool` out")
}

pub(super) fn taken(address: IpAddr, pool: &Pool) -> Reason {
    let name = &pool.name;
    let why = match &pool.group {
        Some(group) => format!("it is a VIP of group `{group}` already, or reserved"),
        None => "it is reserved".to_owned(),
    };
    reason(
        format!("`{address}` is not handed out by pool `{name}`: {why}"),
        "write another address; one that the group has anyway is written as `vip:` itself",
    )
}

pub(super) fn not_within(address: IpAddr) -> Reason {
    reason(format!("`{address}` does not lie `within` what the service asks for"), "change one of the two")
}

pub(super) fn not_allowed(pool: &Pool) -> Reason {
    reason(
        format!("pool `{}` is not for this service", pool.name),
        "compare the service's name, `labels` and `tenant` with `allow` of the pool",
    )
}

pub(super) fn for_nobody(request: &Request) -> Reason {
    if !request.within.is_empty() {
        let spans: Vec<String> = request.within.iter().take(SHOWN).map(ToString::to_string).collect();
        let more = if request.within.len() > SHOWN { ", ..." } else { "" };
        return reason(
            format!("no pool that is for this service has addresses within {}{more}", spans.join(", ")),
            "add them to `addresses` of a pool, or compare the service's name, `labels` and `tenant` with `allow` of the pools",
        );
    }
    reason(
        "no pool is for this service".to_owned(),
        "name a pool (one with `auto_assign: false` must be), or compare the service's name, `labels` and `tenant` with \
         `allow` of the pools",
    )
}

pub(super) fn other_group(address: IpAddr, pool: &Pool, group: &Option<GroupName>) -> Reason {
    let (of, other) = (whose(&pool.group), whose(group));
    reason(
        format!("`{address}` is {of}, the service's other address {other}: they can be on different nodes"),
        "write addresses of pools of one group, or make a service for each",
    )
}

pub(super) fn had(address: IpAddr, pool: &Pool, why: &str) -> Reason {
    reason(
        format!("`{address}` of pool `{}` can't be had: {why}", pool.name),
        "write another address, or the same `share` and different ports for all services there",
    )
}

pub(super) fn limited(why: &str) -> Reason {
    reason(why.to_owned(), "raise that limit, share an address, or take another pool")
}

pub(super) fn used_up(pool: &Pool, family: Family) -> String {
    let total = pool.total(family);
    format!("pool `{}` has no free {family} address ({total} of {total} are in use)", pool.name)
}

pub(super) fn used_up_within(pool: &Pool, span: AddressSpan) -> String {
    format!("pool `{}` has no free address within {span}", pool.name)
}

pub(super) fn nothing_left(request: &Request, missing: &[Family], tried: BTreeSet<String>) -> Reason {
    if !tried.is_empty() {
        let more = tried.len().saturating_sub(SHOWN);
        let mut shown: Vec<String> = tried.into_iter().take(SHOWN).collect();
        if more > 0 {
            shown.push(format!("so it is with {more} more"));
        }
        return reason(
            shown.join("; "),
            "add addresses to a pool or raise the limit that is named, share an address, or delete a service",
        );
    }
    let families: Vec<String> = missing.iter().map(ToString::to_string).collect();
    let families = families.join(" and ");
    match &request.pool {
        Some(pool) => reason(
            format!("pool `{pool}` has no {families} address for this service"),
            "compare its name, `labels` and `tenant` with `allow` of the pool, and the families with its `addresses`",
        ),
        None => reason(
            format!("no pool has {families} addresses for this service, all in one group"),
            "name a pool (one with `auto_assign: false` must be), or compare `allow` of the pools with this service",
        ),
    }
}
