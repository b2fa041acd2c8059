//! Who has what, while addresses are handed out.

use super::{Kept, Reason, Request, words};
use crate::model::{
    AddressSpan, Allocations, Family, GroupName, Pool, PoolName, ServiceName, TenantName, after,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// Source, tenant and word of those who share.
type Key<'a> = (Option<&'a str>, Option<&'a TenantName>, &'a str);

pub(super) struct Book<'a> {
    /// In the order in which they are tried.
    pools: Vec<&'a Pool>,
    /// By their first address: whose it is, and the highest.
    ranges: BTreeMap<IpAddr, (IpAddr, &'a Pool)>,
    rooms: BTreeMap<GroupName, usize>,
    /// Who has each address.
    holders: HashMap<IpAddr, Vec<&'a Request>>,
    /// Addresses that are shared.
    shared: HashMap<Key<'a>, BTreeSet<IpAddr>>,
    /// Addresses that a tenant has of a pool.
    tenants: HashMap<(&'a PoolName, &'a TenantName), u32>,
    /// Addresses in use of a pool.
    used: HashMap<(&'a PoolName, Family), u128>,
    /// Of a pool, from the second one on: below this there is no free one.
    from: HashMap<(&'a PoolName, IpAddr), IpAddr>,
    /// Addresses of services that are away.
    reserved: HashMap<IpAddr, ServiceName>,
    /// What each service has.
    owned: BTreeMap<&'a str, BTreeMap<IpAddr, &'a Pool>>,
}

impl<'a> Book<'a> {
    pub(super) fn new(pools: &'a BTreeMap<PoolName, Pool>, rooms: &BTreeMap<GroupName, usize>) -> Self {
        let ranges = pools.values().flat_map(|pool| pool.ranges.iter().map(move |range| (pool, range)));
        let ranges = ranges.map(|(pool, range)| (range.first, (range.last, pool))).collect();
        let mut order: Vec<&Pool> = pools.values().collect();
        order.sort_by_key(|pool| (Reverse(pool.priority), &pool.name));
        Self {
            pools: order,
            ranges,
            rooms: rooms.clone(),
            holders: HashMap::new(),
            shared: HashMap::new(),
            tenants: HashMap::new(),
            used: HashMap::new(),
            from: HashMap::new(),
            reserved: HashMap::new(),
            owned: BTreeMap::new(),
        }
    }

    pub(super) fn into_allocations(self) -> Allocations {
        let mut allocations = Allocations::default();
        for (service, addresses) in self.owned {
            for (address, pool) in addresses {
                allocations.insert(ServiceName::new(service), address, pool.name.clone());
            }
        }
        allocations
    }

    /// The pool whose range `address` lies in.
    fn pool_of(&self, address: IpAddr) -> Option<&'a Pool> {
        let (_, (last, pool)) = self.ranges.range(..=address).next_back()?;
        (address <= *last).then_some(*pool)
    }

    /// Leaves `address`, which was taken from `was`, to a service that had it before.
    pub(super) fn keep(&mut self, request: &'a Request, address: IpAddr, was: &PoolName) -> Kept {
        let family = Family::of(address);
        let asks_for_another = request.address.is_some_and(|it| Family::of(it) == family && it != address);
        let alone = request.families.is_empty();
        let of_one = alone
            && (request.address.is_some_and(|it| Family::of(it) != family)
                || self.owned.contains_key(request.service.as_str()));
        let of_others = !alone && !request.families.contains(&family);
        if asks_for_another || of_one || of_others || self.has_one(request, family) {
            return Kept::NotWanted;
        }
        let pool = self.pool_of(address).filter(|pool| pool.has(address));
        if request.pool.as_ref().is_some_and(|asked| asked != was)
            && pool.map(|pool| &pool.name) != request.pool.as_ref()
        {
            return Kept::NotWanted;
        }
        let Some(pool) = pool else { return Kept::No(words::gone(&self.pools, was, address)) };
        if request.pool.as_ref().is_some_and(|asked| *asked != pool.name) {
            return Kept::No(format!("it is of pool `{}` now", pool.name));
        }
        // What comes from outside asks for others then; in the file it may be a slip.
        let is_of_file = request.service.source().is_none();
        if !request.reaches(address) {
            let why = "it does not lie `within` what the service asks for";
            return if is_of_file { Kept::No(why.to_owned()) } else { Kept::NotWanted };
        }
        if !pool.allows(&request.service, &request.labels, request.tenant.as_ref()) {
            return Kept::No(format!("pool `{}` is not for this service any more", pool.name));
        }
        if let Some(group) = self.group(request).filter(|group| **group != pool.group) {
            let (of, other) = (words::whose(&pool.group), words::whose(group));
            return Kept::No(format!("its other address is {other}, this one {of}"));
        }
        match self.may_share(request, address) {
            Ok(()) => {
                self.give(request, address, pool);
                Kept::Yes
            }
            Err(_) if !is_of_file && self.is_of_strangers(request, address) => Kept::NotWanted,
            Err(why) => Kept::No(why),
        }
    }

    /// Gives nobody what those have who are `away`, as far as pools still hand it out.
    pub(super) fn reserve(
        &mut self,
        before: &Allocations,
        away: &dyn Fn(&ServiceName) -> bool,
    ) -> Allocations {
        let mut reserved = Allocations::default();
        for (service, addresses) in before.iter().filter(|(service, _)| away(service)) {
            for address in addresses.keys() {
                let Some(pool) = self.pool_of(*address).filter(|pool| pool.has(*address)) else { continue };
                reserved.insert(service.clone(), *address, pool.name.clone());
                if !self.holders.contains_key(address) && !self.reserved.contains_key(address) {
                    let used = self.used.entry((&pool.name, Family::of(*address))).or_default();
                    *used = used.saturating_add(1);
                    self.reserved.insert(*address, service.clone());
                }
            }
        }
        reserved
    }

    fn has_one(&self, request: &Request, family: Family) -> bool {
        let owned = self.owned.get(request.service.as_str());
        owned.is_some_and(|owned| owned.keys().any(|address| Family::of(*address) == family))
    }

    /// The group of the addresses that a service has already; of pools without one they move together, too.
    fn group(&self, request: &Request) -> Option<&'a Option<GroupName>> {
        Some(&self.owned.get(request.service.as_str())?.values().next()?.group)
    }

    /// Whether a service can have an address besides those who have it.
    fn may_share(&self, request: &Request, address: IpAddr) -> Result<(), String> {
        if let Some(service) = self.reserved.get(&address).filter(|_| request.service.source().is_some()) {
            return Err(format!("it is kept for service `{service}`, which is set aside"));
        }
        let Some(holders) = self.holders.get(&address) else { return Ok(()) };
        for holder in holders {
            if !share_a_word(holder, request) {
                return Err(words::not_shared(holder, request));
            }
            let overlap = holder.protocol == request.protocol
                && holder.ports.first <= request.ports.last
                && request.ports.first <= holder.ports.last;
            if overlap {
                return Err(format!("service `{}` listens on the same port there", holder.service));
            }
        }
        Ok(())
    }

    /// Whether somebody has `address` with whom a service does not share.
    fn is_of_strangers(&self, request: &Request, address: IpAddr) -> bool {
        let mut holders = self.holders.get(&address).into_iter().flatten();
        holders.any(|holder| !share_a_word(holder, request))
    }

    fn give(&mut self, request: &'a Request, address: IpAddr, pool: &'a Pool) {
        let holders = self.holders.entry(address).or_default();
        if holders.is_empty() {
            let used = self.used.entry((&pool.name, Family::of(address))).or_default();
            *used = used.saturating_add(1);
            if let Some(tenant) = &request.tenant {
                let held = self.tenants.entry((&pool.name, tenant)).or_default();
                *held = held.saturating_add(1);
            }
            if let Some(room) = pool.group.as_ref().and_then(|group| self.rooms.get_mut(group)) {
                *room = room.saturating_sub(1);
            }
        }
        holders.push(request);
        if let Some(key) = key(request) {
            self.shared.entry(key).or_default().insert(address);
        }
        self.owned.entry(request.service.as_str()).or_default().insert(address, pool);
    }

    /// Takes an address that was just given away back again.
    fn take_back(&mut self, request: &'a Request, address: IpAddr, pool: &'a Pool) {
        if let Some(owned) = self.owned.get_mut(request.service.as_str()) {
            owned.remove(&address);
            if owned.is_empty() {
                self.owned.remove(request.service.as_str());
            }
        }
        let Some(holders) = self.holders.get_mut(&address) else { return };
        holders.retain(|holder| holder.service != request.service);
        if !holders.is_empty() {
            return;
        }
        self.holders.remove(&address);
        let family = Family::of(address);
        if let Some(used) = self.used.get_mut(&(&pool.name, family)) {
            *used = used.saturating_sub(1);
        }
        if let Some(tenant) = &request.tenant
            && let Some(held) = self.tenants.get_mut(&(&pool.name, tenant))
        {
            *held = held.saturating_sub(1);
        }
        if let Some(room) = pool.group.as_ref().and_then(|group| self.rooms.get_mut(group)) {
            *room = room.saturating_add(1);
        }
        if let Some(shared) = key(request).and_then(|key| self.shared.get_mut(&key)) {
            shared.remove(&address);
        }
        let froms =
            self.from.iter_mut().filter(|((name, first), _)| *name == &pool.name && *first <= address);
        froms.for_each(|(_, from)| *from = address.min(*from));
    }

    /// Gives a service what it prefers and lacks, as far as it can have that; says what.
    pub(super) fn take_preferred(&mut self, request: &'a Request) -> Vec<(IpAddr, &'a Pool)> {
        let mut taken = Vec::new();
        for address in &request.prefer {
            if let Ok(pool) = self.for_this(request, *address)
                && self.is_for(request, pool)
                && self.missing(request).contains(&Family::of(*address))
            {
                self.give(request, *address, pool);
                taken.push((*address, pool));
            }
        }
        taken
    }

    pub(super) fn take_all_back(&mut self, request: &'a Request, taken: &[(IpAddr, &'a Pool)]) {
        for (address, pool) in taken {
            self.take_back(request, *address, pool);
        }
    }

    /// Gives a service all that it lacks, or nothing; who only prefers families, as much of that as there is.
    pub(super) fn serve(&mut self, request: &'a Request) -> Result<(), Reason> {
        if let Some(name) = &request.pool
            && !self.pools.iter().any(|pool| pool.name == *name)
        {
            return Err(words::no_such_pool(name));
        }
        if let Some(address) = request.address
            && !request.families.is_empty()
            && !request.families.contains(&Family::of(address))
        {
            return Err(words::of_no_family(address));
        }
        let mut asked = None;
        if let Some(address) = request.address
            && !self.has_one(request, Family::of(address))
        {
            let pool = self.for_this(request, address)?;
            self.give(request, address, pool);
            asked = Some((address, pool));
        }
        let result = self.complete(request);
        if let (Err(_), Some((address, pool))) = (&result, asked) {
            self.take_back(request, address, pool);
        }
        result
    }

    fn complete(&mut self, request: &'a Request) -> Result<(), Reason> {
        let missing = self.missing(request);
        let result = self.complete_with(request, &missing);
        if result.is_ok() || !request.prefer_families {
            return result;
        }
        let has_one = self.owned.contains_key(request.service.as_str());
        if has_one || missing.iter().any(|family| self.complete_with(request, &[*family]).is_ok()) {
            return Ok(());
        }
        result
    }

    /// Gives a service an address of each family of `missing`, or none.
    fn complete_with(&mut self, request: &'a Request, missing: &[Family]) -> Result<(), Reason> {
        if missing.is_empty() {
            return Ok(());
        }
        if !self.pools.iter().any(|pool| self.is_for(request, pool)) {
            let named = self.pools.iter().find(|pool| request.pool.as_ref() == Some(&pool.name));
            let named = named.filter(|pool| request.within.is_empty() || offers_any(request, pool));
            return Err(named.map_or_else(|| words::for_nobody(request), |pool| words::not_allowed(pool)));
        }
        let groups: Vec<&Option<GroupName>> = match self.group(request) {
            Some(group) => vec![group],
            None => {
                let mut seen = BTreeSet::new();
                let pools = self.in_order(request).into_iter();
                pools.map(|pool| &pool.group).filter(|group| seen.insert(*group)).collect()
            }
        };
        let mut tried = BTreeSet::new();
        for group in groups {
            if self.complete_in(request, missing, group, &mut tried) {
                return Ok(());
            }
        }
        Err(words::nothing_left(request, missing, tried))
    }

    /// The pools, those first that have what a service prefers.
    fn in_order(&self, request: &Request) -> Vec<&'a Pool> {
        let mut pools = self.pools.clone();
        let can_have = |address: &&IpAddr| self.for_this(request, **address).is_ok();
        let preferred: Vec<&IpAddr> = request.prefer.iter().filter(can_have).collect();
        let preferred = |pool: &Pool| preferred.iter().position(|it| pool.range_of(**it).is_some());
        let within = |pool: &Pool| request.within.iter().position(|span| pool.meets(span));
        let rank = |place: Option<usize>| place.unwrap_or(usize::MAX);
        pools.sort_by_key(|pool| (rank(preferred(pool)), rank(within(pool))));
        pools
    }

    /// Gives a service an address of each family in `group`, or none. The first pool that has the one may leave none
    /// for the other, so that the next is tried, too.
    fn complete_in(
        &mut self,
        request: &'a Request,
        missing: &[Family],
        group: &Option<GroupName>,
        tried: &mut BTreeSet<String>,
    ) -> bool {
        let Some((family, others)) = missing.split_first() else { return true };
        let mut passed_over = BTreeSet::new();
        while let Some((address, pool)) = self.choose(request, *family, group, &passed_over, tried) {
            self.give(request, address, pool);
            if self.complete_in(request, others, group, tried) {
                return true;
            }
            self.take_back(request, address, pool);
            passed_over.insert(&pool.name);
        }
        false
    }

    /// The families that a service still needs an address of.
    fn missing(&self, request: &Request) -> Vec<Family> {
        let lacks = |family: &Family| !self.has_one(request, *family);
        if !request.families.is_empty() {
            return request.families.iter().copied().filter(lacks).collect();
        }
        if self.owned.contains_key(request.service.as_str()) {
            return Vec::new();
        }
        let has_v4 = |pool: &&'a Pool| self.is_for(request, pool) && offers(request, pool, Family::Ipv4);
        let has_v4 = self.pools.iter().any(has_v4);
        vec![if has_v4 { Family::Ipv4 } else { Family::Ipv6 }]
    }

    /// Whether a service may have addresses of `pool` without asking for them one by one.
    fn is_for(&self, request: &Request, pool: &Pool) -> bool {
        let named = match &request.pool {
            Some(name) => *name == pool.name,
            None => pool.auto_assign || !request.within.is_empty(),
        };
        named
            && offers_any(request, pool)
            && pool.allows(&request.service, &request.labels, request.tenant.as_ref())
    }

    /// The pool of the address that a service asks for.
    fn for_this(&self, request: &Request, address: IpAddr) -> Result<&'a Pool, Reason> {
        let Some(pool) = self.pool_of(address) else { return Err(words::in_no_pool(request, address)) };
        if request.pool.as_ref().is_some_and(|name| *name != pool.name) {
            return Err(words::of_other_pool(address, pool));
        }
        if !pool.has(address) {
            return Err(words::taken(address, pool));
        }
        if !request.reaches(address) {
            return Err(words::not_within(address));
        }
        if !pool.allows(&request.service, &request.labels, request.tenant.as_ref()) {
            return Err(words::not_allowed(pool));
        }
        if let Some(group) = self.group(request).filter(|group| **group != pool.group) {
            return Err(words::other_group(address, pool, group));
        }
        self.may_share(request, address).map_err(|why| words::had(address, pool, &why))?;
        let is_new = !self.holders.contains_key(&address);
        match self.full(request, pool).filter(|_| is_new) {
            Some(why) => Err(words::limited(&why)),
            None => Ok(pool),
        }
    }

    /// Why no further address of `pool` can be given to a service, whatever is free.
    fn full(&self, request: &Request, pool: &Pool) -> Option<String> {
        if pool.drained {
            let name = &pool.name;
            return Some(format!("pool `{name}` is drained ('fulcrum undrain pool {name}' ends that)"));
        }
        if let Some(tenant) = &request.tenant
            && let Some(quota) = pool.quotas.get(tenant)
            && self.tenants.get(&(&pool.name, tenant)).copied().unwrap_or(0) >= *quota
        {
            let name = &pool.name;
            return Some(format!(
                "tenant `{tenant}` has as many addresses of pool `{name}` as it may: {quota}"
            ));
        }
        let group = pool.group.as_ref()?;
        let room = self.rooms.get(group).copied().unwrap_or(usize::MAX);
        (room == 0)
            .then(|| format!("group `{group}` of pool `{}` has as many VIPs as one group may", pool.name))
    }

    /// An address of `family` in `group`: one that it can share, or a free one. What was in the way comes to `tried`.
    fn choose(
        &mut self,
        request: &Request,
        family: Family,
        group: &Option<GroupName>,
        passed_over: &BTreeSet<&PoolName>,
        tried: &mut BTreeSet<String>,
    ) -> Option<(IpAddr, &'a Pool)> {
        let suits = |pool: &&Pool| {
            let fits = pool.group == *group && offers(request, pool, family) && self.is_for(request, pool);
            fits && !passed_over.contains(&pool.name)
        };
        let pools: Vec<&'a Pool> = self.pools.iter().copied().filter(suits).collect();
        for address in request.prefer.iter().filter(|address| Family::of(**address) == family) {
            if let Ok(pool) = self.for_this(request, *address)
                && pools.iter().any(|it| it.name == pool.name)
            {
                return Some((*address, pool));
            }
        }
        if let Some(shared) = key(request).and_then(|key| self.shared.get(&key)) {
            let fits = |address: &&IpAddr| {
                Family::of(**address) == family
                    && request.reaches(**address)
                    && self.may_share(request, **address).is_ok()
            };
            let fitting = shared.iter().filter(fits);
            let in_pools = fitting.filter_map(|address| {
                let pool = self.pool_of(*address)?;
                let place = pools.iter().position(|it| it.name == pool.name)?;
                Some((place, *address, pool))
            });
            if let Some((_, address, pool)) = in_pools.min_by_key(|(place, address, _)| (*place, *address)) {
                return Some((address, pool));
            }
        }
        let spans = match request.within.as_slice() {
            [] => vec![AddressSpan::all(family)],
            within => within.iter().copied().filter(|span| span.family() == family).collect(),
        };
        for span in spans {
            for pool in pools.iter().filter(|pool| pool.meets(&span)) {
                if let Some(why) = self.full(request, pool) {
                    tried.insert(why);
                } else if let Some(address) = self.free(pool, span) {
                    return Some((address, pool));
                } else if request.within.is_empty() {
                    tried.insert(words::used_up(pool, family));
                } else {
                    tried.insert(words::used_up_within(pool, span));
                }
            }
        }
        None
    }

    /// The lowest address of a pool, of those in `span`, that nobody has.
    fn free(&mut self, pool: &'a Pool, span: AddressSpan) -> Option<IpAddr> {
        let family = span.family();
        if self.used.get(&(&pool.name, family)).is_some_and(|used| *used >= pool.total(family)) {
            return None;
        }
        let place = (&pool.name, span.first);
        let from = self.from.get(&place).copied().unwrap_or(span.first);
        let mut candidate = pool.next(family, from)?;
        // Each address in use is passed over once.
        while span.contains(candidate)
            && (self.holders.contains_key(&candidate) || self.reserved.contains_key(&candidate))
        {
            self.from.insert(place, candidate);
            candidate = pool.next(family, after(candidate)?)?;
        }
        self.from.insert(place, candidate);
        Some(candidate).filter(|candidate| span.contains(*candidate))
    }
}

/// Whether `pool` has addresses of `family` that a service may have, as far as it says itself.
fn offers(request: &Request, pool: &Pool, family: Family) -> bool {
    if request.within.is_empty() {
        return pool.has_family(family);
    }
    request.within.iter().any(|span| span.family() == family && pool.meets(span))
}

fn offers_any(request: &Request, pool: &Pool) -> bool {
    offers(request, pool, Family::Ipv4) || offers(request, pool, Family::Ipv6)
}

fn share_a_word(one: &Request, other: &Request) -> bool {
    key(one).is_some() && key(one) == key(other)
}

fn key(request: &Request) -> Option<Key<'_>> {
    Some((request.service.source(), request.tenant.as_ref(), request.share.as_deref()?))
}
