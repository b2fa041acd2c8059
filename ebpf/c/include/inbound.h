/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * From clients to backends.
 */
#pragma once

#include "answer.h"
#include "capture.h"
#include "hops.h"
#include "limit.h"
#include "reset.h"
#include "rewrite.h"
#include "route.h"
#include "select.h"
#include "speak.h"

static __always_inline struct settings *the_settings(void)
{
	__u32 zero = 0;

	return map_lookup(&settings, &zero);
}

static __always_inline struct flow flow_of(const struct packet *packet)
{
	return (struct flow){
		.client = packet->source,
		.vip = packet->destination,
		.client_port = packet->source_port,
		.port = packet->destination_port,
		.protocol = packet->protocol,
	};
}

/* There is no backend: the client learns it at once. */
static __always_inline int refuse(struct __sk_buff *skb, const struct packet *packet, __u32 index, __u32 family)
{
	struct counters *counters = map_lookup(&service_counters, &index);

	if (packet->fragment == LATER_PIECE)
		return drop(NO_BACKEND_DROPPED);
	if (counters)
		counters->refused += 1;
	if (packet->protocol == IP_TCP)
		return family == FAMILY_IPV4 ? reset_ipv4(skb) : reset_ipv6(skb);
	if (family == FAMILY_IPV4)
		return answer_ipv4(skb, ICMP_UNREACHABLE, ICMP_UNREACHABLE_PORT, 0, NO_BACKEND_UNREACHABLE);
	return answer_ipv6(skb, ICMPV6_UNREACHABLE, ICMPV6_UNREACHABLE_PORT, 0, NO_BACKEND_UNREACHABLE);
}

static __always_inline int too_long_travelled(struct __sk_buff *skb, const struct packet *packet, __u32 family)
{
	if (packet->fragment == LATER_PIECE)
		return drop(TIME_EXCEEDED);
	if (family == FAMILY_IPV4)
		return answer_ipv4(skb, ICMP_TIME_EXCEEDED, 0, 0, TIME_EXCEEDED);
	return answer_ipv6(skb, ICMPV6_TIME_EXCEEDED, 0, 0, TIME_EXCEEDED);
}

/* The sender must send less at once; nobody on the way cuts IPv6 packets, nor those of IPv4 that forbid it. */
static __always_inline int too_big(struct __sk_buff *skb, const struct packet *packet, __u32 mtu, __u32 family)
{
	if (packet->fragment == LATER_PIECE)
		return drop(TOO_BIG_DROPPED);
	if (family == FAMILY_IPV6)
		return answer_ipv6(skb, ICMPV6_TOO_BIG, 0, mtu, TOO_BIG_ANSWERED);
	const struct ethernet *frame = first(skb, IPV4_BYTES);
	if (!frame || !(be16(((const struct ipv4 *)(frame + 1))->fragment) & 0x4000))
		return drop(TOO_BIG_DROPPED);
	return answer_ipv4(skb, ICMP_UNREACHABLE, ICMP_UNREACHABLE_TOO_BIG, mtu, TOO_BIG_ANSWERED);
}

static __noinline int inbound(struct __sk_buff *skb, const struct packet *packet, __u32 index, __u32 family)
{
	const struct service *service = map_lookup(&services, &index);
	const struct settings *settings = the_settings();
	__u64 now = ktime_get_ns();

	if (!service || !settings || service->mode == OFF)
		return NEXT;
	skb->cb[NOTE_SERVICE] = index + 1;
	int verdict = silenced(&packet->destination, now);
	if (verdict)
		return verdict;
	if (family == FAMILY_IPV6 && packet->unchecked)
		return drop(UDP_WITHOUT_CHECKSUM);
	verdict = limited(packet, index, now);
	if (verdict)
		return verdict;
	struct flow flow = flow_of(packet);
	__u32 chosen = select(settings, service, index, &flow, packet->tcp_flags, now);
	struct backend *backend = usable(chosen);
	if (!backend)
		return refuse(skb, packet, index, family);
	if (!backend->interface)
		return drop(NO_ROUTE_TO_BACKEND);
	skb->cb[NOTE_BACKEND] = chosen;
	skb->cb[NOTE_INTERFACE] = backend->interface;
	__u32 mtu = too_big_for(skb, backend->interface);
	if (mtu)
		return too_big(skb, packet, mtu, family);
	if (packet->time_to_live < (service->mode == NAT ? 2 : HOPS_OF_A_CHECK))
		return too_long_travelled(skb, packet, family);
	int opens = (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	count_in(map_lookup(&service_counters, &index), skb->len, opens);
	count_in(map_lookup(&backend_counters, &chosen), skb->len, opens);
	if (service->mode == NAT) {
		struct ends to = ends_of(packet);

		to.destination = backend->address;
		if (backend->port)
			to.destination_port = backend->port;
		if (rewrite(skb, packet, &to, family))
			return drop(NOT_REWRITTEN);
	}
	return send_to(backend->interface, &backend->next_hop, family);
}
