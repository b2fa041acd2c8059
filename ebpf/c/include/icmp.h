/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * ICMP errors about packets of the plane's services, packet-too-big above all, to whom they are meant for: from the
 * clients' side to the backend that the packet was from, from the backends' side to the client. In mode nat the
 * packet within is rewritten as it was on its way.
 */
#pragma once

#include "fullnat.h"

/* The packet that the error is about, and where it stands. */
struct quoted {
	struct packet packet;
	__u32 icmp;
	__u32 header;
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

/* The checksum of ICMP after a word at another place changed. */
static __always_inline long icmp_replace(struct __sk_buff *skb, const struct quoted *quoted, __u32 from, __u32 to,
					 __u32 bytes)
{
	return l4_csum_replace(skb, quoted->icmp + offset_of(struct icmp, checksum), from, to, bytes);
}

/* The quoted ports, and the quoted checksum if the quotation goes so far. `difference` is that of the addresses. */
static __always_inline long rewrite_quoted_transport(struct __sk_buff *skb, const struct quoted *quoted,
						     const struct ends *to, __u32 difference)
{
	const struct packet *packet = &quoted->packet;
	__u32 old = both_ports(packet->source_port, packet->destination_port);
	__u32 new = both_ports(to->source_port, to->destination_port);
	__u16 before;

	if (old != new && (skb_store_bytes(skb, packet->transport, &new, sizeof(new), 0) ||
			   icmp_replace(skb, quoted, old, new, sizeof(new))))
		return -1;
	if (skb_load_bytes(skb, checksum_at(packet), &before, sizeof(before)))
		return 0;
	if (packet->protocol == IP_UDP && !before)
		return 0;
	__u16 after = replaced_words(replaced(before, 0, folded(difference)), old, new);
	if (packet->protocol == IP_UDP && !after)
		after = 0xffff;
	if (skb_store_bytes(skb, checksum_at(packet), &after, sizeof(after), 0))
		return -1;
	return icmp_replace(skb, quoted, before, after, sizeof(after));
}

/* In IPv4 the quoted header has a checksum: the sum over both stays as it was. */
static __always_inline long rewrite_quoted_ipv4(struct __sk_buff *skb, const struct quoted *quoted,
						const struct ends *to)
{
	__u32 difference = difference_ipv4(&quoted->packet, to);
	__u32 addresses[2] = { to->source.words[3], to->destination.words[3] };
	__u32 at = quoted->header + offset_of(struct ipv4, source);

	if (l3_csum_replace(skb, quoted->header + offset_of(struct ipv4, checksum), 0, difference, 0) ||
	    skb_store_bytes(skb, at, addresses, sizeof(addresses), 0))
		return -1;
	return rewrite_quoted_transport(skb, quoted, to, difference);
}

static __always_inline long rewrite_quoted_ipv6(struct __sk_buff *skb, const struct quoted *quoted,
						const struct ends *to)
{
	__u32 difference = difference_ipv6(&quoted->packet, to);
	__u32 at = quoted->header + offset_of(struct ipv6, source);

	if (skb_store_bytes(skb, at, to, 2 * sizeof(struct address), 0) ||
	    l4_csum_replace(skb, quoted->icmp + offset_of(struct icmp, checksum), 0, difference, 0))
		return -1;
	return rewrite_quoted_transport(skb, quoted, to, difference);
}

/* The error itself goes between others too. ICMPv6 has the addresses in its checksum, ICMP does not. */
static __always_inline int send_error(struct __sk_buff *skb, const struct packet *outer, const struct quoted *quoted,
				      const struct ends *about, const struct ends *to, __u32 family)
{
	__u32 at = quoted->icmp + offset_of(struct icmp, checksum);

	if (family == FAMILY_IPV4)
		return rewrite_quoted_ipv4(skb, quoted, about) || rewrite_ipv4_header(skb, to);
	return rewrite_quoted_ipv6(skb, quoted, about) ||
	       l4_csum_replace(skb, at, 0, difference_ipv6(outer, to), PSEUDO_HEADER) ||
	       rewrite_ipv6_header(skb, outer, to);
}

/* The backend of a quoted flow; `known` is its entry in mode fullnat. */
static __always_inline __u32 backend_of(const struct settings *settings, const struct service *service, __u32 index,
					const struct flow *flow, struct pin **known, __u64 now)
{
	if (service->mode != FULLNAT)
		return select(settings, service, index, flow, TCP_ACK, now);
	*known = map_lookup(&flows, flow);
	if (!*known)
		*known = map_lookup(&opening, flow);
	return *known ? (*known)->backend : 0;
}

/* About a packet that a client was sent: to the backend that sent it. */
static __always_inline int relay_to_backend(struct __sk_buff *skb, const struct packet *outer,
					    const struct quoted *quoted, __u32 index, __u32 family)
{
	const struct service *service = map_lookup(&services, &index);
	const struct settings *settings = the_settings();
	__u64 now = ktime_get_ns();
	struct pin *known = 0;
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
	struct backend *backend = usable(backend_of(settings, service, index, &flow, &known, now));
	if (!backend)
		return drop(NO_BACKEND_DROPPED);
	if (!backend->interface)
		return drop(NO_ROUTE_TO_BACKEND);
	if (service->mode != DSR) {
		struct ends about = ends_of(&quoted->packet);
		struct ends to = { .source = outer->source, .destination = backend->address };

		if (outer->time_to_live <= 1)
			return drop(TIME_EXCEEDED);
		about.source = backend->address;
		if (backend->port)
			about.source_port = backend->port;
		if (known) {
			about.destination = known->source;
			about.destination_port = known->source_port;
			to.source = known->source;
		}
		if (send_error(skb, outer, quoted, &about, &to, family))
			return drop(NOT_REWRITTEN);
	}
	struct way way;
	return send_to(skb, backend, family, &way);
}

/* About a packet that a backend was sent: to the client that sent it. */
static __always_inline int relay_to_client(struct __sk_buff *skb, const struct packet *outer,
					   const struct quoted *quoted, const struct reply *reply, __u32 family)
{
	struct ends about = ends_of(&quoted->packet), to = ends_of(outer);
	struct route route = {};
	int verdict = find_client(skb, outer, family, &route);

	if (verdict)
		return verdict;
	verdict = silenced(&reply->vip, ktime_get_ns());
	if (verdict)
		return verdict;
	if (outer->time_to_live <= 1)
		return drop(TIME_EXCEEDED);
	about.destination = reply->vip;
	about.destination_port = reply->port;
	/* A router's own address stays. */
	if (is_same_address(&outer->source, &quoted->packet.destination))
		to.source = reply->vip;
	if (send_error(skb, outer, quoted, &about, &to, family))
		return drop(NOT_REWRITTEN);
	return send_by(skb, &route, family);
}

/* The same of a flow of mode fullnat. */
static __always_inline int return_to_client(struct __sk_buff *skb, const struct packet *outer,
					    const struct quoted *quoted, const struct returned *way, __u32 family)
{
	__u32 index = way->service;
	const struct service *service = map_lookup(&services, &index);
	struct ends about = {
		.source = way->flow.client,
		.destination = way->flow.vip,
		.source_port = way->flow.client_port,
		.destination_port = way->flow.port,
	};
	struct ends to = { .source = outer->source, .destination = way->flow.client };
	struct route route = {};

	if (!service)
		return drop(UNKNOWN_FLOW);
	int verdict = silenced(&about.destination, ktime_get_ns());
	if (verdict)
		return verdict;
	verdict = find_way_back(skb, &outer->source, &to.destination, service->interface, family, &route);
	if (verdict)
		return verdict;
	if (outer->time_to_live <= 1)
		return drop(TIME_EXCEEDED);
	if (is_same_address(&outer->source, &quoted->packet.destination))
		to.source = about.destination;
	if (send_error(skb, outer, quoted, &about, &to, family))
		return drop(NOT_REWRITTEN);
	return send_by(skb, &route, family);
}

static __always_inline int relay(struct __sk_buff *skb, const struct packet *outer, const struct quoted *quoted,
				 __u32 family)
{
	struct endpoint asked = {
		.address = quoted->packet.source,
		.port = quoted->packet.source_port,
		.protocol = quoted->packet.protocol,
	};
	const struct settings *settings = the_settings();
	const __u32 *index = map_lookup(&endpoints, &asked);

	if (index && *index < MAX_SERVICES)
		return relay_to_backend(skb, outer, quoted, *index, family);
	asked.address = quoted->packet.destination;
	asked.port = quoted->packet.destination_port;
	const struct reply *reply = map_lookup(&replies, &asked);
	if (reply && reply->service != NO_SERVICE)
		return relay_to_client(skb, outer, quoted, reply, family);
	if (!settings || !settings->returns)
		return NEXT;
	struct flow back = {
		.client = quoted->packet.destination,
		.vip = quoted->packet.source,
		.client_port = quoted->packet.destination_port,
		.port = quoted->packet.source_port,
		.protocol = quoted->packet.protocol,
	};
	const struct returned *way = returned_to(&back);
	return way ? return_to_client(skb, outer, quoted, way, family) : NEXT;
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
