/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * What the senders of packets that are not forwarded are told.
 */
#pragma once

#include "../answer.h"
#include "../reset.h"

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
