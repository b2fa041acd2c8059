/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * The forwarding plane before the kernel makes a packet of a frame: what most packets of its services need, by the same
 * tables and the same rules. Whatever needs more than that, fragments, options, answers, ICMP errors, neighbours to ask
 * for, goes on as it came, to the program at tcx behind this one.
 */
#define XDP

#include "capture.h"
#include "forward.h"

char _license[] SEC("license") = "Dual BSD/GPL";

static __noinline int forward_ipv4(struct xdp_md *xdp)
{
	struct packet packet = {};

	if (parse_ipv4(xdp, &packet) != PARSED || packet.fragment != WHOLE || packet.transport != IPV4_BYTES ||
	    packet.protocol == IP_ICMP)
		return NEXT;
	return forward(xdp, &packet, FAMILY_IPV4);
}

static __noinline int forward_ipv6(struct xdp_md *xdp)
{
	struct packet packet = {};

	if (parse_ipv6(xdp, &packet) != PARSED || packet.fragment != WHOLE || packet.transport != IPV6_BYTES ||
	    packet.protocol == IP_ICMPV6)
		return NEXT;
	return forward(xdp, &packet, FAMILY_IPV6);
}

static __always_inline int handle(struct xdp_md *xdp)
{
	const struct ethernet *ethernet = first(xdp, sizeof(*ethernet));

	if (!ethernet)
		return NEXT;
	switch (be16(ethernet->type)) {
	case ETHER_IPV4:
		return forward_ipv4(xdp);
	case ETHER_IPV6:
		return forward_ipv6(xdp);
	default:
		return NEXT;
	}
}

SEC("xdp")
int fulcrum_xdp(struct xdp_md *xdp)
{
	int captures = begin_capture(xdp);
	int verdict = handle(xdp);

	if (verdict == NEXT)
		return XDP_PASS;
	if (captures)
		end_capture(xdp, verdict == DROP ? DROP : REDIRECTED);
	return verdict == DROP ? XDP_DROP : verdict == SENT_BACK ? XDP_TX : XDP_REDIRECT;
}

/* Out by the interface that it is said to have come by: for frames of the daemon's own. */
SEC("xdp")
int fulcrum_send(struct xdp_md *xdp)
{
	return XDP_TX;
}
