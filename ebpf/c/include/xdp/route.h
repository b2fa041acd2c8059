/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * Sending to a neighbour that the kernel knows. Whatever it must be asked for goes the way by tcx, which waits.
 */
#pragma once

/* Of so many packets one goes by tcx, so that the kernel uses its neighbours, and so looks whether they are still
 * there. A power of two. */
#define KERNEL_SEES_ONE_OF 8192

/* A verdict of XDP alone: out by the interface that the frame came by. */
#define SENT_BACK 8

/* There is no room on the stack. */
TABLE(ways, MAP_PERCPU_ARRAY, __u32, struct route, 1);

struct way {
	const struct route *route;
};

/* Whether frames that come in elsewhere can leave there: other drivers drop them, and tell nobody. */
static __always_inline int sends(struct xdp_md *xdp, __u32 interface)
{
	return interface == interface_of(xdp) || map_lookup(&links, &interface);
}

static __always_inline int look_up(struct xdp_md *xdp, struct route *route)
{
	if (!(random_u32() & (KERNEL_SEES_ONE_OF - 1)))
		return ROUTE_NO_NEIGHBOUR;
	int found = fib_lookup(xdp, route, sizeof(*route), 0);
	return found == ROUTE_FOUND && !sends(xdp, route->interface) ? ROUTE_NO_NEIGHBOUR : found;
}

/* 0, or the verdict. */
static __always_inline int find_way(struct xdp_md *xdp, const struct packet *packet, const struct backend *backend,
				    __u32 family, struct way *way)
{
	__u32 zero = 0;
	struct route *route = map_lookup(&ways, &zero);

	if (!route)
		return NEXT;
	__builtin_memset(route, 0, sizeof(*route));
	ask_route(xdp, &packet->source, &backend->next_hop, family, route);
	way->route = route;
	return look_up(xdp, route) == ROUTE_FOUND && route->interface == backend->interface ? 0 : NEXT;
}

/* In XDP each answer but one leaves the frame to tcx: NEXT. */
static __always_inline int route_to(struct xdp_md *xdp, const struct address *from, const struct address *to,
				    __u32 family, struct route *route)
{
	ask_route(xdp, from, to, family, route);
	return look_up(xdp, route);
}

static __always_inline int send_by(struct xdp_md *xdp, const struct route *route, __u32 family)
{
	struct ethernet *ethernet = first(xdp, sizeof(*ethernet));

	if (!ethernet)
		return drop(NOT_REWRITTEN);
	/* The kernel answers with the source's before the destination's. */
	__builtin_memcpy(ethernet->destination, route->macs + 6, 6);
	__builtin_memcpy(ethernet->source, route->macs, 6);
	if (route->interface == interface_of(xdp))
		return SENT_BACK;
	return redirect(route->interface, 0) == XDP_REDIRECT ? REDIRECTED : drop(NOT_REWRITTEN);
}

static __always_inline int send_to(struct xdp_md *xdp, const struct backend *backend, __u32 family,
				   const struct way *way)
{
	return send_by(xdp, way->route, family);
}
