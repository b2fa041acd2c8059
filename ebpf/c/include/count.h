/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * What the forwarding plane counts. `ebpf/src/plane/layout.rs` gives the reasons their names.
 */
#pragma once

#include "bpf.h"
#include "plane.h"

/* Packets of its services that the plane did not forward, and why. */
enum reason {
	GROUP_SILENT = 0,
	GROUP_STALE,
	NO_BACKEND_RST,
	NO_BACKEND_UNREACHABLE,
	NO_BACKEND_DROPPED,
	FRAGMENT_WITHOUT_FIRST,
	TIME_EXCEEDED,
	TOO_BIG_ANSWERED,
	TOO_BIG_DROPPED,
	CUT_SHORT,
	EXTENSION_HEADERS,
	UDP_WITHOUT_CHECKSUM,
	NO_ROUTE_TO_BACKEND,
	NO_ROUTE_TO_CLIENT,
	FORWARDING_DISABLED,
	NOT_REWRITTEN,
	NOT_ANSWERED,
	NO_SOURCE_PORT,
	UNKNOWN_FLOW,
	UNTOLD_FLOW,
	SERVICE_RATE,
	CLIENT_RATE,
	REASONS,
};

_Static_assert(REASONS == 22, "enum reason");

TABLE(reasons, MAP_PERCPU_ARRAY, __u32, __u64, REASONS);

static __always_inline void count(__u32 reason)
{
	__u64 *counter = map_lookup(&reasons, &reason);

	if (counter)
		*counter += 1;
}

static __always_inline int drop(__u32 reason)
{
	count(reason);
	return DROP;
}

static __always_inline void count_in(struct counters *counters, __u32 bytes, int opens)
{
	if (!counters)
		return;
	counters->packets_in += 1;
	counters->bytes_in += bytes;
	counters->opened += opens;
}

static __always_inline void count_out(struct counters *counters, __u32 bytes)
{
	if (!counters)
		return;
	counters->packets_out += 1;
	counters->bytes_out += bytes;
}
