//! Options of neighbour discovery (RFC 4861 section 4.6).

use crate::frame::{Mac, Refusal};

pub(super) const SOURCE_LINK_LAYER: u8 = 1;
pub(super) const TARGET_LINK_LAYER: u8 = 2;

/// The link-layer address in the first option of type `wanted`. Unknown options are skipped.
///
/// # Errors
/// An option of length zero or one that ends too late (section 7.1: drop the message).
pub(super) fn link_layer(mut options: &[u8], wanted: u8) -> Result<Option<Mac>, Refusal> {
    let mut found = None;
    while let &[kind, eights, ..] = options {
        let length = usize::from(eights).saturating_mul(8);
        if length == 0 {
            return Err(Refusal::Malformed);
        }
        let (option, rest) = options.split_at_checked(length).ok_or(Refusal::Truncated)?;
        let mac = option.get(2..8).and_then(|mac| <[u8; 6]>::try_from(mac).ok());
        if kind == wanted && found.is_none() {
            found = mac.map(Mac::from);
        }
        options = rest;
    }
    if options.is_empty() { Ok(found) } else { Err(Refusal::Truncated) }
}
