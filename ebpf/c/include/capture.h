/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * Packets for `fulcrum capture`: as they came in and as they left, with what became of them. Only while somebody
 * captures, who says so again and again: one that was killed is as good as one that ended. `ebpf/src/capture.rs` says
 * the same in Rust.
 */
#pragma once

#include "limit.h"

/* The most of a packet that is captured. */
#define MAX_CAPTURED 2048
#define RING_BYTES (1 << 20)

struct capture {
	/* In nanoseconds of CLOCK_MONOTONIC; 0: nobody does. */
	__u64 until;
	/* At most so many packets; the others are counted. */
	struct pace pace;
	/* At most so many bytes of each. */
	__u32 length;
	/* Only packets of the service with the index before this one; 0: of all. */
	__u32 service;
};

struct capture_state {
	__u64 arrival;
	/* Packets that were too many. */
	__u64 missed;
};

struct captured {
	/* When it came in, in nanoseconds of CLOCK_MONOTONIC. */
	__u64 time;
	/* In bytes; not all of them need follow. */
	__u32 length;
	__u32 bytes;
	/* Where it came in, or where it leaves; there 0 is that it is not known. */
	__u32 interface;
	/* The service's index and 1; 0: of none that is known. */
	__u32 service;
	/* 0: none. */
	__u32 backend;
	/* enum reason, or REASONS. */
	__u32 reason;
	__u32 verdict;
	__u8 leaves;
	__u8 is_reply;
	__u16 reserved;
};

_Static_assert(sizeof(struct capture) == 32, "struct capture");
_Static_assert(sizeof(struct capture_state) == 16, "struct capture_state");
_Static_assert(sizeof(struct captured) == 40, "struct captured");

/* Where a packet is made ready to be handed out. */
struct copy {
	struct captured captured;
	__u8 bytes[MAX_CAPTURED];
	/* As the counters stood before. */
	__u64 reasons[REASONS];
};

TABLE(capture, MAP_ARRAY, __u32, struct capture, 1);
TABLE(capture_state, MAP_ARRAY, __u32, struct capture_state, 1);
TABLE(copies, MAP_PERCPU_ARRAY, __u32, struct copy, 1);

struct {
	__uint(type, MAP_RINGBUF);
	__uint(max_entries, RING_BYTES);
} captured SEC(".maps");

/* What is remarked of a packet on its way. */
enum {
	NOTE_SERVICE = 0,
	NOTE_BACKEND = 1,
	NOTE_INTERFACE = 2,
	NOTE_REPLY = 3,
};

static __always_inline void copy_bytes(struct CONTEXT *skb, struct copy *copy, __u32 most)
{
	__u32 bytes = length_of(skb);

	copy->captured.length = bytes;
	copy->captured.bytes = 0;
	if (bytes > most)
		bytes = most;
	if (!bytes)
		return;
	if (bytes > MAX_CAPTURED)
		bytes = MAX_CAPTURED;
	/* So that each verifier sees that it is neither none nor too many; no frame is empty. */
	__u32 last = (bytes - 1) & (MAX_CAPTURED - 1);
	asm volatile("" : "+r"(last));
	if (!load(skb, 0, copy->bytes, last + 1))
		copy->captured.bytes = last + 1;
}

/* Before the packet is handled. Returns whether it is to be captured, if it turns out to be the plane's.
 *
 * This and the next are no static functions, so that the verifier looks at each once, and not at all that is between
 * for each of their results. */
__noinline int begin_capture(struct CONTEXT *skb)
{
	__u32 zero = 0;
	struct capture *asked = map_lookup(&capture, &zero);

	if (!asked || !asked->until)
		return 0;
	struct copy *copy = map_lookup(&copies, &zero);
	__u64 now = ktime_get_ns();
	if (!copy)
		return 0;
	if (asked->until <= now) {
		asked->until = 0;
		return 0;
	}
	for (__u32 next = 0; next < REASONS; next++) {
		/* Of its own: what a helper was shown is nothing that the verifier counts by. */
		__u32 reason = next;
		const __u64 *counter = map_lookup(&reasons, &reason);

		if (counter)
			copy->reasons[next] = *counter;
	}
	copy->captured.time = now;
	copy->captured.interface = interface_of(skb);
	copy->captured.leaves = 0;
	copy_bytes(skb, copy, asked->length);
	remark(skb, NOTE_SERVICE, 0);
	remark(skb, NOTE_BACKEND, 0);
	remark(skb, NOTE_INTERFACE, 0);
	remark(skb, NOTE_REPLY, 0);
	return 1;
}

/* Hands out what was copied. */
static __always_inline void hand_out(struct copy *copy, struct capture_state *state)
{
	__u32 bytes = copy->captured.bytes;

	if (bytes > MAX_CAPTURED)
		bytes = MAX_CAPTURED;
	if (ringbuf_output(&captured, copy, sizeof(copy->captured) + bytes, 0))
		__sync_fetch_and_add(&state->missed, 1);
}

/* After it was. */
__noinline int end_capture(struct CONTEXT *skb, int verdict)
{
	__u32 zero = 0;
	const struct capture *asked = map_lookup(&capture, &zero);
	struct capture_state *state = map_lookup(&capture_state, &zero);
	struct copy *copy = map_lookup(&copies, &zero);

	if (!asked || !state || !copy || (asked->service && asked->service != remarked(skb, NOTE_SERVICE)))
		return 0;
	if (!conforms(&state->arrival, &asked->pace, copy->captured.time)) {
		__sync_fetch_and_add(&state->missed, 1);
		return 0;
	}
	copy->captured.service = remarked(skb, NOTE_SERVICE);
	copy->captured.backend = remarked(skb, NOTE_BACKEND);
	copy->captured.is_reply = remarked(skb, NOTE_REPLY);
	copy->captured.verdict = verdict;
	copy->captured.reason = REASONS;
	for (__u32 next = 0; next < REASONS; next++) {
		/* Of its own: what a helper was shown is nothing that the verifier counts by. */
		__u32 reason = next;
		const __u64 *counter = map_lookup(&reasons, &reason);

		/* That is about the other nodes, and not about the packet. */
		if (counter && next != UNTOLD_FLOW && copy->reasons[next] != *counter)
			copy->captured.reason = next;
	}
	hand_out(copy, state);
	if (verdict != REDIRECTED)
		return 0;
	copy->captured.leaves = 1;
	/* What is answered leaves where it came in. */
	__u32 interface = remarked(skb, NOTE_INTERFACE);
	/* Read before it is known whether it is wanted: the verifier takes no pointer that was chosen from two. */
	asm volatile("" : "+r"(interface));
	if (copy->captured.reason == REASONS)
		copy->captured.interface = interface;
	copy_bytes(skb, copy, asked->length);
	hand_out(copy, state);
	return 0;
}
