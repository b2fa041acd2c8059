/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * ICMP errors about packets of the plane's services, packet-too-big above all, to whom they are meant for: from the
 * clients' side to the backend that the packet was from, from the backends' side to the client. In mode nat the
 * packet within is rewritten as it was on its way.
 */
#pragma once

#include "outbound.h"

/* The packet that the error is about, and where it stands. */
struct quoted {
	struct packet packet;
	__u32 icmp;
	__u32 header;
};

/* Another address and port in the quoted packet, on the same side on which it was rewritten. */
struct exchange {
	struct address address;
	__u16 port;
	__u8 side;
};

static __always_inline int parse_quoted_ports(struct __sk_buff *skb, struct quoted *quoted)
{
	struct udp ports;

	if (quoted->packet.protocol != IP_TCP && quoted->packet.protocol != IP_UDP)
		return NOT_OURS;
	if (skb_load_bytes(skb, quoted->packet.transport, &ports, sizeof(ports)))
		return NOT_OURS;
	quoted->packet.source_port = ports.source;
	quoted->packet.destination_port = ports.destination;
	return PARSED;
}

static __always_inline int parse_error_ipv4(struct __sk_buff *skb, struct packet *outer, struct quoted *quoted)
{
	struct icmp icmp;
	struct ipv4 about;

	if (parse_ipv4(skb, outer) != PARSED || outer->fragment != WHOLE)
		return NOT_OURS;
	quoted->icmp = outer->transport;
	quoted->header = outer->transport + sizeof(icmp);
	if (skb_load_bytes(skb, quoted->icmp, &icmp, sizeof(icmp)) ||
	    skb_load_bytes(skb, quoted->header, &about, sizeof(about)))
		return NOT_OURS;
	if (icmp.type != ICMP_UNREACHABLE && icmp.type != ICMP_TIME_EXCEEDED && icmp.type != ICMP_PARAMETER_PROBLEM)
		return NOT_OURS;
	/* Who does not get the packet back that they sent is not meant. Later pieces have no ports. */
	if (about.source != outer->destination.words[3] || be16(about.fragment) & 0x1fff)
		return NOT_OURS;
	quoted->packet.source = from_ipv4(about.source);
	quoted->packet.destination = from_ipv4(about.destination);
	quoted->packet.protocol = about.protocol;
	quoted->packet.transport = quoted->header + (about.version_and_length & 15) * 4;
	return parse_quoted_ports(skb, quoted);
}

static __always_inline int parse_error_ipv6(struct __sk_buff *skb, struct packet *outer, struct quoted *quoted)
{
	struct icmp icmp;
	struct ipv6 about;

	if (parse_ipv6(skb, outer) != PARSED || outer->fragment != WHOLE)
		return NOT_OURS;
	quoted->icmp = outer->transport;
	quoted->header = outer->transport + sizeof(icmp);
	if (skb_load_bytes(skb, quoted->icmp, &icmp, sizeof(icmp)) ||
	    skb_load_bytes(skb, quoted->header, &about, sizeof(about)))
		return NOT_OURS;
	if (icmp.type < ICMPV6_UNREACHABLE || icmp.type > ICMPV6_PARAMETER_PROBLEM)
		return NOT_OURS;
	quoted->packet.source = from_ipv6(about.source);
	quoted->packet.destination = from_ipv6(about.destination);
	for (int word = 0; word < 4; word++)
		if (quoted->packet.source.words[word] != outer->destination.words[word])
			return NOT_OURS;
	quoted->packet.protocol = about.next_header;
	quoted->packet.transport = quoted->header + sizeof(about);
	return parse_quoted_ports(skb, quoted);
}

/* The checksum of ICMP after two bytes at another place changed. */
static __always_inline long icmp_replace(struct __sk_buff *skb, const struct quoted *quoted, __u16 from, __u16 to)
{
	return l4_csum_replace(skb, quoted->icmp + offset_of(struct icmp, checksum), from, to, sizeof(to));
}

