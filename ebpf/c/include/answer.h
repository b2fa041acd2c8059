/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * ICMP errors of the plane's own (RFC 792, RFC 4443), made of the packet that they are about.
 */
#pragma once

#include "checksum.h"
#include "count.h"

/* Of the packet's transport, as much as ICMP asks for. */
#define QUOTED 8

/* `rest` is the header's second half, in this machine's order. `then` is counted. */
static __noinline int answer_ipv4(struct __sk_buff *skb, __u32 type, __u32 code, __u32 rest, __u32 then)
{
	struct {
		struct ipv4 ip;
		struct icmp icmp;
		struct ipv4 about;
		__u8 transport[QUOTED];
	} __attribute__((aligned(4))) answer;
	__u32 at = sizeof(struct ethernet);
	__u32 transport = at + sizeof(answer.ip);

	if (skb_load_bytes(skb, at, &answer.about, sizeof(answer.about) + QUOTED) ||
	    answer.about.version_and_length != 0x45)
		return drop(NOT_ANSWERED);
	answer.ip = (struct ipv4){
		.version_and_length = 0x45,
		.length = be16(sizeof(answer)),
		.time_to_live = 64,
		.protocol = IP_ICMP,
		.source = answer.about.destination,
		.destination = answer.about.source,
	};
	answer.ip.checksum = ~folded(sum_of(&answer.ip, sizeof(answer.ip), 0));
	answer.icmp = (struct icmp){ .type = type, .code = code, .rest = be32(rest) };
	if (skb_change_tail(skb, at + sizeof(answer), 0) || swap_macs(skb))
		return drop(NOT_ANSWERED);
	/* The hardware makes the sum right where the checksum of UDP stood, which is unused in ICMP but for the MTU;
	 * where that of TCP stood, it would spoil the quotation. */
	if (!is_offloaded(skb, transport + offset_of(struct udp, checksum)))
		answer.icmp.checksum = ~folded(sum_of(&answer.icmp, sizeof(answer) - sizeof(answer.ip), 0));
	else if (answer.about.protocol != IP_UDP || rest)
		return drop(NOT_ANSWERED);
	if (skb_store_bytes(skb, at, &answer, sizeof(answer), RECOMPUTE_CSUM))
		return drop(NOT_ANSWERED);
	count(then);
	return redirect(interface_of(skb), 0);
}

static __noinline int answer_ipv6(struct __sk_buff *skb, __u32 type, __u32 code, __u32 rest, __u32 then)
{
	struct {
		struct ipv6 ip;
		struct icmp icmp;
		struct ipv6 about;
		__u8 transport[QUOTED];
	} __attribute__((aligned(4))) answer;
	__u32 at = sizeof(struct ethernet);
	__u32 transport = at + sizeof(answer.ip);
	__u32 length = sizeof(answer) - sizeof(answer.ip);

	if (skb_load_bytes(skb, at, &answer.about, sizeof(answer.about) + QUOTED))
		return drop(NOT_ANSWERED);
	answer.ip.version_class_flow = be32(6u << 28);
	answer.ip.length = be16(length);
	answer.ip.next_header = IP_ICMPV6;
	answer.ip.hop_limit = 64;
	__builtin_memcpy(answer.ip.source, answer.about.destination, sizeof(answer.ip.source));
	__builtin_memcpy(answer.ip.destination, answer.about.source, sizeof(answer.ip.destination));
	answer.icmp = (struct icmp){ .type = type, .code = code, .rest = be32(rest) };
	if (skb_change_tail(skb, at + sizeof(answer), 0) || swap_macs(skb))
		return drop(NOT_ANSWERED);
	__s64 pseudo = sum_of_pseudo_ipv6(&answer.ip, length);
	/* As in IPv4; the hardware counts on finding the sum over the pseudo header there. */
	if (!is_offloaded(skb, transport + offset_of(struct udp, checksum)))
		answer.icmp.checksum = ~folded(sum_of(&answer.icmp, length, folded(pseudo)));
	else if (answer.about.next_header != IP_UDP || rest)
		return drop(NOT_ANSWERED);
	else
		answer.icmp.rest = be32(be16(folded(pseudo)));
	if (skb_store_bytes(skb, at, &answer, sizeof(answer), RECOMPUTE_CSUM))
		return drop(NOT_ANSWERED);
	count(then);
	return redirect(interface_of(skb), 0);
}
