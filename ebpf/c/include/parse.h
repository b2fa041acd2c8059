/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * What of a packet decides where it goes.
 */
#pragma once

#include "access.h"
#include "count.h"
#include "plane.h"

enum fragment {
	WHOLE = 0,
	/* The first piece, with the transport's header. */
	FIRST_PIECE,
	LATER_PIECE,
};

struct packet {
	struct address source;
	struct address destination;
	/* Of the transport; 0 for ICMP. */
	__u16 source_port;
	__u16 destination_port;
	/* Where the transport's header begins. */
	__u32 transport;
	/* What its pieces have in common. */
	__u32 identification;
	/* TCP, UDP, or the family's ICMP. */
	__u8 protocol;
	/* enum fragment. */
	__u8 fragment;
	__u8 tcp_flags;
	/* UDP: the sender made no checksum. */
	__u8 unchecked;
	__u8 time_to_live;
};

enum parsed {
	PARSED = 0,
	/* Nothing that a service or a backend of ours could have sent or be meant by. */
	NOT_OURS,
	/* Its transport can't be found behind its extension headers. */
	HIDDEN,
};

static __always_inline int parse_transport(struct __sk_buff *skb, struct packet *packet)
{
	if (packet->fragment == LATER_PIECE)
		return PARSED;
	if (packet->protocol == IP_TCP) {
		struct tcp tcp;

		if (skb_load_bytes(skb, packet->transport, &tcp, sizeof(tcp)))
			return NOT_OURS;
		packet->source_port = tcp.source;
		packet->destination_port = tcp.destination;
		packet->tcp_flags = tcp.flags;
	} else if (packet->protocol == IP_UDP) {
		struct udp udp;

		if (skb_load_bytes(skb, packet->transport, &udp, sizeof(udp)))
			return NOT_OURS;
		packet->source_port = udp.source;
		packet->destination_port = udp.destination;
		packet->unchecked = udp.checksum == 0;
	}
	return PARSED;
}

static __always_inline int parse_ipv4(struct __sk_buff *skb, struct packet *packet)
{
	void *frame = first(skb, IPV4_BYTES);

	if (!frame)
		return NOT_OURS;
	const struct ipv4 *ip = frame + sizeof(struct ethernet);
	__u32 header = (ip->version_and_length & 15) * 4;
	__u16 fragment = be16(ip->fragment);

	if (ip->version_and_length >> 4 != 4 || header < sizeof(*ip) || !is_ours(skb, frame))
		return NOT_OURS;
	packet->protocol = ip->protocol;
	if (packet->protocol != IP_TCP && packet->protocol != IP_UDP && packet->protocol != IP_ICMP)
		return NOT_OURS;
	packet->source = from_ipv4(ip->source);
	packet->destination = from_ipv4(ip->destination);
	packet->time_to_live = ip->time_to_live;
	packet->transport = sizeof(struct ethernet) + header;
	packet->identification = ip->identification;
	packet->fragment = fragment & 0x1fff ? LATER_PIECE : fragment & 0x2000 ? FIRST_PIECE : WHOLE;
	return parse_transport(skb, packet);
}

/* As many extension headers as are followed (RFC 8200 section 4.1 expects up to four before the transport). */
#define EXTENSION_HEADERS_FOLLOWED 4

static __always_inline int parse_ipv6(struct __sk_buff *skb, struct packet *packet)
{
	void *frame = first(skb, IPV6_BYTES);

	if (!frame)
		return NOT_OURS;
	const struct ipv6 *ip = frame + sizeof(struct ethernet);
	__u8 next = ip->next_header;

	if ((*(const __u8 *)ip) >> 4 != 6 || !is_ours(skb, frame))
		return NOT_OURS;
	packet->source = from_ipv6(ip->source);
	packet->destination = from_ipv6(ip->destination);
	packet->time_to_live = ip->hop_limit;
	packet->transport = IPV6_BYTES;
#pragma unroll
	for (int followed = 0; followed < EXTENSION_HEADERS_FOLLOWED; followed++) {
		/* Of a fragment all, of the others the beginning. */
		struct ipv6_fragment extension;

		if (next == IP_TCP || next == IP_UDP || next == IP_ICMPV6)
			break;
		if (next != IPV6_HOP_BY_HOP && next != IPV6_ROUTING && next != IPV6_DESTINATION &&
		    next != IPV6_FRAGMENT)
			return next == IPV6_AUTHENTICATION ? HIDDEN : NOT_OURS;
		if (skb_load_bytes(skb, packet->transport, &extension, sizeof(extension)))
			return HIDDEN;
		if (next == IPV6_FRAGMENT) {
			__u16 offset = be16(extension.offset);

			packet->fragment = offset & 0xfff8 ? LATER_PIECE : offset & 1 ? FIRST_PIECE : WHOLE;
			packet->identification = extension.identification;
			packet->transport += sizeof(extension);
		} else {
			/* The second byte is its length. */
			packet->transport += ((__u32)extension.reserved + 1) * 8;
		}
		next = extension.next_header;
		if (packet->fragment == LATER_PIECE)
			break;
	}
	packet->protocol = next;
	if (next != IP_TCP && next != IP_UDP && next != IP_ICMPV6)
		return packet->fragment == LATER_PIECE ? NOT_OURS : HIDDEN;
	return parse_transport(skb, packet);
}
