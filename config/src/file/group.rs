//! `timing`, `nodes`, `interfaces` and `groups`.

use crate::model::{AdvertInterval, Adverts, Class, KeyPin, OnFailure, OnSplit, Priority, Vrid, Weight};
use crate::scalar::{LinkName, Name, Number, Profile, Time, TrackWord};
use crate::table::{List, Named, Or, section};
use ipnet::IpNet;
use std::net::IpAddr;

section! {
    /// How fast things go.
    TimingSection {
        /// What holds where nothing else is written: `default` or `fast`.
        profile: optional Profile,
        /// How often a leader advertises: 10ms to 40950ms in steps of 10ms. Default: 100ms, with `fast` 10ms.
        advert_interval: optional AdvertInterval,
        /// Gratuitous ARP and unsolicited NA.
        announce: optional AnnounceSection,
        /// How long a track must be good before its failure is forgiven. Default: 3s.
        track_damping: optional Time<0, 3_600_000>,
    }
}

section! {
    /// How neighbours are told where a VIP is.
    AnnounceSection {
        /// How many at once after a takeover. Default: 5.
        burst: optional Number<1, 100>,
        /// Time between those. Default: 200ms.
        spacing: optional Time<1, 10_000>,
        /// Time between later ones; a switch forgets after 300s. Default: 60s.
        refresh: optional Time<1_000, 250_000>,
    }
}

section! {
    /// A load balancer node.
    NodeSection {
        /// Its own addresses, from which it sends adverts: at most one in each network.
        addresses: required List<IpAddr>,
        /// The highest leads: 1 to 254; 255 is for the owner of the addresses. Default: 100.
        priority: optional Priority,
        /// Its share of the groups that the nodes elect leaders of: 0 to 256, 0 for none as long as another node lives. Default: 1.
        weight: optional Weight,
        /// What it shares with other nodes that may fail at once, such as the name of its hypervisor: the leader of a group and its first standby are of different ones where they can be. Default: none.
        domain: optional Name,
        /// Whether it runs another VRRPv3 router (keepalived, FRR). Default: false.
        foreign: optional bool,
        /// The keys that it may show on the peer link, as `fulcrum peer-key` prints them; two while one is being replaced. Default: none, and no link.
        keys: optional List<KeyPin>,
    }
}

section! {
    /// An interface that VIPs live behind.
    InterfaceSection {
        /// The networks on it; each VIP behind it lies in one.
        networks: optional List<IpNet>,
        /// Answer with the virtual MAC 00:00:5e:00:01:VRID, which hypervisors rarely permit. Default: false.
        virtual_mac: optional bool,
    }
}

section! {
    /// A VIP group.
    GroupSection {
        /// What it carries: `control-plane` is protected. Default: workload.
        class: optional Class,
        /// The virtual router identifier, 1 to 255, the same on every node and used by no other router there. Without one the nodes elect its leader over the peer link, which needs keys on every node.
        vrid: optional Vrid,
        /// The addresses that move together, besides those of its pools.
        vips: optional List<Or<IpAddr, VipSection>>,
        /// Priorities of nodes in this group, where they differ from those in `nodes`.
        priorities: optional Named<Name, Priority>,
        /// How often its leader advertises. Default: that of `timing`.
        advert_interval: optional AdvertInterval,
        /// Where adverts go: `multicast` or `unicast` (to the addresses of the other nodes). Default: multicast.
        adverts: optional Adverts,
        /// Whether a node of higher priority takes the group from a living leader: `true` (at once), `false`, or after a delay. Default: false.
        preempt: optional Or<bool, PreemptSection>,
        /// What is so while nodes do not hear each other: `serve` (each part of them has a leader) or `one` (more than half of the nodes have one, or half of them with the witness; the others have none). For groups without a VRID. Default: serve.
        on_split: optional OnSplit,
        /// Whether a standby asks from outside (ARP or ND, then the TCP ports) if the leader answers for each address: `true`, `false`, or how. Default: true.
        proof: optional Or<bool, ProofSection>,
        /// How long this node finishes its proxied TCP connections after it handed the group to another node, which passes their packets on to it; `0s` ends them at once. Needs the peer link. Default: 5m.
        drain: optional Time<0, 86_400_000>,
        /// Whether the addresses are local to the leader; services need it. Default: true.
        accept: optional bool,
        /// What makes this node unfit to lead. The data plane is always tracked unless it says `data_plane: false`.
        track: optional List<Or<TrackWord, TrackSection>>,
    }
}

section! {
    /// An address that moves between nodes.
    VipSection {
        /// The address.
        address: required IpAddr,
        /// The interface it lives behind. Default: the one that has its network.
        interface: optional LinkName,
    }
}

section! {
    /// When a node of higher priority takes over.
    PreemptSection {
        /// How long it has to see the lower one lead.
        delay: required Time<0, 86_400_000>,
    }
}

section! {
    /// How a standby asks whether the leader answers.
    ProofSection {
        /// Time between questions for each address; a node asks at most a hundred times a second. Default: 2s.
        interval: optional Time<200, 3_600_000>,
        /// Whether the TCP ports of services are asked for, too, by a SYN that is never completed. Default: true.
        ports: optional bool,
        /// What comes of a leader that does not answer: `alarm`, or `hand-over`: a standby asks it over the peer link to hand the group over, and it comes last for ten minutes. Default: alarm.
        on_failure: optional OnFailure,
    }
}

section! {
    /// Something that can make this node unfit to lead: one of `link`, `gateway` and `data_plane`.
    TrackSection {
        /// An interface whose link must be up.
        link: optional LinkName,
        /// A neighbour that must answer ARP or ND.
        gateway: optional IpAddr,
        /// Whether the local data plane is tracked.
        data_plane: optional bool,
        /// Of a gateway: the interface it is behind. Default: the one that has its network.
        interface: optional LinkName,
        /// Of a gateway: time between probes. Default: 1s.
        interval: optional Time<10, 3_600_000>,
        /// Of a gateway: answers in a row that make it good again. Default: 2.
        rise: optional Number<1, 1_000>,
        /// Of a gateway: probes without answer in a row that make it failed. Default: 3.
        fall: optional Number<1, 1_000>,
        /// Lower the priority by this much on failure. Default: the node must not lead at all.
        lower: optional Number<1, 253>,
    }
}
