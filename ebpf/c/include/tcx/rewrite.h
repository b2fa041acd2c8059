/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * Rewriting where the hardware may still have to fill in the checksum, and the kernel may cut the packet into segments.
 */
#pragma once

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
