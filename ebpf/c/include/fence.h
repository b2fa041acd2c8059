/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * What the fence counts. `ebpf/src/layout.rs` says the same in Rust.
 */
#pragma once

#include "bpf.h"
#include "groups.h"

/* What was dropped, and why. */
enum dropped {
	PACKET_OUT_SILENT = 0,
	PACKET_OUT_STALE,
	NEIGHBOUR_OUT_SILENT,
	NEIGHBOUR_OUT_STALE,
	NEIGHBOUR_OUT_DRAINING,
	PACKET_IN_SILENT,
	PACKET_IN_STALE,
	DROPPED_REASONS,
};

_Static_assert(DROPPED_REASONS == 7, "enum dropped");

struct {
	__uint(type, MAP_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, DROPPED_REASONS);
} dropped SEC(".maps");