/* The quoted port, and the quoted checksum if the quotation goes so far. `difference` is that of the address. */
static __always_inline long rewrite_quoted_transport(struct __sk_buff *skb, const struct quoted *quoted,
						     const struct exchange *exchange, __s64 difference)
{
	const struct packet *packet = &quoted->packet;
	__u16 old = exchange->side == SOURCE ? packet->source_port : packet->destination_port;
	__u32 at = packet->transport + (exchange->side == SOURCE ? offset_of(struct tcp, source)
								 : offset_of(struct tcp, destination));
	__u16 before;

	if (exchange->port != old && (skb_store_bytes(skb, at, &exchange->port, sizeof(exchange->port), 0) ||
				      icmp_replace(skb, quoted, old, exchange->port)))
		return -1;
	if (skb_load_bytes(skb, checksum_at(packet), &before, sizeof(before)))
		return 0;
	if (packet->protocol == IP_UDP && !before)
		return 0;
	__u16 after = replaced(replaced(before, 0, folded(difference)), old, exchange->port);
	if (packet->protocol == IP_UDP && !after)
		after = 0xffff;
	if (skb_store_bytes(skb, checksum_at(packet), &after, sizeof(after), 0))
		return -1;
	return icmp_replace(skb, quoted, before, after);
}

static __always_inline __s64 difference_of(const struct quoted *quoted, const struct exchange *exchange)
{
	const struct address *old =
		exchange->side == SOURCE ? &quoted->packet.source : &quoted->packet.destination;

	return csum_diff(old->words, sizeof(*old), exchange->address.words, sizeof(exchange->address), 0);
}

/* In IPv4 the quoted header has a checksum: the sum over both stays as it was. */
static __always_inline long rewrite_quoted_ipv4(struct __sk_buff *skb, const struct quoted *quoted,
						const struct exchange *exchange)
{
	__u32 old = exchange->side == SOURCE ? quoted->packet.source.words[3] : quoted->packet.destination.words[3];
	__u32 new = exchange->address.words[3];
	__u32 at = quoted->header + (exchange->side == SOURCE ? offset_of(struct ipv4, source)
							      : offset_of(struct ipv4, destination));

	if (l3_csum_replace(skb, quoted->header + offset_of(struct ipv4, checksum), old, new, sizeof(new)) ||
	    skb_store_bytes(skb, at, &new, sizeof(new), 0))
		return -1;
	return rewrite_quoted_transport(skb, quoted, exchange, difference_of(quoted, exchange));
}

static __always_inline long rewrite_quoted_ipv6(struct __sk_buff *skb, const struct quoted *quoted,
						const struct exchange *exchange)
{
	__s64 difference = difference_of(quoted, exchange);
	__u32 at = quoted->header + (exchange->side == SOURCE ? offset_of(struct ipv6, source)
							      : offset_of(struct ipv6, destination));

	if (skb_store_bytes(skb, at, &exchange->address, sizeof(exchange->address), 0) ||
	    l4_csum_replace(skb, quoted->icmp + offset_of(struct icmp, checksum), 0, difference, 0))
		return -1;
	return rewrite_quoted_transport(skb, quoted, exchange, difference);
}

/* The outer header. ICMPv6 has the addresses in its checksum, ICMP does not. */
static __always_inline long rewrite_outer(struct __sk_buff *skb, const struct packet *outer,
					  const struct quoted *quoted, int side, const struct address *address,
					  __u32 family)
{
	const struct address *old = side == SOURCE ? &outer->source : &outer->destination;

	if (family == FAMILY_IPV4)
		return rewrite_ipv4_header(skb, side, address->words[3]);
	__s64 difference = csum_diff(old->words, sizeof(*old), address->words, sizeof(*address), 0);
	if (l4_csum_replace(skb, quoted->icmp + offset_of(struct icmp, checksum), 0, difference, PSEUDO_HEADER))
		return -1;
	return rewrite_ipv6_header(skb, outer, side, address);
}

