/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * Checksums of packets that the plane makes itself (RFC 1071), also where the kernel leaves them to the hardware.
 */
#pragma once

#include "access.h"

/* What stands before the transport in its checksum (RFC 9293 section 3.1, RFC 8200 section 8.1). */
struct pseudo_ipv4 {
	__u32 source;
	__u32 destination;
	__u32 protocol_and_length;
};

struct pseudo_ipv6 {
	__u32 source[4];
	__u32 destination[4];
	__u32 length;
	__u32 next_header;
};

static __always_inline __u16 folded(__s64 sum)
{
	__u64 all = sum;

	all = (all & 0xffffffff) + (all >> 32);
	all = (all & 0xffff) + (all >> 16);
	all = (all & 0xffff) + (all >> 16);
	all = (all & 0xffff) + (all >> 16);
	return all;
}

/* The sum of `bytes`, a multiple of 4, and what was summed before. */
static __always_inline __s64 sum_of(const void *from, __u32 bytes, __u32 before)
{
	return csum_diff(0, 0, from, bytes, before);
}

static __always_inline __s64 sum_of_pseudo_ipv4(const struct ipv4 *ip, __u16 length)
{
	struct pseudo_ipv4 pseudo = {
		.source = ip->source,
		.destination = ip->destination,
		.protocol_and_length = be32((__u32)ip->protocol << 16 | length),
	};

	return sum_of(&pseudo, sizeof(pseudo), 0);
}

static __always_inline __s64 sum_of_pseudo_ipv6(const struct ipv6 *ip, __u16 length)
{
	struct pseudo_ipv6 pseudo = { .length = be32(length), .next_header = be32(ip->next_header) };

	__builtin_memcpy(pseudo.source, ip->source, sizeof(pseudo.source));
	__builtin_memcpy(pseudo.destination, ip->destination, sizeof(pseudo.destination));
	return sum_of(&pseudo, sizeof(pseudo), 0);
}
