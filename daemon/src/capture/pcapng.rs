//! A pcapng file (draft-ietf-opsawg-pcapng): a section, an interface for each that packets were seen at, and packets
//! with comments. All of it in this machine's byte order, as the format allows.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

#[cfg(test)]
mod tests;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const MAGIC: u32 = 0x1a2b_3c4d;
/// LINKTYPE_ETHERNET.
const ETHERNET: u16 = 1;

const END: u16 = 0;
const COMMENT: u16 = 1;
const IF_NAME: u16 = 2;
const EPB_FLAGS: u16 = 2;
const USER_APPLICATION: u16 = 4;
const IF_TIME_RESOLUTION: u16 = 9;
/// Ten to the power of minus so much of a second.
const NANOSECONDS: u8 = 9;

/// A packet as it is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    /// Since 1970.
    pub(crate) time: Duration,
    pub(crate) interface: &'a str,
    pub(crate) leaves: bool,
    /// On the wire; there may be fewer bytes.
    pub(crate) length: u32,
    pub(crate) bytes: &'a [u8],
    pub(crate) comment: &'a str,
}

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct Pcapng<W> {
    out: W,
    snaplen: u32,
    interfaces: BTreeMap<String, u32>,
}

impl<W: Write> Pcapng<W> {
    /// Begins it.
    pub(crate) fn new(out: W, snaplen: u32) -> io::Result<Self> {
        let mut file = Self { out, snaplen, interfaces: BTreeMap::new() };
        let mut body = MAGIC.to_ne_bytes().to_vec();
        body.extend(1_u16.to_ne_bytes());
        body.extend(0_u16.to_ne_bytes());
        // The section's length is not known.
        body.extend(u64::MAX.to_ne_bytes());
        option(&mut body, USER_APPLICATION, concat!("fulcrum ", env!("CARGO_PKG_VERSION")).as_bytes());
        option(&mut body, END, &[]);
        file.block(SECTION, &body)?;
        Ok(file)
    }

    /// One more packet.
    pub(crate) fn write(&mut self, record: Record<'_>) -> io::Result<()> {
        let interface = self.interface(record.interface)?;
        let nanoseconds = u64::try_from(record.time.as_nanos()).unwrap_or(u64::MAX);
        let [a, b, c, d, e, f, g, h] = nanoseconds.to_be_bytes();
        let (high, low) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        let captured = u32::try_from(record.bytes.len()).unwrap_or(u32::MAX);
        let mut body = Vec::with_capacity(record.bytes.len().saturating_add(128));
        for number in [interface, high, low, captured, record.length] {
            body.extend(number.to_ne_bytes());
        }
        body.extend(record.bytes);
        pad(&mut body);
        let direction: u32 = if record.leaves { 2 } else { 1 };
        option(&mut body, EPB_FLAGS, &direction.to_ne_bytes());
        option(&mut body, COMMENT, record.comment.as_bytes());
        option(&mut body, END, &[]);
        self.block(ENHANCED_PACKET, &body)
    }

    /// What was written can be read.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn interface(&mut self, name: &str) -> io::Result<u32> {
        if let Some(index) = self.interfaces.get(name) {
            return Ok(*index);
        }
        let mut body = ETHERNET.to_ne_bytes().to_vec();
        body.extend(0_u16.to_ne_bytes());
        body.extend(self.snaplen.to_ne_bytes());
        option(&mut body, IF_NAME, name.as_bytes());
        option(&mut body, IF_TIME_RESOLUTION, &[NANOSECONDS]);
        option(&mut body, END, &[]);
        self.block(INTERFACE, &body)?;
        let index = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        self.interfaces.insert(name.to_owned(), index);
        Ok(index)
    }

    /// Its length stands before and behind.
    fn block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len().saturating_add(12)).unwrap_or(u32::MAX).to_ne_bytes();
        self.out.write_all(&[&kind.to_ne_bytes()[..], &length, body, &length].concat())
    }
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    // None of ours is longer.
    let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
    body.extend(code.to_ne_bytes());
    body.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_ne_bytes());
    body.extend(value);
    pad(body);
}

/// To 32 bits.
fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}
