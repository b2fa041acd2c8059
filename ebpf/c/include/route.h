/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * Out of an interface, to a neighbour that the kernel knows or asks for.
 */
#pragma once

#include "parse.h"

/* Smaller packets fit everywhere (RFC 8200 section 5). */
#define ALWAYS_FITS 1280

/* 0 if the packet, or each of those that it will be cut into, fits out of `interface`; else that one's MTU. */
static __always_inline __u32 too_big_for(struct CONTEXT *skb, __u32 interface)
{
	__u32 mtu = 0;

	if (length_of(skb) <= sizeof(struct ethernet) + ALWAYS_FITS)
		return 0;
	return check_mtu(skb, interface, &mtu, 0, IS_XDP ? 0 : CHECK_SEGMENTS) > 0 ? mtu : 0;
}

static __always_inline void ask_route(struct CONTEXT *context, const struct address *from, const struct address *to,
				      __u32 family, struct route *route)
{
	route->family = family;
	route->interface = interface_of(context);
	if (family == FAMILY_IPV4) {
		route->source[0] = from->words[3];
		route->destination[0] = to->words[3];
	} else {
		__builtin_memcpy(route->source, from->words, sizeof(route->source));
		__builtin_memcpy(route->destination, to->words, sizeof(route->destination));
	}
}

#ifdef XDP
#include "xdp/route.h"
#else
#include "tcx/route.h"
#endif
