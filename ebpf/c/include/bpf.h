/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * What the programs need of the kernel's interface: types, the packet's context, helpers by their numbers.
 * Numbers and layouts are those of the kernel's uapi/linux/bpf.h, which never change.
 */
#pragma once

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef int __s32;
typedef long long __s64;

_Static_assert(sizeof(__u16) == 2 && sizeof(__u32) == 4 && sizeof(__u64) == 8, "sizes of the types");

#define SEC(name) __attribute__((section(name), used))
#define __always_inline inline __attribute__((always_inline))
#define offset_of(type, member) __builtin_offsetof(type, member)

/* How a map is declared for the loader (BTF). */
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name
#define __array(name, value) typeof(value) *name[]

enum {
	MAP_HASH = 1,
	MAP_ARRAY = 2,
	MAP_PERCPU_ARRAY = 6,
	MAP_ARRAY_OF_MAPS = 12,
};

/* Verdicts, the same for tcx and for a classifier of clsact: NEXT leaves the packet to whoever comes next. */
enum {
	NEXT = -1,
	DROP = 2,
};

/* The first fields of struct __sk_buff. */
struct __sk_buff {
	__u32 len;
	__u32 pkt_type;
	__u32 mark;
	__u32 queue_mapping;
	__u32 protocol;
	__u32 vlan_present;
	__u32 vlan_tci;
	__u32 vlan_proto;
	__u32 priority;
	__u32 ingress_ifindex;
	__u32 ifindex;
	__u32 tc_index;
	__u32 cb[5];
	__u32 hash;
	__u32 tc_classid;
	__u32 data;
	__u32 data_end;
};

_Static_assert(offset_of(struct __sk_buff, protocol) == 16, "__sk_buff.protocol");
_Static_assert(offset_of(struct __sk_buff, vlan_present) == 20, "__sk_buff.vlan_present");
_Static_assert(offset_of(struct __sk_buff, data) == 76, "__sk_buff.data");
_Static_assert(offset_of(struct __sk_buff, data_end) == 80, "__sk_buff.data_end");

static void *(*const map_lookup)(const void *map, const void *key) = (void *)1;
static __u64 (*const ktime_get_ns)(void) = (void *)5; /* CLOCK_MONOTONIC */
static long (*const skb_pull_data)(struct __sk_buff *skb, __u32 length) = (void *)39;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define be16(value) ((__u16)__builtin_bswap16(value))
#define be32(value) ((__u32)__builtin_bswap32(value))
#else
#define be16(value) ((__u16)(value))
#define be32(value) ((__u32)(value))
#endif
