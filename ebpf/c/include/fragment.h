/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * Pieces of packets follow the first, which alone has ports.
 */
#pragma once

#include "parse.h"

static __always_inline struct fragmented whole_of(const struct packet *packet)
{
	return (struct fragmented){
		.source = packet->source,
		.destination = packet->destination,
		.identification = packet->identification,
		.protocol = packet->protocol,
	};
}

/* Whether any service or any backend is at `address`. */
static __always_inline int is_marked(void *map, const struct address *address, __u8 protocol)
{
	struct endpoint endpoint = { .address = *address, .protocol = protocol };

	return map_lookup(map, &endpoint) != 0;
}

/* Whether the packet may be one of ours: only then its pieces are noted, or missed. */
static __always_inline int concerns_us(const struct packet *packet)
{
	return is_marked(&endpoints, &packet->destination, packet->protocol) ||
	       is_marked(&replies, &packet->source, packet->protocol);
}

/* Notes the ports of a first piece, and gives them to a later one. Returns 0, or a verdict. */
static __noinline int handle_fragment(struct packet *packet)
{
	if (!concerns_us(packet))
		return NEXT;
	struct fragmented whole = whole_of(packet);
	if (packet->fragment == FIRST_PIECE) {
		struct ports ports = { packet->source_port, packet->destination_port };

		map_update(&fragments, &whole, &ports, ANY);
		return 0;
	}
	const struct ports *ports = map_lookup(&fragments, &whole);
	if (!ports)
		return drop(FRAGMENT_WITHOUT_FIRST);
	packet->source_port = ports->source;
	packet->destination_port = ports->destination;
	return 0;
}
