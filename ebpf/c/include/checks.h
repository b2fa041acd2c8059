/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * The maps of the checks that go to a VIP. `ebpf/src/layout.rs` says the same in Rust; both sides assert sizes and
 * offsets.
 */
#pragma once

#include "bpf.h"
#include "groups.h"

#define MAX_CHECKED 16384
#define MAX_ASKED 16384

/* How a check says for which VIP it asks a backend: by its socket's priority. */
struct checked {
	struct address backend;
	__u32 priority;
};

/* An answer that is waited for. Ports stand as they do in packets. */
struct asked {
	struct address vip;
	struct address node;
	__u16 port;
	__u16 node_port;
	__u8 protocol;
	__u8 reserved[3];
};

enum check_counter {
	CHECK_ASKED = 0,
	CHECK_ANSWERED,
	CHECK_NOT_REWRITTEN,
	CHECK_COUNTERS,
};

_Static_assert(sizeof(struct checked) == 20, "struct checked");
_Static_assert(offset_of(struct checked, priority) == 16, "checked.priority");
_Static_assert(sizeof(struct asked) == 40, "struct asked");
_Static_assert(CHECK_COUNTERS == 3, "enum check_counter");

/* To the VIP. */
struct {
	__uint(type, MAP_HASH);
	__type(key, struct checked);
	__type(value, struct address);
	__uint(max_entries, MAX_CHECKED);
} checked SEC(".maps");

/* To the backend. */
struct {
	__uint(type, MAP_LRU_HASH);
	__type(key, struct asked);
	__type(value, struct address);
	__uint(max_entries, MAX_ASKED);
} asked SEC(".maps");

/* A bit for each port that was ever asked: most packets are known as no answers by that. */
struct {
	__uint(type, MAP_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 65536 / 64);
} asked_ports SEC(".maps");

struct {
	__uint(type, MAP_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, CHECK_COUNTERS);
} check_counters SEC(".maps");
