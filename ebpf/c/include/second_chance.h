/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * The maps of the second chance. `ebpf/src/layout.rs` says the same in Rust; both sides assert sizes and offsets.
 */
#pragma once

#include "bpf.h"
#include "groups.h"

/* The node that may have a connection which this one does not know. */
struct finisher {
	__u32 interface;
	struct next_hop hop;
	/* If it does not know it either, that is the end. */
	__u32 last;
};

enum second {
	PASSED_ON = 0,
	HOPS_EXCEEDED,
	SECOND_COUNTERS,
};

_Static_assert(sizeof(struct finisher) == 28, "struct finisher");
_Static_assert(offset_of(struct finisher, hop) == 4, "finisher.hop");
_Static_assert(offset_of(struct finisher, last) == 24, "finisher.last");
_Static_assert(SECOND_COUNTERS == 2, "enum second");

/* From a VIP to who finishes connections to it. */
struct {
	__uint(type, MAP_HASH);
	__type(key, struct address);
	__type(value, struct finisher);
	__uint(max_entries, MAX_VIPS);
} finishers SEC(".maps");

/* How many there are. */
struct {
	__uint(type, MAP_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} finishing SEC(".maps");

struct {
	__uint(type, MAP_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, SECOND_COUNTERS);
} second_counters SEC(".maps");
