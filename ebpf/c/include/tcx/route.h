/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * Sending where the kernel finds the neighbour, and waits for it if it must.
 */
#pragma once

/* How a backend is reached: the kernel will know. */
struct way {};

static __always_inline int find_way(struct __sk_buff *skb, const struct packet *packet, const struct backend *backend,
				    __u32 family, struct way *way)
{
	return 0;
}

static __always_inline int send_to(struct __sk_buff *skb, const struct backend *backend, __u32 family,
				   const struct way *way)
{
	struct next_hop hop = { .family = family };

	if (family == FAMILY_IPV4)
		hop.address[0] = backend->next_hop.words[3];
	else
		__builtin_memcpy(hop.address, backend->next_hop.words, sizeof(hop.address));
	return redirect_neigh(backend->interface, &hop, sizeof(hop), 0);
}

/* The way from one address to another, as the kernel would forward what comes in here. Returns ROUTE_FOUND, also
 * while the neighbour is not known yet, or why there is none. */
static __always_inline int route_to(struct __sk_buff *skb, const struct address *from, const struct address *to,
				    __u32 family, struct route *route)
{
	ask_route(skb, from, to, family, route);
	int found = fib_lookup(skb, route, sizeof(*route), 0);
	return found == ROUTE_NO_NEIGHBOUR || found == ROUTE_TOO_BIG ? ROUTE_FOUND : found;
}

static __always_inline int send_by(struct __sk_buff *skb, const struct route *route, __u32 family)
{
	struct next_hop hop = { .family = family };

	/* Without a route the kernel finds the next hop by itself, as for packets of its own. */
	if (!route->family)
		return redirect_neigh(route->interface, 0, 0, 0);
	__builtin_memcpy(hop.address, route->destination, sizeof(hop.address));
	return redirect_neigh(route->interface, &hop, sizeof(hop), 0);
}
