/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * The forwarding plane: packets of its services go from one interface to another without the rest of the kernel.
 * Attached at ingress of each interface that clients or backends are behind. It never leaves a packet of a service
 * of its own to the kernel, which has the VIP as an address and would answer with RST.
 */
#include "capture.h"
#include "forward.h"
#include "icmp.h"

char _license[] SEC("license") = "Dual BSD/GPL";

static __noinline int forward_ipv4(struct __sk_buff *skb)
{
	struct packet packet = {};

	if (parse_ipv4(skb, &packet) != PARSED)
		return NEXT;
	return forward(skb, &packet, FAMILY_IPV4);
}

static __noinline int forward_ipv6(struct __sk_buff *skb)
{
	struct packet packet = {};

	switch (parse_ipv6(skb, &packet)) {
	case PARSED:
		break;
	case HIDDEN:
		if (is_marked(&endpoints, &packet.destination, IP_TCP) ||
		    is_marked(&endpoints, &packet.destination, IP_UDP))
			return drop(EXTENSION_HEADERS);
		return NEXT;
	default:
		return NEXT;
	}
	if (packet.protocol == IP_ICMPV6)
		return NEXT;
	return forward(skb, &packet, FAMILY_IPV6);
}

static __always_inline int handle(struct __sk_buff *skb)
{
	void *frame;

	/* A tagged frame is another interface's. */
	if (skb->vlan_present)
		return NEXT;
	switch (be16(skb->protocol)) {
	case ETHER_IPV4:
		frame = first(skb, IPV4_BYTES);
		if (!frame)
			return NEXT;
		if (((const struct ipv4 *)(frame + sizeof(struct ethernet)))->protocol == IP_ICMP)
			return relay_ipv4(skb);
		return forward_ipv4(skb);
	case ETHER_IPV6:
		frame = first(skb, IPV6_BYTES);
		if (!frame)
			return NEXT;
		if (((const struct ipv6 *)(frame + sizeof(struct ethernet)))->next_header == IP_ICMPV6)
			return relay_ipv6(skb);
		return forward_ipv6(skb);
	default:
		return NEXT;
	}
}

SEC("classifier")
int fulcrum_forward(struct __sk_buff *skb)
{
	int captures = begin_capture(skb);
	int verdict = handle(skb);

	if (captures && verdict != NEXT)
		end_capture(skb, verdict);
	return verdict;
}
