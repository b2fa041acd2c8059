/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * Which group a VIP is of, and what the group may do here: the fence's maps, which the forwarding plane reads
 * too. `ebpf/src/layout.rs` says the same in Rust; both sides assert sizes and offsets.
 */
#pragma once

#include "bpf.h"
#include "frames.h"

#define MAX_VIPS 16384
#define MAX_GROUPS 4096

/* An IPv6 address, or an IPv4 address as ::ffff:a.b.c.d. */
struct address {
	__u32 words[4];
};

static __always_inline int is_same_address(const struct address *one, const struct address *other)
{
	return one->words[0] == other->words[0] && one->words[1] == other->words[1] &&
	       one->words[2] == other->words[2] && one->words[3] == other->words[3];
}

enum state {
	SILENT = 0,
	LEADING = 1,
	DRAINING = 2,
};

struct group {
	/* enum state. */
	__u32 state;
	__u32 reserved;
	__u64 epoch;
	/* The heartbeat: what state says holds until then, in nanoseconds of CLOCK_MONOTONIC. */
	__u64 deadline;
};

_Static_assert(sizeof(struct address) == 16, "struct address");
_Static_assert(sizeof(struct group) == 24, "struct group");
_Static_assert(offset_of(struct group, state) == 0, "group.state");
_Static_assert(offset_of(struct group, epoch) == 8, "group.epoch");
_Static_assert(offset_of(struct group, deadline) == 16, "group.deadline");

/* From a VIP to the index of its group. */
struct {
	__uint(type, MAP_HASH);
	__type(key, struct address);
	__type(value, __u32);
	__uint(max_entries, MAX_VIPS);
} vips SEC(".maps");

struct {
	__uint(type, MAP_ARRAY);
	__type(key, __u32);
	__type(value, struct group);
	__uint(max_entries, MAX_GROUPS);
} groups SEC(".maps");

static __always_inline struct group *group_of(const struct address *address)
{
	__u32 *index = map_lookup(&vips, address);

	return index ? map_lookup(&groups, index) : 0;
}

static __always_inline struct address from_ipv4(__u32 ipv4)
{
	return (struct address){ .words = { 0, 0, be32(0xffff), ipv4 } };
}

static __always_inline struct address from_ipv6(const __u32 words[4])
{
	return (struct address){ .words = { words[0], words[1], words[2], words[3] } };
}