/* About a packet that a client was sent: to the backend that sent it. */
static __always_inline int relay_to_backend(struct __sk_buff *skb, const struct packet *outer,
					    const struct quoted *quoted, __u32 index, __u32 family)
{
	const struct service *service = map_lookup(&services, &index);
	const struct settings *settings = the_settings();
	__u64 now = ktime_get_ns();
	struct flow flow = {
		.client = quoted->packet.destination,
		.vip = quoted->packet.source,
		.client_port = quoted->packet.destination_port,
		.port = quoted->packet.source_port,
		.protocol = quoted->packet.protocol,
	};

	if (!service || !settings || service->mode == OFF)
		return NEXT;
	int verdict = silenced(&outer->destination, now);
	if (verdict)
		return verdict;
	__u32 chosen = select(settings, service, index, &flow, TCP_ACK, now);
	struct backend *backend = usable(chosen);
	if (!backend)
		return drop(NO_BACKEND_DROPPED);
	if (!backend->interface)
		return drop(NO_ROUTE_TO_BACKEND);
	if (service->mode == NAT) {
		struct exchange exchange = {
			.address = backend->address,
			.port = backend->port ? backend->port : quoted->packet.source_port,
			.side = SOURCE,
		};

		if (outer->time_to_live <= 1)
			return drop(TIME_EXCEEDED);
		if ((family == FAMILY_IPV4 ? rewrite_quoted_ipv4(skb, quoted, &exchange)
					   : rewrite_quoted_ipv6(skb, quoted, &exchange)) ||
		    rewrite_outer(skb, outer, quoted, DESTINATION, &exchange.address, family))
			return drop(NOT_REWRITTEN);
	}
	return send_to(backend->interface, &backend->next_hop, family);
}

/* About a packet that a backend was sent: to the client that sent it. */
static __always_inline int relay_to_client(struct __sk_buff *skb, const struct packet *outer,
					   const struct quoted *quoted, const struct reply *reply, __u32 family)
{
	struct exchange exchange = { .address = reply->vip, .port = reply->port, .side = DESTINATION };
	struct route route = {};
	int verdict = find_client(skb, outer, family, &route);
	int from_backend = 1;

	if (verdict)
		return verdict;
	verdict = silenced(&reply->vip, ktime_get_ns());
	if (verdict)
		return verdict;
	if (outer->time_to_live <= 1)
		return drop(TIME_EXCEEDED);
	/* A router's own address stays. */
	for (int word = 0; word < 4; word++)
		from_backend &= outer->source.words[word] == quoted->packet.destination.words[word];
	if ((family == FAMILY_IPV4 ? rewrite_quoted_ipv4(skb, quoted, &exchange)
				   : rewrite_quoted_ipv6(skb, quoted, &exchange)) ||
	    rewrite_outer(skb, outer, quoted, SOURCE, from_backend ? &exchange.address : &outer->source, family))
		return drop(NOT_REWRITTEN);
	return send_by(&route, family);
}

static __always_inline int relay(struct __sk_buff *skb, const struct packet *outer, const struct quoted *quoted,
				 __u32 family)
{
	struct endpoint asked = {
		.address = quoted->packet.source,
		.port = quoted->packet.source_port,
		.protocol = quoted->packet.protocol,
	};
	const __u32 *index = map_lookup(&endpoints, &asked);

	if (index && *index != NO_SERVICE)
		return relay_to_backend(skb, outer, quoted, *index, family);
	asked.address = quoted->packet.destination;
	asked.port = quoted->packet.destination_port;
	const struct reply *reply = map_lookup(&replies, &asked);
	if (reply && reply->service != NO_SERVICE)
		return relay_to_client(skb, outer, quoted, reply, family);
	return NEXT;
}

static __noinline int relay_ipv4(struct __sk_buff *skb)
{
	struct packet outer = {};
	struct quoted quoted = {};

	if (parse_error_ipv4(skb, &outer, &quoted) != PARSED)
		return NEXT;
	return relay(skb, &outer, &quoted, FAMILY_IPV4);
}

static __noinline int relay_ipv6(struct __sk_buff *skb)
{
	struct packet outer = {};
	struct quoted quoted = {};

	if (parse_error_ipv6(skb, &outer, &quoted) != PARSED)
		return NEXT;
	return relay(skb, &outer, &quoted, FAMILY_IPV6);
}
