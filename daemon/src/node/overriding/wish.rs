//! What an operator asks for over the file: names become what they stand for, or a refusal that says what there is.

use crate::wire::Refusal;
use fulcrum_config::{
    BackendId, Config, NodeDrain, NodeKind, NodeName, Noted, Overrides, PoolName, Service, Serving, UnixTime,
    Weight,
};
use std::net::IpAddr;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// As many overrides as nodes tell each other.
const MOST: usize = 1024;

/// What is drained, or not any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// Backends by a name: of one service (`shop/web-1`), of all that have one called so, or at that address.
    Backend(String),
    /// A node of this load balancer.
    Node(String),
    /// A pool of addresses.
    Pool(String),
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wish {
    /// No new connections, leads or addresses; those that are there end by themselves, or at the deadline.
    Drain(Target, Option<Duration>),
    /// Backends get none and lose those that they have.
    Disable(String),
    /// All of that is taken back.
    Undrain(Target),
    /// Backends have another weight, or the file's again.
    Weight(String, Option<Weight>),
}

/// Who asks, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) by: &'a str,
    pub(crate) now: UnixTime,
}

impl Asker<'_> {
    fn noted<T>(self, what: T) -> Noted<T> {
        Noted { what, by: self.by.to_owned(), since: self.now }
    }
}

/// What is asked for over the file of `config` once this is granted; and of what it is, each as people name it.
pub(crate) fn grant(
    wish: &Wish,
    config: &Config,
    asker: Asker<'_>,
) -> Result<(Overrides, Vec<String>), Refusal> {
    let mut overrides = (*config.overrides).clone();
    let of = match wish {
        Wish::Drain(Target::Backend(name), deadline) => {
            let until = deadline.map(|deadline| asker.now.after(deadline));
            serve(&mut overrides, config, name, asker, Serving::Draining(until))?
        }
        Wish::Disable(name) => serve(&mut overrides, config, name, asker, Serving::Disabled)?,
        Wish::Drain(Target::Node(name), finish) => {
            let node = node(config, name)?;
            let of = format!("lb-node {node}");
            overrides.nodes.insert(node, asker.noted(NodeDrain { finish: *finish }));
            vec![of]
        }
        Wish::Drain(Target::Pool(_), Some(_)) => {
            return Err(Refusal::new(
                "a pool has no deadline: services keep the addresses that they have; nothing was changed\n  leave \
                 --deadline out",
            ));
        }
        Wish::Drain(Target::Pool(name), None) => {
            let pool = pool(config, name)?;
            let of = format!("pool {pool}");
            overrides.pools.insert(pool, asker.noted(()));
            vec![of]
        }
        Wish::Undrain(target) => undrain(&mut overrides, config, target)?,
        Wish::Weight(name, weight) => {
            let ids = backends(config, name)?;
            for id in &ids {
                match weight {
                    Some(weight) => drop(overrides.weights.insert(id.clone(), asker.noted(*weight))),
                    None => drop(overrides.weights.remove(id)),
                }
            }
            told(&ids)
        }
    };
    if overrides.len() > MOST {
        return Err(Refusal::new(format!(
            "there would be more than {MOST} overrides; nothing was changed\n  write lasting ones into the file, and \
             'fulcrum undrain' them"
        )));
    }
    Ok((overrides, of))
}

fn serve(
    overrides: &mut Overrides,
    config: &Config,
    name: &str,
    asker: Asker<'_>,
    serving: Serving,
) -> Result<Vec<String>, Refusal> {
    let ids = backends(config, name)?;
    overrides.backends.extend(ids.iter().map(|id| (id.clone(), asker.noted(serving))));
    Ok(told(&ids))
}

fn undrain(overrides: &mut Overrides, config: &Config, target: &Target) -> Result<Vec<String>, Refusal> {
    let of = match target {
        Target::Backend(name) => {
            let ids = backends(config, name)?;
            let ids: Vec<BackendId> =
                ids.into_iter().filter(|id| overrides.backends.remove(id).is_some()).collect();
            told(&ids)
        }
        Target::Node(name) => {
            let node = node(config, name)?;
            overrides.nodes.remove(&node).map(|_| format!("lb-node {node}")).into_iter().collect()
        }
        Target::Pool(name) => {
            let pool = pool(config, name)?;
            overrides.pools.remove(&pool).map(|_| format!("pool {pool}")).into_iter().collect()
        }
    };
    if of.is_empty() {
        let (Target::Backend(name) | Target::Node(name) | Target::Pool(name)) = target;
        return Err(Refusal::new(format!(
            "{name} is not drained by an operator; nothing was changed\n  'fulcrum overrides' lists what is; a `drain` \
             of the file is taken out there"
        )));
    }
    Ok(of)
}

fn told(ids: &[BackendId]) -> Vec<String> {
    ids.iter().map(|id| format!("backend {id}")).collect()
}

/// The backends that a name stands for.
fn backends(config: &Config, name: &str) -> Result<Vec<BackendId>, Refusal> {
    let (service, name) = match name.rsplit_once('/') {
        Some((service, name)) => (Some(service), name),
        None => (None, name),
    };
    let services = config.services.values();
    let services: Vec<_> =
        services.filter(|it| service.is_none_or(|service| it.name.as_str() == service)).collect();
    if services.is_empty()
        && let Some(service) = service
    {
        return Err(absent("service", service, config.services.keys().map(|it| it.as_str())));
    }
    let ids: Vec<BackendId> = services.iter().flat_map(|service| of_service(service, name)).collect();
    if ids.is_empty() {
        let names = services.iter().flat_map(|service| service.backends.iter().map(|it| it.name.as_str()));
        return Err(absent("backend", name, names));
    }
    Ok(ids)
}

fn of_service<'a>(service: &'a Service, name: &'a str) -> impl Iterator<Item = BackendId> + 'a {
    let address: Option<IpAddr> = name.parse().ok();
    let named = move |it: &&std::sync::Arc<fulcrum_config::Backend>| {
        it.name.as_str() == name
            || service.address_of(it).to_string() == name
            || Some(it.address.ip) == address
    };
    let id = |it: &std::sync::Arc<fulcrum_config::Backend>| BackendId {
        service: service.name.clone(),
        backend: it.name.clone(),
    };
    service.backends.iter().filter(named).map(id)
}

fn node(config: &Config, name: &str) -> Result<NodeName, Refusal> {
    let node = NodeName::new(name);
    match config.nodes.get(&node) {
        None => Err(absent("node", name, config.nodes.keys().map(|it| it.as_str()))),
        Some(found) if found.kind == NodeKind::Foreign => Err(Refusal::new(format!(
            "{name} is `foreign`: it takes no orders from here; nothing was changed\n  lower its priority there"
        ))),
        Some(_) => Ok(node),
    }
}

fn pool(config: &Config, name: &str) -> Result<PoolName, Refusal> {
    let pool = PoolName::new(name);
    if config.pools.contains_key(&pool) {
        Ok(pool)
    } else {
        Err(absent("pool", name, config.pools.keys().map(|it| it.as_str())))
    }
}

fn absent<'a>(what: &str, name: &str, names: impl Iterator<Item = &'a str>) -> Refusal {
    const SHOWN: usize = 20;
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Refusal::new(format!("there is no {what} {name}; nothing was changed; there are: {names}{more}"))
}
