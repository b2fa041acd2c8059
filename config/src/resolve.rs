//! From what the file says to a valid [`Config`]: names resolve, addresses lie in networks, timings can work.
//!
//! Each step goes on past what is refused, so that every mistake is reported at once.

mod address_pools;
mod addresses;
mod admin;
mod allocations;
mod checks;
mod forwarding;
mod groups;
mod hooks;
mod kubernetes;
mod nodes;
mod overrides;
mod own;
mod peer;
mod pools;
mod services;
mod witness;
mod written;

use crate::file::{File, TimingSection};
use crate::fragment::Fragment;
use crate::model::{AdvertInterval, Config, DEFAULT_FLOWS, SharedDigest, Timing};
use crate::parse::Before;
use crate::reader::{Field, Reader};
use crate::scalar::Profile;
use crate::table::Or;
use allocations::Allocated;
use std::sync::Arc;
use written::{Services, SetAside};

/// `None` if anything of the file was refused; it has been reported then. What is wrong of fragments is set aside, and the
/// rest is read again as if that were not there.
pub(crate) fn resolve(
    reader: &mut Reader<'_>,
    file: &File,
    fragments: &[Fragment],
    host_name: &str,
    before: &Before,
) -> Option<Config> {
    let mark = reader.mark();
    let mut aside = SetAside::default();
    aside.add(reader.take_asides());
    loop {
        let services = aside.rest(reader, file, fragments);
        let config = resolve_once(reader, file, &services, host_name, before);
        let found = reader.take_asides();
        if found.is_empty() || reader.refused() {
            let mut config = config?;
            config.sources = Arc::new(aside.told(reader, &before.fragments, fragments));
            return Some(config);
        }
        aside.add(found);
        reader.rewind(&mark);
    }
}

fn resolve_once(
    reader: &mut Reader<'_>,
    file: &File,
    written: &Services<'_>,
    host_name: &str,
    before: &Before,
) -> Option<Config> {
    let timing = timing(file);
    let nodes = nodes::resolve(reader, file, host_name);
    let interfaces = nodes::interfaces(reader, file);
    nodes::check_sources(reader, &nodes, &interfaces);
    let mut ranges = address_pools::resolve(reader, file, &nodes, &interfaces);
    for (name, pool) in &mut ranges.all {
        pool.drained = before.overrides.pools.contains_key(name);
    }
    let mut groups = groups::resolve(reader, file, &nodes, &interfaces, &timing, &ranges);
    address_pools::check_groups(reader, file, &mut ranges, &groups);
    let own = own::Around { nodes: &nodes, interfaces: &interfaces, timing: &timing, ranges: &ranges };
    own::of_services(reader, file, written, &own, &mut groups);
    let witness = witness::resolve(reader, file, &nodes, &interfaces, &groups);
    let Allocated { active, all } = allocations::resolve(reader, written, &ranges, &mut groups, before);
    own::of_pools(reader, &own, written, &active, &mut groups);
    if groups.all.is_empty() && reader.child(file.at, "groups").is_none() {
        reader.warn(file.at, "there is no VIP group: this node answers for nothing", "add `groups:`");
    }
    let checks = checks::resolve(reader, file);
    let pools = pools::resolve(reader, file, &checks, &groups, &ranges);
    let around = services::Around { checks: &checks, pools: &pools, groups: &groups, ranges: &ranges };
    let services = services::resolve(reader, written, &around, &active);
    let kubernetes = kubernetes::resolve(reader, file, &checks);
    let hooks = hooks::resolve(reader, file, &groups, before.programs);
    let admin = admin::resolve(file);
    let peer = peer::resolve(reader, file, &nodes);
    forwarding::warn_untold(reader, file, &nodes, &peer);
    kubernetes::warn_untold(reader, file, &nodes, &peer);
    if reader.refused() {
        return None;
    }
    let mut config = Config {
        node: nodes.own?,
        nodes: nodes.all,
        interfaces: interfaces.all,
        // One whose pools nobody uses has nothing to answer for.
        groups: groups.all.into_iter().filter(|(_, group)| !group.vips.is_empty()).collect(),
        witness,
        services,
        pools: ranges.all,
        allocations: Arc::new(all),
        overrides: Arc::default(),
        kubernetes,
        sources: Arc::default(),
        hooks,
        timing,
        admin,
        peer,
        xdp: file.xdp.get().copied().unwrap_or_default(),
        flows: file.flows.get().map_or(DEFAULT_FLOWS, |flows| flows.0),
        shared: SharedDigest::default(),
    };
    overrides::apply(reader, file.at, before, &mut config);
    Some(config)
}

fn timing(file: &File) -> Timing {
    match file.timing.get() {
        None => Timing::default(),
        Some(Or::Short(profile)) => profile_timing(*profile),
        Some(Or::Long(section)) => section_timing(section),
    }
}

fn profile_timing(profile: Profile) -> Timing {
    match profile {
        Profile::Default => Timing::default(),
        Profile::Fast => Timing { advert_interval: AdvertInterval::FLOOR, ..Timing::default() },
    }
}

fn section_timing(section: &TimingSection) -> Timing {
    let mut timing = profile_timing(section.profile.get().copied().unwrap_or(Profile::Default));
    if let Some(interval) = section.advert_interval.get() {
        timing.advert_interval = *interval;
    }
    if let Some(announce) = section.announce.get() {
        timing.announce_burst = announce.burst.get().map_or(timing.announce_burst, |burst| burst.0);
        timing.announce_spacing = announce.spacing.get().map_or(timing.announce_spacing, |spacing| spacing.0);
        timing.announce_refresh = announce.refresh.get().map_or(timing.announce_refresh, |refresh| refresh.0);
    }
    timing.track_damping = section.track_damping.get().map_or(timing.track_damping, |damping| damping.0);
    timing
}
