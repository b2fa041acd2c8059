/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * Mode fullnat, both ways: backends see an address of this node's group, and answer to it by whatever way they have.
 */
#pragma once

#include "connection.h"
#include "outbound.h"

/* struct bpf_sock_tuple */
struct tuple {
	union {
		struct {
			__u32 source;
			__u32 destination;
			__u32 ports;
		} ipv4;
		struct {
			__u32 source[4];
			__u32 destination[4];
			__u32 ports;
		} ipv6;
	};
};

static __always_inline int is_opening(const struct packet *packet)
{
	return (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* Whether a known flow ends here, and the packet begins another on the same ports. */
static __always_inline int is_replaced(const struct packet *packet, const struct pin *known, __u64 now)
{
	return is_opening(packet) && (known->closed || now - known->seen >= REPLACED_AFTER);
}

/* The backend for a flow that is not known here: by its turn or the table for new ones, or, if it began elsewhere, by
 * that for those. */
static __always_inline __u32 select_unknown(const struct settings *settings, const struct service *service,
					    __u32 index, const struct flow *flow, const struct packet *packet)
{
	__u32 slot = slot_for(settings, service, flow);
	__u32 before = slot_of(&previous, index, slot);

	if (packet->protocol == IP_TCP && !is_opening(packet) && usable(before))
		return before;
	__u32 next = service->choice == IN_TURN ? next_in_turn(index) : 0;
	return next ? next : slot_of(&current, index, slot);
}

/* The entry of the packet's flow, if it has one that it may go by. */
static __always_inline struct pin *find(const struct settings *settings, const struct service *service,
					const struct packet *packet, const struct flow *flow, __u64 now)
{
	struct pin *known = map_lookup(&flows, flow);
	int opened = 0;

	if (!known) {
		known = map_lookup(&opening, flow);
		opened = 1;
	}
	if (!known)
		return 0;
	__u32 index = known->backend;
	struct backend *backend = usable(index);
	if (!backend || is_replaced(packet, known, now)) {
		/* That of a backend that is down is refused, or begins anew where there is another. */
		forget(flow, known, map_lookup(&backends, &index));
		return 0;
	}
	if (!opened || !known->answered || is_opening(packet))
		return known;
	/* Without room it stays among those that are opening, and tries again. */
	if (!take_room(service))
		return known;
	known = establish(flow, known, backend);
	if (known)
		tell(settings, flow, known);
	return known;
}

static __noinline int inbound_fullnat(struct CONTEXT *skb, const struct packet *packet, __u32 index, __u32 family)
{
	__u32 zero = 0;
	const struct service *service = map_lookup(&services, &index);
	const struct settings *settings = the_settings();
	struct opened *opened = map_lookup(&opened_flows, &zero);
	__u64 now = ktime_get_ns();

	if (!service || !settings || !opened)
		return NEXT;
	struct returned *way = &opened->way;
	__builtin_memset(way, 0, sizeof(*way));
	set_flow(&way->flow, packet);
	way->service = index;
	way->seen = now;
	remark(skb, NOTE_SERVICE, index + 1);
	int verdict = silenced(&packet->destination, now);
	if (verdict)
		return verdict;
	if (family == FAMILY_IPV6 && packet->unchecked)
		return drop(UDP_WITHOUT_CHECKSUM);
	verdict = limited(packet, index, now);
	if (verdict)
		return verdict;
	struct pin *known = find(settings, service, packet, &way->flow, now);
	if (!known) {
		way->backend = select_unknown(settings, service, index, &way->flow, packet);
		const struct backend *to = usable(way->backend);

		if (!to)
			return refuse(skb, packet, index, family);
		if (packet->tcp_flags & TCP_RST)
			return drop(UNKNOWN_FLOW);
		known = begin(settings, opened, to);
		if (!known)
			return drop(NO_SOURCE_PORT);
	}
	__u32 chosen = known->backend;
	struct backend *backend = usable(chosen);
	if (!backend)
		return refuse(skb, packet, index, family);
	if (!backend->interface)
		return drop(NO_ROUTE_TO_BACKEND);
	remark(skb, NOTE_BACKEND, chosen);
	remark(skb, NOTE_INTERFACE, backend->interface);
	__u32 mtu = too_big_for(skb, backend->interface);
	if (mtu)
		return too_big(skb, packet, mtu, family);
	if (packet->time_to_live <= 1)
		return too_long_travelled(skb, packet, family);
	struct way by;
	verdict = find_way(skb, packet, backend, family, &by);
	if (verdict) {
		unlimited(packet, index, now);
		return verdict;
	}
	note(settings, &way->flow, known, closed_by(packet->tcp_flags, CLOSED_BY_CLIENT), now);
	count_in(map_lookup(&service_counters, &index), length_of(skb), is_opening(packet));
	count_in(map_lookup(&backend_counters, &chosen), length_of(skb), is_opening(packet));
	opened->to.source = known->source;
	opened->to.destination = backend->address;
	opened->to.source_port = known->source_port;
	opened->to.destination_port = backend->port ? backend->port : packet->destination_port;
	if (rewrite(skb, packet, &opened->to, family))
		return drop(NOT_REWRITTEN);
	return send_to(skb, backend, family, &by);
}

/* Whose flow a packet from a backend is of. */
static __always_inline struct returned *returned_to(const struct flow *replies)
{
	struct returned *way = map_lookup(&returns, replies);

	return way ? way : map_lookup(&opening_returns, replies);
}

/* The client's entry hears of the reply. */
static __always_inline void note_reply(const struct settings *settings, struct returned *way,
				       const struct packet *packet, __u64 now)
{
	__u8 closed = closed_by(packet->tcp_flags, CLOSED_BY_BACKEND);
	struct pin *known;

	if (way->answered && !closed && now - way->seen <= NOTED_EVERY)
		return;
	way->seen = now;
	way->answered = 1;
	known = map_lookup(&flows, &way->flow);
	if (!known)
		known = map_lookup(&opening, &way->flow);
	if (!known)
		return;
	known->answered = 1;
	note(settings, &way->flow, known, closed, now);
}

/* 0 if there is a way to the client; else the verdict. */
static __always_inline int find_way_back(struct CONTEXT *skb, const struct address *from, const struct address *to,
					 __u32 interface, __u32 family, struct route *route)
{
	int found = route_to(skb, from, to, family, route);

	if (found != ROUTE_FOUND && IS_XDP)
		return NEXT;
	switch (found) {
	case ROUTE_FOUND:
		return 0;
	case ROUTE_FORWARDING_DISABLED:
		if (!interface)
			return drop(NO_ROUTE_TO_CLIENT);
		route->interface = interface;
		route->family = 0;
		return 0;
	default:
		return drop(NO_ROUTE_TO_CLIENT);
	}
}

static __always_inline int outbound_fullnat(struct CONTEXT *skb, const struct packet *packet, struct returned *way,
				       __u32 family)
{
	const struct settings *settings = the_settings();
	__u32 index = way->service, backend = way->backend, zero = 0;
	const struct service *service = map_lookup(&services, &index);
	struct opened *scratch = map_lookup(&opened_flows, &zero);
	struct route route = {};
	__u64 now = ktime_get_ns();

	if (!service || !settings || !scratch)
		return drop(UNKNOWN_FLOW);
	struct ends *to = &scratch->to;
	to->source = way->flow.vip;
	to->destination = way->flow.client;
	to->source_port = way->flow.port;
	to->destination_port = way->flow.client_port;
	int verdict = silenced(&to->source, now);
	if (verdict)
		return verdict;
	if (family == FAMILY_IPV6 && packet->unchecked)
		return drop(UDP_WITHOUT_CHECKSUM);
	verdict = find_way_back(skb, &packet->source, &to->destination, service->interface, family, &route);
	if (verdict)
		return verdict;
	__u32 mtu = too_big_for(skb, route.interface);
	if (mtu)
		return too_big(skb, packet, mtu, family);
	if (packet->time_to_live <= 1)
		return too_long_travelled(skb, packet, family);
	note_reply(settings, way, packet, now);
	count_out(map_lookup(&service_counters, &index), length_of(skb));
	count_out(map_lookup(&backend_counters, &backend), length_of(skb));
	if (rewrite(skb, packet, to, family))
		return drop(NOT_REWRITTEN);
	remark(skb, NOTE_INTERFACE, route.interface);
	return send_by(skb, &route, family);
}

/* Whether flows of mode fullnat are sent on from `address`. */
static __always_inline int is_source(const struct address *address, __u8 protocol)
{
	struct endpoint endpoint = { .address = *address, .protocol = protocol };
	const __u32 *mark = map_lookup(&endpoints, &endpoint);

	return mark && *mark == SOURCE_OF_FLOWS;
}

/* Whether a socket of this node has, or would take, what comes to one of the sources and is no reply. */
static __always_inline int is_the_kernels(struct CONTEXT *skb, const struct packet *packet, __u32 family)
{
	struct tuple tuple;
	__u32 length;
	struct socket *socket;

	if (packet->protocol == IP_TCP && is_opening(packet))
		return 1;
	if (family == FAMILY_IPV4) {
		tuple.ipv4.source = packet->source.words[3];
		tuple.ipv4.destination = packet->destination.words[3];
		tuple.ipv4.ports = both_ports(packet->source_port, packet->destination_port);
		length = sizeof(tuple.ipv4);
	} else {
		__builtin_memcpy(tuple.ipv6.source, packet->source.words, sizeof(tuple.ipv6.source));
		__builtin_memcpy(tuple.ipv6.destination, packet->destination.words, sizeof(tuple.ipv6.destination));
		tuple.ipv6.ports = both_ports(packet->source_port, packet->destination_port);
		length = sizeof(tuple.ipv6);
	}
	socket = packet->protocol == IP_TCP ? skc_lookup_tcp(skb, &tuple, length, THIS_NAMESPACE, 0)
					    : sk_lookup_udp(skb, &tuple, length, THIS_NAMESPACE, 0);
	if (!socket)
		return 0;
	sk_release(socket);
	return 1;
}

/* A packet to one of the sources: a reply, or the kernel's. A reply that nobody is known for may be of a flow that
 * another node knows: the kernel would answer it with RST, and end the flow. */
static __noinline int handle_reply(struct CONTEXT *skb, const struct packet *packet, __u32 family)
{
	__u32 zero = 0;
	struct opened *scratch = map_lookup(&opened_flows, &zero);

	if (!scratch)
		return drop(UNKNOWN_FLOW);
	set_flow(&scratch->replies, packet);
	struct returned *way = returned_to(&scratch->replies);
	if (way) {
		remark(skb, NOTE_SERVICE, way->service + 1);
		remark(skb, NOTE_BACKEND, way->backend);
		remark(skb, NOTE_REPLY, 1);
		return outbound_fullnat(skb, packet, way, family);
	}
	if (IS_XDP || is_the_kernels(skb, packet, family))
		return NEXT;
	return drop(UNKNOWN_FLOW);
}
