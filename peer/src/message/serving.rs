//! What is said of forwarded services, in portions: each tells of some, and later ones of the same service replace it.

use super::{Misfit, WINDOW};
use crate::serving::{Judged, Usage, Verdict};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fulcrum_config::{AddressSlots, BackendAddress, ServiceName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

#[cfg(test)]
pub(crate) mod tests;

/// Services in a portion, at most.
pub(crate) const SERVICES_LIMIT: usize = 4096;
/// Backends of a service, at most.
const BACKENDS_LIMIT: usize = 8192;
/// Slots of a table, at most.
const SLOTS_LIMIT: usize = 1 << 16;
/// The longest name of a service: that of a parsed file is shorter.
const NAME_LIMIT: usize = 256;
/// For how long an older table holds, at most.
const HOLD_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// How long a portion grows, unless one service alone is longer: whoever reads it has heartbeats to answer in between.
const FULL: usize = WINDOW as usize / 32;
/// The greatest sizes in JSON: of what each service has, each backend, each address.
const SIZES: (usize, usize, usize) = (400, 140, 90);

/// Some services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Portion {
    /// Which life of the sender's said it.
    pub(crate) instance: u64,
    /// Grows with each portion.
    pub(crate) sequence: u64,
    /// What was said in portions before this one is void.
    pub(crate) since: u64,
    /// What there is to be said; none of a service that there is nothing more to be said of.
    pub(crate) services: BTreeMap<ServiceName, Option<Told>>,
}

/// What is said of a service. Times are counted from when it is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) verdict: Option<Arc<Verdict>>,
    /// Of the current table, and of the previous.
    pub(crate) tables: Option<(u64, u64)>,
    pub(crate) older: Option<(Duration, Arc<AddressSlots>)>,
}

#[derive(Serialize, Deserialize)]
struct Body {
    instance: u64,
    sequence: u64,
    since: u64,
    services: BTreeMap<ServiceName, Option<ToldBody>>,
}

#[derive(Serialize, Deserialize)]
struct ToldBody {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verdict: Option<VerdictBody>,
    /// In hexadecimal: JSON's numbers are not the same everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tables: Option<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    older: Option<OlderBody>,
}

#[derive(Serialize, Deserialize)]
struct VerdictBody {
    up: bool,
    backends: Vec<BackendBody>,
}

#[derive(Serialize, Deserialize)]
struct BackendBody {
    ip: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    usage: Usage,
    weight: u32,
}

#[derive(Serialize, Deserialize)]
struct OlderBody {
    left_ms: u64,
    backends: Vec<AddressBody>,
    /// Bytes in base64: one for each slot if there are no more than 255 backends, else two (big endian).
    slots: String,
}

#[derive(Serialize, Deserialize)]
struct AddressBody {
    ip: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

impl Told {
    /// How long it may be in JSON.
    fn size(&self) -> usize {
        let (each, backend, address) = SIZES;
        let backends = self.verdict.as_ref().map_or(0, |verdict| verdict.backends.len());
        let older = self.older.as_ref().map_or(0, |(_, older)| {
            let slots = older.slots.len().saturating_mul(if is_short(older) { 4 } else { 8 }) / 3;
            older.backends.len().saturating_mul(address).saturating_add(slots)
        });
        each.saturating_add(backends.saturating_mul(backend)).saturating_add(older)
    }
}

impl Portion {
    /// Splits what is to be said into portions that fit a message each.
    pub(crate) fn split(
        services: BTreeMap<ServiceName, Option<Told>>,
    ) -> Vec<BTreeMap<ServiceName, Option<Told>>> {
        let mut portions = vec![BTreeMap::new()];
        let mut size: usize = 0;
        for (name, told) in services {
            let more = told.as_ref().map_or(0, Told::size).saturating_add(name.as_str().len());
            if size.saturating_add(more) > FULL && size > 0 {
                portions.push(BTreeMap::new());
                size = 0;
            }
            size = size.saturating_add(more);
            if let Some(last) = portions.last_mut() {
                last.insert(name, told);
            }
        }
        portions
    }

