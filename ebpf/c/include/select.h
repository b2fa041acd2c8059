/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * The backend of a flow, by two tables: who takes new flows now, and who took them before the last change. Where
 * both agree the slot alone decides, and nothing is kept. Where they differ a new flow belongs to the first and any
 * other to the second, and is pinned, so that it stays there when the tables are one again.
 *
 * A service may also give new flows to its backends in turn, by a schedule. Those are pinned, all of them; what is not,
 * for want of room or because nobody told this node of it, goes by the tables.
 */
#pragma once

#include "count.h"
#include "hash.h"
#include "parse.h"

/* A new connection on the ports of one that was silent for this long replaces it. */
#define REPLACED_AFTER 2000000000ull
/* How exactly the last packet of a pinned flow is known. */
#define NOTED_EVERY 1000000000ull

static __always_inline __u32 slot_of(void *tables, __u32 service, __u32 slot)
{
	__u32 zero = 0;
	void *table = map_lookup(tables, &service);

	if (!table)
		return 0;
	const struct slots *slots = map_lookup(table, &zero);
	return slots && slot < SLOTS ? slots->backends[slot] : 0;
}

static __always_inline struct backend *usable(__u32 index)
{
	struct backend *backend = index ? map_lookup(&backends, &index) : 0;

	return backend && backend->state == UP ? backend : 0;
}

/* What is told: there is no room for it on the stack. */
TABLE(news, MAP_PERCPU_ARRAY, __u32, struct event, 1);

/* For the other nodes, if there are any. */
static __noinline void tell(const struct settings *settings, const struct flow *flow, const struct pin *pin)
{
	__u32 zero = 0;
	struct event *event = map_lookup(&news, &zero);

	if (!settings->told || !event)
		return;
	event->flow = *flow;
	event->pin = *pin;
	if (ringbuf_output(&events, event, sizeof(*event), 0))
		count(UNTOLD_FLOW);
}

/* Whether one more flow of the service may be kept: services of its class may have no room left. */
static __always_inline int take_room(const struct service *service)
{
	__u32 class = service->protected;
	struct room *room = map_lookup(&rooms, &class);

	if (!room)
		return 0;
	if (room->left <= 0) {
		__sync_fetch_and_add(&room->refused, 1);
		return 0;
	}
	__sync_fetch_and_add(&room->left, -1);
	return 1;
}

/* Whether it was. Of what is no more than an attempt nobody is told: it may be a flood. */
static __always_inline int pin(const struct settings *settings, const struct service *service,
			       const struct flow *flow, __u32 backend, __u8 closed, __u64 now)
{
	struct pin made = { .backend = backend, .closed = closed, .seen = now };

	if (!take_room(service) || map_update(&flows, flow, &made, ANY))
		return 0;
	if (!closed)
		tell(settings, flow, &made);
	return 1;
}

static __always_inline __u32 slot_for(const struct settings *settings, const struct service *service,
				      const struct flow *flow)
{
	return (hash_of(settings, flow, service->choice == BY_CLIENT) >> 32) * SLOTS >> 32;
}

/* What of a packet tells that its sender will send no more. */
static __always_inline __u8 closed_by(__u8 tcp_flags, __u8 sender)
{
	return tcp_flags & TCP_RST ? CLOSED_BY_RST : tcp_flags & TCP_FIN ? sender : 0;
}

/* Who takes the next flow of a service that gives them in turn; 0 if that is nobody who could. */
static __always_inline __u32 next_in_turn(__u32 service)
{
	__u64 *turn = map_lookup(&turns, &service);

	if (!turn)
		return 0;
	__u32 slot = __sync_fetch_and_add(turn, 1) % SLOTS;
	/* The verifier does not know what the compiler does: that it is less than SLOTS. */
	asm volatile("" : "+r"(slot));
	__u32 index = slot_of(&schedules, service, slot);
	return usable(index) ? index : 0;
}

/* A packet of a flow was seen. */
static __always_inline void see(struct pin *known, __u64 now)
{
	if (now - known->seen <= NOTED_EVERY)
		return;
	known->seen = now;
	known->heard_of = 0;
}

/* Notes what a packet of a known flow tells of it. */
static __always_inline void note(const struct settings *settings, const struct flow *flow, struct pin *known,
				 __u8 closed, __u64 now)
{
	see(known, now);
	if (!closed || (known->closed & closed) == closed)
		return;
	known->closed |= closed;
	tell(settings, flow, known);
}

/* Whether the packet begins a flow. Of UDP only services that know each flow can tell. An ICMP error, which comes here as
 * an ACK, never does. */
static __always_inline int begins(const struct service *service, const struct flow *flow, const struct pin *known,
				  __u8 tcp_flags)
{
	if (flow->protocol == IP_TCP)
		return (tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	return service->choice == IN_TURN && !known && !(tcp_flags & TCP_ACK);
}

/* Whether a new connection on its ports is none, but a SYN of its own that came late, was forged, or comes twice. */
static __always_inline int stays(const struct pin *known, __u64 now)
{
	return known && !(known->closed & ~ONLY_ATTEMPTED) && now - known->seen < REPLACED_AFTER &&
	       usable(known->backend);
}

/* Where a new connection goes: `chosen`, unless its ports are those of one that lives. One that can't be pinned goes
 * where its next packets will without a pin. */
static __always_inline __u32 select_new(const struct settings *settings, const struct service *service,
					const struct flow *flow, struct pin *known, __u32 chosen, __u32 before,
					int differ, __u64 now)
{
	if (known && known->backend != chosen) {
		if (stays(known, now))
			return known->backend;
		known->backend = chosen;
		known->closed = ONLY_ATTEMPTED;
	}
	if (known) {
		if (known->closed)
			known->closed = ONLY_ATTEMPTED;
		known->heard_of = 0;
		known->seen = now;
	} else if (differ && chosen && !pin(settings, service, flow, chosen, ONLY_ATTEMPTED, now)) {
		return before;
	}
	return chosen;
}

/* The index of the backend, or 0. */
static __always_inline __u32 select(const struct settings *settings, const struct service *service, __u32 index,
				    const struct flow *flow, __u8 tcp_flags, __u64 now)
{
	__u32 slot = slot_for(settings, service, flow);
	__u32 chosen = slot_of(&current, index, slot);
	__u32 before = slot_of(&previous, index, slot);
	struct pin *known = service->pinned ? map_lookup(&flows, flow) : 0;
	/* Also when it is down: it may come back, and then takes only the flows that it had. */
	int differ = before != chosen;

	if (differ && !usable(before))
		before = chosen;
	if (begins(service, flow, known, tcp_flags)) {
		__u32 next = service->choice == IN_TURN && !stays(known, now) ? next_in_turn(index) : 0;

		if (next) {
			chosen = next;
			differ = 1;
		}
		return select_new(settings, service, flow, known, chosen, before, differ, now);
	}
	if (known) {
		if (known->closed == ONLY_ATTEMPTED) {
			known->closed = 0;
			tell(settings, flow, known);
		}
		note(settings, flow, known, closed_by(tcp_flags, CLOSED_BY_CLIENT), now);
		if (known->backend == before || usable(known->backend))
			return known->backend;
		known->backend = before;
		return before;
	}
	if (differ && before)
		pin(settings, service, flow, before, 0, now);
	return before;
}
