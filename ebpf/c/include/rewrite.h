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

/* The header of IPv4 itself: what changes in it and in its checksum leaves the sum over both as it was. */
static __always_inline long rewrite_ipv4_header(struct CONTEXT *context, const struct ends *to)
{
	void *frame = first(context, IPV4_BYTES);

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

#ifdef XDP
#include "xdp/rewrite.h"
#else
#include "tcx/rewrite.h"
#endif
