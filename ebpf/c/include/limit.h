/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * How often new connections may come, to a service and from each of its clients: the generic cell rate algorithm
 * (ITU-T I.371, appendix A), a token bucket in one number. Each connection moves the time of arrival by an interval,
 * and conforms while that time is not further ahead than the tolerance. The number is shared by all processors
 * without a lock: whatever they do at once, no more get through than may.
 *
 * What does not conform is dropped and never answered: most of a flood says that it comes from somebody else.
 */
#pragma once

#include "count.h"
#include "parse.h"

/* In nanoseconds; an interval of 0 is no limit. */
struct pace {
	__u64 interval;
	__u64 tolerance;
};

struct limit {
	struct pace service;
	struct pace client;
	/* Of the service. The daemon's writing 0 here makes the bucket full. */
	__u64 arrival;
};

/* A client of a service. At another pace it is another one, so that it takes no debt along. */
struct limited {
	/* IPv6: its /64, since a host has all of it. */
	struct address client;
	__u32 service;
	__u32 interval;
	__u64 tolerance;
};

_Static_assert(sizeof(struct limit) == 40, "struct limit");
_Static_assert(offset_of(struct limit, client) == 16, "limit.client");
_Static_assert(offset_of(struct limit, arrival) == 32, "limit.arrival");
_Static_assert(sizeof(struct limited) == 32, "struct limited");

TABLE(limits, MAP_ARRAY, __u32, struct limit, MAX_SERVICES);
/* The client that was silent longest makes room. */
TABLE(clients, MAP_LRU_HASH, struct limited, __u64, MAX_CLIENTS);

static __always_inline int conforms(__u64 *arrival, const struct pace *pace, __u64 now)
{
	__u64 latest = now + pace->tolerance;
	__u64 seen = *(volatile __u64 *)arrival;

	if (seen > latest)
		return 0;
	/* It was idle. Whoever is second here finds that another has said so. */
	if (seen < now)
		__sync_val_compare_and_swap(arrival, seen, now);
	if (__sync_fetch_and_add(arrival, pace->interval) <= latest)
		return 1;
	__sync_fetch_and_add(arrival, -pace->interval);
	return 0;
}

static __always_inline __u64 *arrival_of(const struct limit *limit, __u32 service, const struct address *client,
					 int make)
{
	struct limited key = {
		.client = *client,
		.service = service,
		.interval = limit->client.interval,
		.tolerance = limit->client.tolerance,
	};
	__u64 never = 0;

	if (client->words[0] || client->words[1] || client->words[2] != be32(0xffff)) {
		key.client.words[2] = 0;
		key.client.words[3] = 0;
	}
	__u64 *arrival = map_lookup(&clients, &key);
	if (arrival || !make)
		return arrival;
	map_update(&clients, &key, &never, NO_EXIST);
	return map_lookup(&clients, &key);
}

/* 0 if one more connection may begin; else the reason why not. What is refused takes no token from anybody. */
static __always_inline __u32 refusal(__u32 service, const struct address *client, __u64 now)
{
	struct limit *limit = map_lookup(&limits, &service);
	__u64 *arrival = 0;

	if (!limit)
		return 0;
	if (limit->client.interval) {
		arrival = arrival_of(limit, service, client, 1);
		/* Without room for it the service's limit is what holds. */
		if (arrival && !conforms(arrival, &limit->client, now))
			return CLIENT_RATE;
	}
	if (!limit->service.interval || conforms(&limit->arrival, &limit->service, now))
		return 0;
	if (arrival)
		__sync_fetch_and_add(arrival, -limit->client.interval);
	return SERVICE_RATE;
}

static __always_inline int is_limited(const struct packet *packet)
{
	return (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* 0 if the packet may go on; else the verdict. */
static __always_inline int limited(const struct packet *packet, __u32 service, __u64 now)
{
	if (!is_limited(packet))
		return 0;
	__u32 reason = refusal(service, &packet->source, now);
	if (!reason)
		return 0;
	struct counters *counters = map_lookup(&service_counters, &service);
	if (counters)
		counters->limited += 1;
	return drop(reason);
}

/* A bucket that is full takes none. Nor does one that somebody else changes just now: it may have been made full. */
static __always_inline void return_token(__u64 *arrival, const struct pace *pace, __u64 now)
{
	__u64 seen = arrival ? *(volatile __u64 *)arrival : 0;

	if (seen > now)
		__sync_val_compare_and_swap(arrival, seen, seen - pace->interval);
}

/* The packet comes again, by tcx, where it takes its tokens. */
static __noinline void unlimited(const struct packet *packet, __u32 service, __u64 now)
{
	struct limit *limit = is_limited(packet) ? map_lookup(&limits, &service) : 0;

	if (!limit)
		return;
	if (limit->client.interval)
		return_token(arrival_of(limit, service, &packet->source, 0), &limit->client, now);
	return_token(&limit->arrival, &limit->service, now);
}
