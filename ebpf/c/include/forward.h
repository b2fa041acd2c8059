/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * Whose a packet is: a client's, a backend's, or none of ours.
 */
#pragma once

#include "fragment.h"
#include "fullnat.h"
#include "inbound.h"
#include "outbound.h"

static __always_inline int handle_request(struct CONTEXT *skb, const struct packet *packet, __u32 index,
					  __u32 family)
{
	const struct service *service = map_lookup(&services, &index);

	if (service && service->mode == FULLNAT)
		return inbound_fullnat(skb, packet, index, family);
	return inbound(skb, packet, index, family);
}

static __always_inline int forward(struct CONTEXT *skb, struct packet *packet, __u32 family)
{
	const struct settings *settings = the_settings();

	if (packet->fragment != WHOLE) {
		int verdict = handle_fragment(packet);

		if (verdict)
			return verdict;
	}
	struct endpoint asked = {
		.address = packet->destination,
		.port = packet->destination_port,
		.protocol = packet->protocol,
	};
	const __u32 *index = map_lookup(&endpoints, &asked);
	if (index && *index < MAX_SERVICES)
		return handle_request(skb, packet, *index, family);
	if (!settings)
		return NEXT;
	if (settings->returns && be16(packet->destination_port) >= FIRST_SOURCE_PORT &&
	    is_source(&packet->destination, packet->protocol))
		return handle_reply(skb, packet, family);
	if (!settings->replies)
		return NEXT;
	asked.address = packet->source;
	asked.port = packet->source_port;
	const struct reply *reply = map_lookup(&replies, &asked);
	if (reply && reply->service != NO_SERVICE)
		return outbound(skb, packet, reply, family);
	return NEXT;
}
