//! `backends` and `services`.

use super::{CheckReference, Member, RequestSection};
use crate::model::{BackendAddress, Balance, Mode, PortRange, Protocol, ProxyProtocolVersion, Rate, Weight};
use crate::scalar::{Label, Name, Number, OnDownWord, Sources, Time, VipWord};
use crate::table::{List, Named, Or, section};
use std::net::IpAddr;

section! {
    /// A pool of backends.
    PoolSection {
        /// How they are probed: the name of a check, or a check written out.
        check: optional CheckReference,
        /// The backends.
        members: required List<Member>,
    }
}

section! {
    /// A backend.
    MemberSection {
        /// Its name. Default: its address and port.
        name: optional Name,
        /// Its address, or address and port.
        address: required BackendAddress,
        /// Its port. Default: the one that the client connected to.
        port: optional Number<1, 65_535>,
        /// Its share of new connections, 0 to 256. Default: 1.
        weight: optional Weight,
        /// Whether it is used only when no other is left. Default: false.
        backup: optional bool,
        /// Whether it keeps its connections and gets no new ones. Default: false.
        drain: optional bool,
    }
}

section! {
    /// A service.
    ServiceSection {
        /// Its address: one of a group's VIPs, one of no group (which gets one of its own, if the nodes can elect its leader), `auto` (one of a pool), or a map that says of which pool.
        vip: optional Or<VipWord, RequestSection>,
        /// Its addresses, if it has several; all of one group, or all of none.
        vips: optional List<IpAddr>,
        /// Of pools: services of one tenant with the same word here share an address where their ports allow it.
        share: optional Name,
        /// Of pools: whom it belongs to.
        tenant: optional Name,
        /// Of pools: by which they can be for some services only.
        labels: optional Named<Label, Label>,
        /// `tcp` or `udp`. Default: tcp.
        protocol: optional Protocol,
        /// Its port, or a range such as "30000-30100".
        port: required PortRange,
        /// Who serves it: the name of a pool of `backends`, or a list of backends.
        backends: required Or<Name, List<Member>>,
        /// How backends are probed: the name of a check, a check written out, or `none`. Default: the pool's.
        check: optional CheckReference,
        /// How bytes move: `proxy`; `nat`, `dsr` or `fullnat`, by the kernel; or `auto`, which is the proxy. Default: auto.
        mode: optional Mode,
        /// How a backend is chosen: maglev, round-robin, least-connections, source or, in mode proxy, random-two. Default: maglev.
        balance: optional Balance,
        /// How many backends must be up. Default: 1.
        quorum: optional Or<Number<1, 100_000>, QuorumSection>,
        /// A backend that came up gets its full share only after this time. Default: at once.
        slow_start: optional Time<0, 3_600_000>,
        /// What happens to the connections of a backend that went down: `reset` or `drain`. Default: reset, spread over 5s.
        on_down: optional Or<OnDownWord, OnDownSection>,
        /// tcp: timeouts.
        timeouts: optional TimeoutsSection,
        /// The PROXY protocol.
        proxy_protocol: optional ProxyProtocolSection,
        /// Who may connect: networks and addresses. Default: anybody.
        sources: optional List<Sources>,
        /// Limits on connections (udp: on sessions).
        limits: optional LimitsSection,
        /// Connect to backends from the client's own address; their replies must be routed through this node. Default: false.
        transparent: optional bool,
        /// A log line for each connection: `true`, `false`, or a map. Default: false.
        log: optional Or<bool, LogSection>,
        /// udp: sessions.
        udp: optional UdpSection,
    }
}

section! {
    /// How many backends must be up.
    QuorumSection {
        /// So many.
        minimum: required Number<1, 100_000>,
        /// The service goes down below minimum - hysteresis, and comes up at minimum + hysteresis. Default: 0.
        hysteresis: optional Number<0, 100_000>,
    }
}

section! {
    /// What happens to the connections of a backend that went down.
    OnDownSection {
        /// They are closed with RST.
        reset: required SpreadSection,
    }
}

section! {
    /// How closing is paced.
    SpreadSection {
        /// Time within which all are closed. Default: 5s.
        spread: optional Time<0, 600_000>,
    }
}

section! {
    /// Timeouts of the proxy.
    TimeoutsSection {
        /// To connect to one backend. Default: 5s.
        connect: optional Time<1, 600_000>,
        /// Without a byte either way. Default: 1h.
        idle: optional Time<100, 604_800_000>,
        /// After one side has closed, without a byte from the other. Default: 30s.
        half_close: optional Time<100, 604_800_000>,
        /// Of a connection as a whole. Default: none.
        max: optional Time<1_000, 31_536_000_000>,
        /// Data sent and not acknowledged for this long ends the connection. Default: 60s.
        unacknowledged: optional Time<1_000, 86_400_000>,
    }
}

section! {
    /// The PROXY protocol.
    ProxyProtocolSection {
        /// Tell backends the client's address: `v1` (tcp only) or `v2`.
        send: optional ProxyProtocolVersion,
        /// Networks of the proxies in front, whose headers are expected and believed.
        receive_from: optional List<Sources>,
    }
}

section! {
    /// Limits; without one, only the process's own holds.
    LimitsSection {
        /// Connections at a time.
        connections: optional Number<1, { u32::MAX }>,
        /// Connections at a time from one client address (IPv6: its /64).
        connections_per_client: optional Number<1, { u32::MAX }>,
        /// New connections, such as `100/s`.
        rate: optional Or<Rate, RateSection>,
        /// New connections from one client address (IPv6: its /64), such as `10/s`.
        rate_per_client: optional Or<Rate, RateSection>,
    }
}

section! {
    /// A rate.
    RateSection {
        /// So many a second on average.
        per_second: required Number<1, { u32::MAX }>,
        /// So many at once. Default: as many as a second.
        burst: optional Number<1, { u32::MAX }>,
    }
}

section! {
    /// The log of connections.
    LogSection {
        /// One of so many connections. Default: 1, every one.
        sample: optional Number<1, { u32::MAX }>,
        /// At most so many lines a second. Default: 100.
        lines_per_second: optional Number<1, 1_000_000>,
    }
}

section! {
    /// Sessions of UDP.
    UdpSection {
        /// A session without a datagram either way for this long ends. Default: 30s.
        idle: optional Time<100, 86_400_000>,
        /// A session ends when each of its datagrams has had so many replies (1 suits DNS). Default: any number.
        responses: optional Number<1, { u32::MAX }>,
        /// Sessions at a time. Default: 16384.
        sessions: optional Number<1, 10_000_000>,
    }
}
