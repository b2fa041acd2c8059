//! The decoders of what backends answer, for the fuzz targets.

use super::{dns, echo, grpc};

/// Whether `bytes` are the good answer to a query for the address of `example.com`, its identifier being 1.
#[must_use]
pub fn dns_answer(bytes: &[u8]) -> bool {
    dns::is_good_answer("example.com", "A", 1, bytes)
}

/// The status in a framed answer of gRPC health checking.
#[must_use]
pub fn grpc_answer(bytes: &[u8]) -> Option<i32> {
    grpc::decode(bytes)
}

/// Identifier, sequence number and token of an echo reply.
#[must_use]
pub fn echo_reply(is_ipv6: bool, bytes: &[u8]) -> Option<(u16, u16, u64)> {
    let family = if is_ipv6 { echo::Family::V6 } else { echo::Family::V4 };
    let reply = echo::Echo::parse_reply(family, bytes)?;
    Some((reply.identifier, reply.sequence, reply.token))
}
