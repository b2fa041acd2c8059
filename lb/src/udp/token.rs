//! What tells a worker which of its sockets an event is about.

/// What an event of epoll is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Wake,
    Listener(usize),
    Session { service: usize, id: usize },
}

impl Token {
    /// Two bits for the kind, 30 for the service and 32 for the rest; places in a slab are far below either.
    pub(super) fn pack(self) -> u64 {
        let number = |place: usize| u64::try_from(place).unwrap_or(u64::MAX);
        match self {
            Self::Wake => 0,
            Self::Listener(id) => (1 << 62) | (number(id) & 0xffff_ffff),
            Self::Session { service, id } => {
                (2 << 62) | ((number(service) & 0x3fff_ffff) << 32) | (number(id) & 0xffff_ffff)
            }
        }
    }

    pub(super) fn unpack(token: u64) -> Self {
        let place = |bits: u64| usize::try_from(bits).unwrap_or(usize::MAX);
        let id = place(token & 0xffff_ffff);
        match token >> 62 {
            1 => Self::Listener(id),
            2 => Self::Session { service: place((token >> 32) & 0x3fff_ffff), id },
            _ => Self::Wake,
        }
    }
}
