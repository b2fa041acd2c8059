/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * Rewriting a frame as it came from the wire, whose checksum is whole, and whose headers have no options.
 */
#pragma once

#include "../checksum.h"

/* The ports and the checksum over them and the addresses. */
static __always_inline void rewrite_ports(__u16 *ports, __u16 *checksum, const struct packet *packet,
					  const struct ends *to, __u32 difference)
{
	__u32 old = both_ports(packet->source_port, packet->destination_port);
	__u32 new = both_ports(to->source_port, to->destination_port);

	ports[0] = to->source_port;
	ports[1] = to->destination_port;
	if (packet->unchecked)
		return;
	__u16 after = replaced_words(replaced(*checksum, 0, folded(difference)), old, new);
	/* RFC 768: 0 says that there is none. */
	*checksum = packet->protocol == IP_UDP && !after ? 0xffff : after;
}

static __always_inline long rewrite_transport(struct xdp_md *xdp, const struct packet *packet, const struct ends *to,
					      __u32 difference, __u32 family)
{
	__u32 at = family == FAMILY_IPV4 ? IPV4_BYTES : IPV6_BYTES;
	void *frame;

	if (packet->protocol == IP_TCP) {
		frame = first(xdp, at + sizeof(struct tcp));
		if (!frame)
			return -1;
		rewrite_ports(frame + at, frame + at + offset_of(struct tcp, checksum), packet, to, difference);
		return 0;
	}
	frame = first(xdp, at + sizeof(struct udp));
	if (!frame)
		return -1;
	rewrite_ports(frame + at, frame + at + offset_of(struct udp, checksum), packet, to, difference);
	return 0;
}

static __always_inline long rewrite(struct xdp_md *xdp, const struct packet *packet, const struct ends *to,
				    __u32 family)
{
	if (family == FAMILY_IPV4) {
		if (rewrite_transport(xdp, packet, to, difference_ipv4(packet, to), family))
			return -1;
		return rewrite_ipv4_header(xdp, to);
	}
	if (rewrite_transport(xdp, packet, to, difference_ipv6(packet, to), family))
		return -1;
	void *frame = first(xdp, IPV6_BYTES);
	if (!frame)
		return -1;
	struct ipv6 *ip = frame + sizeof(struct ethernet);
	ip->hop_limit -= 1;
	__builtin_memcpy(ip->source, to->source.words, sizeof(ip->source));
	__builtin_memcpy(ip->destination, to->destination.words, sizeof(ip->destination));
	return 0;
}
