/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * Another address and port in a packet, on the side of its source or of its destination, and one hop less to live.
 * Each returns 0, or what the kernel refused.
 */
#pragma once

#include "parse.h"

enum side {
	SOURCE,
	DESTINATION,
};

/* A checksum (RFC 1624) after `from` became `to`, both of 16 bits. */
static __always_inline __u16 replaced(__u16 checksum, __u16 from, __u16 to)
{
	__u32 sum = (__u16)~checksum + (__u16)~from + to;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline __u16 replaced_address(__u16 checksum, __u32 from, __u32 to)
{
	return replaced(replaced(checksum, from, to), from >> 16, to >> 16);
}

static __always_inline __u32 checksum_at(const struct packet *packet)
{
	return packet->transport + (packet->protocol == IP_TCP ? offset_of(struct tcp, checksum)
							       : offset_of(struct udp, checksum));
}

static __always_inline __u64 zero_is_none(const struct packet *packet)
{
	return packet->protocol == IP_UDP ? ZERO_IS_NONE : 0;
}

/* The port, which stands in TCP and UDP in the same place, and its part of the checksum. */
static __always_inline long rewrite_port(struct __sk_buff *skb, const struct packet *packet, int side, __u16 port)
{
	__u16 old = side == SOURCE ? packet->source_port : packet->destination_port;
	__u32 at = packet->transport +
		   (side == SOURCE ? offset_of(struct tcp, source) : offset_of(struct tcp, destination));

	if (port == old)
		return 0;
	long failed = skb_store_bytes(skb, at, &port, sizeof(port), 0);
	if (failed || packet->unchecked)
		return failed;
	return l4_csum_replace(skb, checksum_at(packet), old, port, zero_is_none(packet) | sizeof(port));
}

/* The header of IPv4 itself: what changes in it and in its checksum leaves the sum over both as it was. */
static __always_inline long rewrite_ipv4_header(struct __sk_buff *skb, int side, __u32 address)
{
	void *frame = first(skb, IPV4_BYTES);

	if (!frame)
		return -1;
	struct ipv4 *ip = frame + sizeof(struct ethernet);
	__u32 old = side == SOURCE ? ip->source : ip->destination;
	__u16 checksum = replaced_address(ip->checksum, old, address);
	ip->checksum = replaced(checksum, be16((__u16)ip->time_to_live << 8), be16((__u16)(ip->time_to_live - 1) << 8));
	ip->time_to_live -= 1;
	if (side == SOURCE)
		ip->source = address;
	else
		ip->destination = address;
	return 0;
}

static __always_inline long rewrite_ipv4(struct __sk_buff *skb, const struct packet *packet, int side,
					 const struct address *address, __u16 port)
{
	__u32 old = side == SOURCE ? packet->source.words[3] : packet->destination.words[3];
	__u32 new = address->words[3];

	if (packet->fragment != LATER_PIECE) {
		if (!packet->unchecked &&
		    l4_csum_replace(skb, checksum_at(packet), old, new,
				    PSEUDO_HEADER | zero_is_none(packet) | sizeof(new)))
			return -1;
		if (rewrite_port(skb, packet, side, port))
			return -1;
	}
	return rewrite_ipv4_header(skb, side, new);
}

/* The header of IPv6, which has no checksum. */
static __always_inline long rewrite_ipv6_header(struct __sk_buff *skb, const struct packet *packet, int side,
						const struct address *address)
{
	__u8 hops = packet->time_to_live - 1;
	__u32 at = sizeof(struct ethernet) +
		   (side == SOURCE ? offset_of(struct ipv6, source) : offset_of(struct ipv6, destination));
	long failed = skb_store_bytes(skb, sizeof(struct ethernet) + offset_of(struct ipv6, hop_limit), &hops,
				      sizeof(hops), RECOMPUTE_CSUM);

	return failed ? failed : skb_store_bytes(skb, at, address, sizeof(*address), RECOMPUTE_CSUM);
}

static __always_inline long rewrite_ipv6(struct __sk_buff *skb, const struct packet *packet, int side,
					 const struct address *address, __u16 port)
{
	if (packet->fragment != LATER_PIECE) {
		const struct address *old = side == SOURCE ? &packet->source : &packet->destination;
		__s64 difference = csum_diff(old->words, sizeof(*old), address->words, sizeof(*address), 0);

		if (l4_csum_replace(skb, checksum_at(packet), 0, difference, PSEUDO_HEADER | zero_is_none(packet)))
			return -1;
		if (rewrite_port(skb, packet, side, port))
			return -1;
	}
	return rewrite_ipv6_header(skb, packet, side, address);
}
