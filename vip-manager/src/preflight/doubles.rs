//! What `fulcrum restore` asks this room: has another machine the addresses of the node that is to come back?

use super::sweep::{Heard, Questions, sweep};
use super::{links_of, view};
use crate::driver::identity;
use crate::frame::Mac;
use crate::netlink::View;
use fulcrum_config::{Config, Link};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// A sentence for each of this node's addresses that another machine answers for or sends adverts from. What can't be
/// asked is not known.
#[must_use]
pub fn doubles(config: &Config) -> Vec<String> {
    let Ok(view) = view() else { return Vec::new() };
    let links = links_of(config, &BTreeSet::new());
    let own = config.nodes.get(&config.node).map(|node| node.addresses.clone()).unwrap_or_default();
    let found = std::thread::scope(|scope| {
        let asked: Vec<_> =
            links.iter().map(|link| scope.spawn(|| one_link(config, &view, link, &own))).collect();
        asked.into_iter().filter_map(|thread| thread.join().ok()).flatten().collect::<BTreeSet<_>>()
    });
    found.into_iter().collect()
}

fn one_link(config: &Config, view: &View, link: &Link, own: &[IpAddr]) -> Vec<String> {
    let Ok(identity) = identity(config, view, link) else { return Vec::new() };
    // As one asks for addresses that nobody should have.
    let questions = Questions { free: own.iter().copied().collect(), ..Questions::default() };
    let Ok(heard) = sweep(link, &identity, &questions) else { return Vec::new() };
    of_others(&heard, own, |mac| view.has_mac(mac.octets()))
}

fn of_others(heard: &Heard, own: &[IpAddr], is_ours: impl Fn(Mac) -> bool) -> Vec<String> {
    let answers = heard.answers.iter().flat_map(|(address, macs)| macs.iter().map(move |mac| (address, mac)));
    let answers = answers.map(|(address, mac)| (*mac, format!("{mac} answers for {address}")));
    let adverts = heard.adverts.iter().filter(|(source, _, _)| own.contains(source));
    let adverts = adverts.map(|(source, _, mac)| (*mac, format!("{mac} sends adverts from {source}")));
    answers.chain(adverts).filter(|(mac, _)| !is_ours(*mac)).map(|(_, words)| words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_machine_says_is_told_from_what_this_one_does() {
        let (ours, theirs) = (Mac::new(2, 0, 0, 0, 0, 1), Mac::new(2, 0, 0, 0, 0, 2));
        let (own, other): (IpAddr, IpAddr) = ([10, 0, 0, 11].into(), [10, 0, 0, 12].into());
        let mut heard = Heard::default();
        heard.answers.entry(own).or_default().insert(ours);
        heard.adverts.extend([(other, 51, theirs), (own, 51, ours)]);
        let found = |heard: &Heard| of_others(heard, &[own], |mac| mac == ours);
        assert_eq!(found(&heard), Vec::<String>::new());
        heard.answers.entry(own).or_default().insert(theirs);
        heard.adverts.insert((own, 51, theirs));
        assert_eq!(
            found(&heard),
            [format!("{theirs} answers for 10.0.0.11"), format!("{theirs} sends adverts from 10.0.0.11")]
        );
    }
}
