/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * From clients to backends.
 */
#pragma once

#include "capture.h"
#include "hops.h"
#include "limit.h"
#include "rewrite.h"
#include "route.h"
#include "select.h"
#include "speak.h"

static __always_inline struct settings *the_settings(void)
{
	__u32 zero = 0;

	return map_lookup(&settings, &zero);
}

/* Member by member: a whole one would be made on the stack first. */
static __always_inline void set_flow(struct flow *flow, const struct packet *packet)
{
	__builtin_memset(flow, 0, sizeof(*flow));
	flow->client = packet->source;
	flow->vip = packet->destination;
	flow->client_port = packet->source_port;
	flow->port = packet->destination_port;
	flow->protocol = packet->protocol;
}

#ifdef XDP
#include "xdp/refuse.h"
#else
#include "tcx/refuse.h"
#endif

static __noinline int inbound(struct CONTEXT *skb, const struct packet *packet, __u32 index, __u32 family)
{
	const struct service *service = map_lookup(&services, &index);
	const struct settings *settings = the_settings();
	__u64 now = ktime_get_ns();

	if (!service || !settings || service->mode == OFF)
		return NEXT;
	remark(skb, NOTE_SERVICE, index + 1);
	int verdict = silenced(&packet->destination, now);
	if (verdict)
		return verdict;
	if (family == FAMILY_IPV6 && packet->unchecked)
		return drop(UDP_WITHOUT_CHECKSUM);
	verdict = limited(packet, index, now);
	if (verdict)
		return verdict;
	struct flow flow;
	set_flow(&flow, packet);
	__u32 chosen = select(settings, service, index, &flow, packet->tcp_flags, now);
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
	if (packet->time_to_live < (service->mode == NAT ? 2 : HOPS_OF_A_CHECK))
		return too_long_travelled(skb, packet, family);
	struct way way;
	verdict = find_way(skb, packet, backend, family, &way);
	if (verdict) {
		unlimited(packet, index, now);
		return verdict;
	}
	int opens = (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	count_in(map_lookup(&service_counters, &index), length_of(skb), opens);
	count_in(map_lookup(&backend_counters, &chosen), length_of(skb), opens);
	if (service->mode == NAT) {
		struct ends to = ends_of(packet);

		to.destination = backend->address;
		if (backend->port)
			to.destination_port = backend->port;
		if (rewrite(skb, packet, &to, family))
			return drop(NOT_REWRITTEN);
	}
	return send_to(skb, backend, family, &way);
}
