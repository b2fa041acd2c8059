/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * Out of an interface, to a neighbour that the kernel knows or asks for.
 */
#pragma once

#include "parse.h"

/* Smaller packets fit everywhere (RFC 8200 section 5). */
#define ALWAYS_FITS 1280

/* 0 if the packet, or each of those that it will be cut into, fits out of `interface`; else that one's MTU. */
static __always_inline __u32 too_big_for(struct __sk_buff *skb, __u32 interface)
{
	__u32 mtu = 0;

	if (skb->len <= sizeof(struct ethernet) + ALWAYS_FITS)
		return 0;
	return check_mtu(skb, interface, &mtu, 0, CHECK_SEGMENTS) > 0 ? mtu : 0;
}

static __always_inline int send_to(__u32 interface, const struct address *next_hop, __u32 family)
{
	struct next_hop hop = { .family = family };

	if (family == FAMILY_IPV4)
		hop.address[0] = next_hop->words[3];
	else
		__builtin_memcpy(hop.address, next_hop->words, sizeof(hop.address));
	return redirect_neigh(interface, &hop, sizeof(hop), 0);
}

/* The way from one address to another, as the kernel would forward what comes in here. Returns ROUTE_FOUND, also
 * while the neighbour is not known yet, or why there is none. */
static __always_inline int route_to(struct __sk_buff *skb, const struct address *from, const struct address *to,
				    __u32 family, struct route *route)
{
	route->family = family;
	route->interface = skb->ifindex;
	if (family == FAMILY_IPV4) {
		route->source[0] = from->words[3];
		route->destination[0] = to->words[3];
	} else {
		__builtin_memcpy(route->source, from->words, sizeof(route->source));
		__builtin_memcpy(route->destination, to->words, sizeof(route->destination));
	}
	int found = fib_lookup(skb, route, sizeof(*route), 0);
	return found == ROUTE_NO_NEIGHBOUR || found == ROUTE_TOO_BIG ? ROUTE_FOUND : found;
}

static __always_inline int send_by(const struct route *route, __u32 family)
{
	struct next_hop hop = { .family = family };

	__builtin_memcpy(hop.address, route->destination, sizeof(hop.address));
	return redirect_neigh(route->interface, &hop, sizeof(hop), 0);
}
