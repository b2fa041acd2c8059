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
	IP_ICMPV6 = 58,
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

_Static_assert(sizeof(struct ethernet) == 14, "Ethernet header");
_Static_assert(sizeof(struct ipv4) == 20, "IPv4 header");
_Static_assert(sizeof(struct arp) == 28, "ARP packet");
_Static_assert(sizeof(struct ipv6) == 40, "IPv6 header");
_Static_assert(sizeof(struct neighbour) == 24, "ND message");
