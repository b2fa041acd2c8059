/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * The headers that the programs look at, as they are on the wire. Addresses are written as words of 2 bytes
 * where an Ethernet header of 14 bytes leaves them at an odd multiple of 2.
 */
#pragma once

#include "bpf.h"

enum {
	ETHER_IPV4 = 0x0800,
	ETHER_ARP = 0x0806,
	ETHER_IPV6 = 0x86dd,
	IP_ICMP = 1,
	IP_TCP = 6,
	IP_UDP = 17,
	IP_ICMPV6 = 58,
	IPV6_HOP_BY_HOP = 0,
	IPV6_ROUTING = 43,
	IPV6_FRAGMENT = 44,
	IPV6_AUTHENTICATION = 51,
	IPV6_DESTINATION = 60,
	ND_SOLICITATION = 135,
	ND_ADVERTISEMENT = 136,
};

#define PACKED __attribute__((packed))

struct PACKED ethernet {
	__u8 destination[6];
	__u8 source[6];
	__u16 type;
};

/* RFC 791 section 3.1, without options: the addresses stand before those. */
struct PACKED ipv4 {
	__u8 version_and_length;
	__u8 service;
	__u16 length;
	__u16 identification;
	__u16 fragment;
	__u8 time_to_live;
	__u8 protocol;
	__u16 checksum;
	__u32 source;
	__u32 destination;
};

/* RFC 826, of Ethernet and IPv4. */
struct PACKED arp {
	__u16 hardware;
	__u16 protocol;
	__u8 hardware_length;
	__u8 protocol_length;
	__u16 operation;
	__u8 sender_mac[6];
	__u32 sender;
	__u8 target_mac[6];
	__u32 target;
};

/* RFC 8200 section 3. */
struct PACKED ipv6 {
	__u32 version_class_flow;
	__u16 length;
	__u8 next_header;
	__u8 hop_limit;
	__u32 source[4];
	__u32 destination[4];
};

/* RFC 4861 sections 4.3 and 4.4, up to the options. */
struct PACKED neighbour {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__u32 flags;
	__u32 target[4];
};

/* RFC 8200 section 4.5. */
struct PACKED ipv6_fragment {
	__u8 next_header;
	__u8 reserved;
	__u16 offset;
	__u32 identification;
};

/* RFC 9293 section 3.1, without options. */
struct PACKED tcp {
	__u16 source;
	__u16 destination;
	__u32 sequence;
	__u32 acknowledgment;
	__u8 offset;
	__u8 flags;
	__u16 window;
	__u16 checksum;
	__u16 urgent;
};

enum {
	TCP_FIN = 1,
	TCP_SYN = 2,
	TCP_RST = 4,
	TCP_ACK = 16,
};

/* RFC 768. */
struct PACKED udp {
	__u16 source;
	__u16 destination;
	__u16 length;
	__u16 checksum;
};

enum {
	ICMP_UNREACHABLE = 3,
	ICMP_UNREACHABLE_PORT = 3,
	ICMP_UNREACHABLE_TOO_BIG = 4,
	ICMP_TIME_EXCEEDED = 11,
	ICMP_PARAMETER_PROBLEM = 12,
	ICMPV6_UNREACHABLE = 1,
	ICMPV6_UNREACHABLE_PORT = 4,
	ICMPV6_TOO_BIG = 2,
	ICMPV6_TIME_EXCEEDED = 3,
	ICMPV6_PARAMETER_PROBLEM = 4,
};

/* RFC 792 and RFC 4443 section 2.1. */
struct PACKED icmp {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__u32 rest;
};

_Static_assert(sizeof(struct ethernet) == 14, "Ethernet header");
_Static_assert(sizeof(struct ipv4) == 20, "IPv4 header");
_Static_assert(sizeof(struct arp) == 28, "ARP packet");
_Static_assert(sizeof(struct ipv6) == 40, "IPv6 header");
_Static_assert(sizeof(struct neighbour) == 24, "ND message");
_Static_assert(sizeof(struct ipv6_fragment) == 8, "IPv6 fragment header");
_Static_assert(sizeof(struct tcp) == 20, "TCP header");
_Static_assert(sizeof(struct udp) == 8, "UDP header");
_Static_assert(sizeof(struct icmp) == 8, "ICMP header");
