//! The sockets of one link: VRRP adverts in and out, ARP or ND in and out.

mod filter;
mod neighbour;
mod packet;
mod segment;
mod senders;
mod vrrp;

pub(crate) use neighbour::NeighbourSocket;
pub(crate) use packet::advert_frame;
pub(crate) use segment::SegmentSocket;
pub(crate) use senders::SenderSocket;
pub(crate) use vrrp::VrrpSocket;

use std::io;

/// What a read that found nothing gives: a socket that is not ready is no error.
fn ready<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
