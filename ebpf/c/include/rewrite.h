/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * Other addresses and ports in a packet, and one hop less to live. Each returns 0, or what the kernel refused.
 */
#pragma once

#include "parse.h"

/* Between whom a packet is. */
struct ends {
	struct address source;
	struct address destination;
	__u16 source_port;
	__u16 destination_port;
};

static __always_inline struct ends ends_of(const struct packet *packet)
{
	return (struct ends){
		.source = packet->source,
		.destination = packet->destination,
		.source_port = packet->source_port,
		.destination_port = packet->destination_port,
	};
}

/* A checksum (RFC 1624) after `from` became `to`, both of 16 bits. */
static __always_inline __u16 replaced(__u16 checksum, __u16 from, __u16 to)
{
	__u32 sum = (__u16)~checksum + (__u16)~from + to;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline __u16 replaced_words(__u16 checksum, __u32 from, __u32 to)
{
	return replaced(replaced(checksum, from, to), from >> 16, to >> 16);
}

/* By what the addresses change a checksum (RFC 1071). */
static __always_inline __u32 difference_ipv4(const struct packet *from, const struct ends *to)
{
	__u64 sum = (__u64)~from->source.words[3] % (1ull << 32) + to->source.words[3];

	sum += (__u64)~from->destination.words[3] % (1ull << 32) + to->destination.words[3];
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

/* Both have their two addresses first. */
static __always_inline __u32 difference_ipv6(const struct packet *from, const struct ends *to)
{
	const __u32 bytes = 2 * sizeof(struct address);

	return csum_diff(from->source.words, bytes, to->source.words, bytes, 0);
}

_Static_assert(offset_of(struct packet, source) == 0 && offset_of(struct packet, destination) == 16, "two addresses");
_Static_assert(offset_of(struct ends, source) == 0 && offset_of(struct ends, destination) == 16, "two addresses");

/* As they stand in TCP and UDP: the source's first. */
static __always_inline __u32 both_ports(__u16 source, __u16 destination)
{
	union {
		__u16 ports[2];
		__u32 word;
	} both = { .ports = { source, destination } };

	return both.word;
}

static __always_inline __u32 checksum_at(const struct packet *packet)
{
	return packet->transport + (packet->protocol == IP_TCP ? offset_of(struct tcp, checksum)
							       : offset_of(struct udp, checksum));
}

/* The ports, and the checksum over them and the addresses. The kernel must know which of both changed, for a packet
 * whose checksum is still to be filled in has only the addresses in it. */
static __always_inline long rewrite_transport(struct __sk_buff *skb, const struct packet *packet,
					      const struct ends *to, __u32 difference)
{
	__u64 flags = packet->protocol == IP_UDP ? ZERO_IS_NONE : 0;
	__u32 old = both_ports(packet->source_port, packet->destination_port);
	__u32 new = both_ports(to->source_port, to->destination_port);

	if (packet->fragment == LATER_PIECE)
		return 0;
	if (!packet->unchecked &&
	    l4_csum_replace(skb, checksum_at(packet), 0, difference, PSEUDO_HEADER | flags))
		return -1;
	if (old == new)
		return 0;
	if (skb_store_bytes(skb, packet->transport, &new, sizeof(new), 0))
		return -1;
	return packet->unchecked ? 0 : l4_csum_replace(skb, checksum_at(packet), old, new, flags | sizeof(new));
}

/* The header of IPv4 itself: what changes in it and in its checksum leaves the sum over both as it was. */
static __always_inline long rewrite_ipv4_header(struct __sk_buff *skb, const struct ends *to)
{
	void *frame = first(skb, IPV4_BYTES);

	if (!frame)
		return -1;
	struct ipv4 *ip = frame + sizeof(struct ethernet);
	__u16 checksum = replaced_words(ip->checksum, ip->source, to->source.words[3]);
	checksum = replaced_words(checksum, ip->destination, to->destination.words[3]);
	ip->checksum = replaced(checksum, be16((__u16)ip->time_to_live << 8), be16((__u16)(ip->time_to_live - 1) << 8));
	ip->time_to_live -= 1;
	ip->source = to->source.words[3];
	ip->destination = to->destination.words[3];
	return 0;
}

/* The header of IPv6, which has no checksum. */
static __always_inline long rewrite_ipv6_header(struct __sk_buff *skb, const struct packet *packet,
						const struct ends *to)
{
	__u8 hops = packet->time_to_live - 1;
	__u32 at = sizeof(struct ethernet) + offset_of(struct ipv6, hop_limit);

	if (skb_store_bytes(skb, at, &hops, sizeof(hops), RECOMPUTE_CSUM))
		return -1;
	at = sizeof(struct ethernet) + offset_of(struct ipv6, source);
	return skb_store_bytes(skb, at, to, 2 * sizeof(struct address), RECOMPUTE_CSUM);
}

static __always_inline long rewrite(struct __sk_buff *skb, const struct packet *packet, const struct ends *to,
				    __u32 family)
{
	if (family == FAMILY_IPV4) {
		if (rewrite_transport(skb, packet, to, difference_ipv4(packet, to)))
			return -1;
		return rewrite_ipv4_header(skb, to);
	}
	if (rewrite_transport(skb, packet, to, difference_ipv6(packet, to)))
		return -1;
	return rewrite_ipv6_header(skb, packet, to);
}
