/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * From backends to clients, in mode nat: this node is the backends' gateway.
 */
#pragma once

#include "inbound.h"

/* 0 if there is a way to the client; else the verdict. */
static __always_inline int find_client(struct CONTEXT *skb, const struct packet *packet, __u32 family,
				       struct route *route)
{
	int found = route_to(skb, &packet->source, &packet->destination, family, route);

	if (found != ROUTE_FOUND && IS_XDP)
		return NEXT;
	switch (found) {
	case ROUTE_FOUND:
		return 0;
	case ROUTE_NOT_FORWARDED:
		/* To this node itself: a health check, or a connection of its proxy. */
		return NEXT;
	case ROUTE_FORWARDING_DISABLED:
		/* It is not known then whether it is to this node. */
		count(FORWARDING_DISABLED);
		return NEXT;
	default:
		return drop(NO_ROUTE_TO_CLIENT);
	}
}

/* The backend ends a flow. Of others than those that are known one by one nobody keeps that. */
static __noinline void note_end(const struct packet *packet, const struct reply *reply)
{
	__u32 index = reply->service;
	const struct service *service = map_lookup(&services, &index);
	const struct settings *settings = the_settings();
	struct flow flow = {
		.client = packet->destination,
		.vip = reply->vip,
		.client_port = packet->destination_port,
		.port = reply->port,
		.protocol = packet->protocol,
	};

	if (!service || !settings || !service->pinned)
		return;
	struct pin *known = map_lookup(&flows, &flow);
	if (known)
		note(settings, &flow, known, closed_by(packet->tcp_flags, CLOSED_BY_BACKEND), ktime_get_ns());
}

static __noinline int outbound(struct CONTEXT *skb, const struct packet *packet, const struct reply *reply,
				    __u32 family)
{
	__u32 service = reply->service;
	__u32 backend = reply->backend;
	struct route route = {};
	int verdict = find_client(skb, packet, family, &route);

	if (verdict)
		return verdict;
	remark(skb, NOTE_SERVICE, service + 1);
	remark(skb, NOTE_BACKEND, backend);
	remark(skb, NOTE_INTERFACE, route.interface);
	remark(skb, NOTE_REPLY, 1);
	verdict = silenced(&reply->vip, ktime_get_ns());
	if (verdict)
		return verdict;
	if (family == FAMILY_IPV6 && packet->unchecked)
		return drop(UDP_WITHOUT_CHECKSUM);
	__u32 mtu = too_big_for(skb, route.interface);
	if (mtu)
		return too_big(skb, packet, mtu, family);
	if (packet->time_to_live <= 1)
		return too_long_travelled(skb, packet, family);
	count_out(map_lookup(&service_counters, &service), length_of(skb));
	count_out(map_lookup(&backend_counters, &backend), length_of(skb));
	if (packet->tcp_flags & (TCP_FIN | TCP_RST))
		note_end(packet, reply);
	struct ends to = ends_of(packet);
	to.source = reply->vip;
	to.source_port = reply->port;
	if (rewrite(skb, packet, &to, family))
		return drop(NOT_REWRITTEN);
	return send_by(skb, &route, family);
}
