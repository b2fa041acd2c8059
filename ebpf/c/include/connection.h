/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * Flows of mode fullnat: each has a source address and port of this node's group, by which the backend's replies are
 * known. The first choice of the port is a hash of the flow, so that a node that was never told of a flow gives it
 * the same one again.
 *
 * A flow is kept among those that are opening until the backend has answered and the client has sent again: a flood
 * of SYNs from nowhere pushes out nothing but its like.
 */
#pragma once

#include "rewrite.h"
#include "select.h"

/* Ports that are tried, and how far they are from each other: coprime to the number of ports. */
#define PORTS_TRIED 16
#define NEXT_PORT 7919
static __always_inline int is_same_flow(const struct flow *one, const struct flow *other)
{
	const __u64 *a = (const __u64 *)one, *b = (const __u64 *)other;

	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3] && a[4] == b[4];
}

/* A flow's replies, from the backend to the source. */
static __always_inline void set_replies(struct flow *replies, const struct flow *flow, const struct backend *backend,
					const struct address *source, __u16 source_port)
{
	__builtin_memset(replies, 0, sizeof(*replies));
	replies->client = backend->address;
	replies->vip = *source;
	replies->client_port = backend->port ? backend->port : flow->port;
	replies->port = source_port;
	replies->protocol = flow->protocol;
}

enum port {
	TAKEN_BY_ANOTHER = 0,
	/* By a flow that is no more than an attempt. */
	ATTEMPTED,
	NOW_OURS,
};

/* Gives the flow in `way` the port of `replies`, if it is free or was its own before. */
static __always_inline int take_port(const struct flow *replies, const struct returned *way)
{
	struct endpoint endpoint = { .address = replies->vip, .port = replies->port, .protocol = replies->protocol };
	const struct returned *known;

	if (map_lookup(&endpoints, &endpoint))
		return TAKEN_BY_ANOTHER;
	known = map_lookup(&returns, replies);
	if (known)
		return is_same_flow(&known->flow, &way->flow) ? NOW_OURS : TAKEN_BY_ANOTHER;
	if (!map_update(&opening_returns, replies, way, NO_EXIST))
		return NOW_OURS;
	known = map_lookup(&opening_returns, replies);
	if (!known || !is_same_flow(&known->flow, &way->flow))
		return ATTEMPTED;
	return map_update(&opening_returns, replies, way, ANY) ? TAKEN_BY_ANOTHER : NOW_OURS;
}

/* What the packet that is handled may begin: there is no room for it on the stack. */
struct opened {
	struct returned way;
	struct flow replies;
	struct pin made;
	struct ends to;
};

TABLE(opened_flows, MAP_PERCPU_ARRAY, __u32, struct opened, 1);

/* The source port for a new flow, or 0. Where only attempts are in the way, which may be a flood, one of them goes. */
static __always_inline __u16 source_port_for(const struct settings *settings, struct opened *opened,
					     const struct backend *backend)
{
	__u32 first = (__u32)hash_of(settings, &opened->way.flow, 0) % SOURCE_PORTS;
	struct flow *replies = &opened->replies;
	__u16 attempted = 0;

	set_replies(replies, &opened->way.flow, backend, &backend->source, 0);
	for (int tried = 0; tried < PORTS_TRIED; tried++) {
		replies->port = be16((__u16)(FIRST_SOURCE_PORT + (first + tried * NEXT_PORT) % SOURCE_PORTS));
		int taken = take_port(replies, &opened->way);

		if (taken == NOW_OURS)
			return replies->port;
		if (taken == ATTEMPTED)
			attempted = replies->port;
	}
	replies->port = attempted;
	return attempted && !map_update(&opening_returns, replies, &opened->way, ANY) ? attempted : 0;
}

/* Begins a flow, among those that are opening. */
static __noinline struct pin *begin(const struct settings *settings, struct opened *opened,
				    const struct backend *backend)
{
	const struct returned *way = &opened->way;

	__builtin_memset(&opened->made, 0, sizeof(opened->made));
	opened->made.backend = way->backend;
	opened->made.seen = way->seen;
	opened->made.source = backend->source;
	opened->made.source_port = source_port_for(settings, opened, backend);
	if (!opened->made.source_port || map_update(&opening, &way->flow, &opened->made, ANY))
		return 0;
	return map_lookup(&opening, &way->flow);
}

/* The backend has answered, and the client has heard it. */
static __noinline struct pin *establish(const struct flow *flow, const struct pin *opened,
					const struct backend *backend)
{
	struct pin kept = *opened;
	struct flow replies;

	set_replies(&replies, flow, backend, &kept.source, kept.source_port);
	const struct returned *found = map_lookup(&opening_returns, &replies);

	if (found) {
		struct returned way = *found;

		/* Its port may have been given to an attempt of another meanwhile, which loses it. */
		way.flow = *flow;
		way.backend = kept.backend;
		map_update(&returns, &replies, &way, ANY);
		map_delete(&opening_returns, &replies);
	}
	if (map_update(&flows, flow, &kept, ANY))
		return 0;
	map_delete(&opening, flow);
	return map_lookup(&flows, flow);
}

/* Its port may have been given to another meanwhile. */
static __always_inline void forget_way(void *table, const struct flow *replies, const struct flow *flow)
{
	const struct returned *known = map_lookup(table, replies);

	if (known && is_same_flow(&known->flow, flow))
		map_delete(table, replies);
}

/* Ends a flow at once. */
static __noinline void forget(const struct flow *flow, const struct pin *known, const struct backend *backend)
{
	if (backend) {
		struct flow replies;

		set_replies(&replies, flow, backend, &known->source, known->source_port);
		forget_way(&returns, &replies, flow);
		forget_way(&opening_returns, &replies, flow);
	}
	map_delete(&flows, flow);
	map_delete(&opening, flow);
}
