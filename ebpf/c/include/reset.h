/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * RST in reply to a segment that nobody is there for (RFC 9293 section 3.10.7.1), made of the segment itself.
 */
#pragma once

#include "checksum.h"
#include "count.h"

static __always_inline void make_reset(struct tcp *tcp, __u32 payload)
{
	struct tcp segment = *tcp;
	__u32 length = payload + !!(segment.flags & TCP_SYN) + !!(segment.flags & TCP_FIN);

	__builtin_memset(tcp, 0, sizeof(*tcp));
	tcp->source = segment.destination;
	tcp->destination = segment.source;
	tcp->offset = sizeof(*tcp) / 4 << 4;
	tcp->flags = TCP_RST;
	if (segment.flags & TCP_ACK) {
		tcp->sequence = segment.acknowledgment;
	} else {
		tcp->acknowledgment = be32(be32(segment.sequence) + length);
		tcp->flags |= TCP_ACK;
	}
}

static __noinline int reset_ipv4(struct __sk_buff *skb)
{
	struct {
		struct ipv4 ip;
		struct tcp tcp;
	} __attribute__((aligned(4))) answer;
	__u32 at = sizeof(struct ethernet);
	__u32 checksum_at = at + sizeof(answer.ip) + offset_of(struct tcp, checksum);

	if (skb_load_bytes(skb, at, &answer, sizeof(answer)) || answer.ip.version_and_length != 0x45)
		return drop(NOT_ANSWERED);
	if (answer.tcp.flags & TCP_RST)
		return drop(NO_BACKEND_DROPPED);
	make_reset(&answer.tcp, be16(answer.ip.length) - sizeof(answer.ip) - (answer.tcp.offset >> 4) * 4);
	__u32 client = answer.ip.source;
	answer.ip = (struct ipv4){
		.version_and_length = 0x45,
		.length = be16(sizeof(answer)),
		.fragment = be16(0x4000),
		.time_to_live = 64,
		.protocol = IP_TCP,
		.source = answer.ip.destination,
		.destination = client,
	};
	answer.ip.checksum = ~folded(sum_of(&answer.ip, sizeof(answer.ip), 0));
	if (skb_change_tail(skb, at + sizeof(answer), 0) || swap_macs(skb))
		return drop(NOT_ANSWERED);
	__s64 pseudo = sum_of_pseudo_ipv4(&answer.ip, sizeof(answer.tcp));
	if (is_offloaded(skb, checksum_at))
		answer.tcp.checksum = folded(pseudo);
	else
		answer.tcp.checksum = ~folded(sum_of(&answer.tcp, sizeof(answer.tcp), folded(pseudo)));
	if (skb_store_bytes(skb, at, &answer, sizeof(answer), RECOMPUTE_CSUM))
		return drop(NOT_ANSWERED);
	count(NO_BACKEND_RST);
	return redirect(interface_of(skb), 0);
}

static __noinline int reset_ipv6(struct __sk_buff *skb)
{
	struct {
		struct ipv6 ip;
		struct tcp tcp;
	} __attribute__((aligned(4))) answer;
	__u32 at = sizeof(struct ethernet);
	__u32 checksum_at = at + sizeof(answer.ip) + offset_of(struct tcp, checksum);
	__u32 client[4];

	if (skb_load_bytes(skb, at, &answer, sizeof(answer)) || answer.ip.next_header != IP_TCP)
		return drop(NOT_ANSWERED);
	if (answer.tcp.flags & TCP_RST)
		return drop(NO_BACKEND_DROPPED);
	make_reset(&answer.tcp, be16(answer.ip.length) - (answer.tcp.offset >> 4) * 4);
	__builtin_memcpy(client, answer.ip.source, sizeof(client));
	__builtin_memcpy(answer.ip.source, answer.ip.destination, sizeof(client));
	__builtin_memcpy(answer.ip.destination, client, sizeof(client));
	answer.ip.version_class_flow = be32(6u << 28);
	answer.ip.length = be16(sizeof(answer.tcp));
	answer.ip.hop_limit = 64;
	if (skb_change_tail(skb, at + sizeof(answer), 0) || swap_macs(skb))
		return drop(NOT_ANSWERED);
	__s64 pseudo = sum_of_pseudo_ipv6(&answer.ip, sizeof(answer.tcp));
	if (is_offloaded(skb, checksum_at))
		answer.tcp.checksum = folded(pseudo);
	else
		answer.tcp.checksum = ~folded(sum_of(&answer.tcp, sizeof(answer.tcp), folded(pseudo)));
	if (skb_store_bytes(skb, at, &answer, sizeof(answer), RECOMPUTE_CSUM))
		return drop(NOT_ANSWERED);
	count(NO_BACKEND_RST);
	return redirect(interface_of(skb), 0);
}