    pub(super) fn encode(&self) -> serde_json::Result<Vec<u8>> {
        let services = self.services.iter().map(|(name, told)| (name.clone(), told.as_ref().map(told_body)));
        let Self { instance, sequence, since, .. } = *self;
        serde_json::to_vec(&Body { instance, sequence, since, services: services.collect() })
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, Misfit> {
        let body: Body = serde_json::from_slice(body).map_err(|_| Misfit::Malformed)?;
        if body.services.len() > SERVICES_LIMIT || body.since > body.sequence {
            return Err(Misfit::Malformed);
        }
        let service = |(name, told): (ServiceName, Option<ToldBody>)| {
            if name.as_str().is_empty() || name.as_str().len() > NAME_LIMIT {
                return Err(Misfit::Malformed);
            }
            Ok((name, told.map(told_of).transpose()?))
        };
        let services = body.services.into_iter().map(service).collect::<Result<_, _>>()?;
        Ok(Self { instance: body.instance, sequence: body.sequence, since: body.since, services })
    }
}

fn told_body(told: &Told) -> ToldBody {
    let verdict = told.verdict.as_ref().map(|verdict| VerdictBody {
        up: verdict.up,
        backends: verdict
            .backends
            .iter()
            .map(|(address, judged)| BackendBody {
                ip: address.ip,
                port: address.port,
                usage: judged.usage,
                weight: judged.weight,
            })
            .collect(),
    });
    let older = told.older.as_ref().map(|(left, older)| OlderBody {
        left_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        backends: older.backends.iter().map(|it| AddressBody { ip: it.ip, port: it.port }).collect(),
        slots: STANDARD.encode(slot_bytes(older)),
    });
    let tables =
        told.tables.map(|(current, previous)| (format!("{current:016x}"), format!("{previous:016x}")));
    ToldBody { verdict, tables, older }
}

fn told_of(body: ToldBody) -> Result<Told, Misfit> {
    let tables = body.tables.map(|(current, previous)| Ok((sum(&current)?, sum(&previous)?))).transpose()?;
    Ok(Told {
        verdict: body.verdict.map(verdict_of).transpose()?.map(Arc::new),
        tables,
        older: body.older.map(older_of).transpose()?,
    })
}

fn verdict_of(body: VerdictBody) -> Result<Verdict, Misfit> {
    if body.backends.len() > BACKENDS_LIMIT {
        return Err(Misfit::Malformed);
    }
    let backends = body.backends.into_iter().map(|it| {
        let address = BackendAddress { ip: it.ip, port: it.port };
        (address, Judged { usage: it.usage, weight: it.weight })
    });
    Ok(Verdict { up: body.up, backends: backends.collect() })
}

fn sum(text: &str) -> Result<u64, Misfit> {
    let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|_| is_hex).ok_or(Misfit::Malformed)
}

/// Whether a byte is enough for a slot.
fn is_short(older: &AddressSlots) -> bool {
    older.backends.len() <= usize::from(u8::MAX)
}

fn slot_bytes(older: &AddressSlots) -> Vec<u8> {
    let skip = usize::from(is_short(older));
    older.slots.iter().flat_map(|slot| slot.to_be_bytes().into_iter().skip(skip)).collect()
}

fn older_of(body: OlderBody) -> Result<(Duration, Arc<AddressSlots>), Misfit> {
    let count = u16::try_from(body.backends.len()).map_err(|_| Misfit::Malformed)?;
    let bytes = STANDARD.decode(body.slots).map_err(|_| Misfit::Malformed)?;
    let slots: Vec<u16> = if count <= u16::from(u8::MAX) {
        bytes.into_iter().map(u16::from).collect()
    } else {
        if bytes.len() % 2 != 0 {
            return Err(Misfit::Malformed);
        }
        let pair = |pair: &[u8]| pair.first_chunk().map_or(0, |pair| u16::from_be_bytes(*pair));
        bytes.chunks_exact(2).map(pair).collect()
    };
    let is_good = usize::from(count) <= BACKENDS_LIMIT
        && slots.len() <= SLOTS_LIMIT
        && slots.iter().all(|slot| *slot <= count);
    if !is_good {
        return Err(Misfit::Malformed);
    }
    let backends = body.backends.into_iter().map(|it| BackendAddress { ip: it.ip, port: it.port }).collect();
    let left = Duration::from_millis(body.left_ms).min(HOLD_LIMIT);
    Ok((left, Arc::new(AddressSlots { backends, slots })))
}
