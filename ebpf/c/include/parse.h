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

static __always_inline int has_port(__u64 ports, __u16 port)
{
	return ports >> (port & 63) & 1;
}

/* Whether nobody of ours has one of its ports: true of most packets that are not ours. Replies of mode fullnat may
 * have any port from the first on. */
static __always_inline int is_elsewhere(__u16 source, __u16 destination)
{
	__u32 zero = 0;
	__u32 from = be16(source) / 64, to = be16(destination) / 64;
	const struct ports_in_use *of_source = map_lookup(&ports, &from);
	const struct ports_in_use *of_destination = map_lookup(&ports, &to);
	const struct settings *settings_now = map_lookup(&settings, &zero);

	if (!of_source || !of_destination || !settings_now)
		return 0;
	if (has_port(of_destination->services, be16(destination)) || has_port(of_source->backends, be16(source)))
		return 0;
	return !settings_now->returns || be16(destination) < FIRST_SOURCE_PORT;
}

static __always_inline int parse_transport(struct CONTEXT *skb, struct packet *packet)
{
	if (packet->fragment == LATER_PIECE)
		return PARSED;
	if (packet->protocol == IP_TCP) {
		struct tcp copy;
		const struct tcp *tcp = bytes_at(skb, packet->transport, sizeof(copy), &copy);

		if (!tcp)
			return NOT_OURS;
		packet->source_port = tcp->source;
		packet->destination_port = tcp->destination;
		packet->tcp_flags = tcp->flags;
	} else if (packet->protocol == IP_UDP) {
		struct udp copy;
		const struct udp *udp = bytes_at(skb, packet->transport, sizeof(copy), &copy);

		if (!udp)
			return NOT_OURS;
		packet->source_port = udp->source;
		packet->destination_port = udp->destination;
		packet->unchecked = udp->checksum == 0;
	} else {
		return PARSED;
	}
	if (packet->fragment == WHOLE && is_elsewhere(packet->source_port, packet->destination_port))
		return NOT_OURS;
	return PARSED;
}

static __always_inline int parse_ipv4(struct CONTEXT *skb, struct packet *packet)
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

static __always_inline int parse_ipv6(struct CONTEXT *skb, struct packet *packet)
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
		if (load(skb, packet->transport, &extension, sizeof(extension)))
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
