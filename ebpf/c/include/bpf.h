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
#define __noinline __attribute__((noinline))
#define offset_of(type, member) __builtin_offsetof(type, member)

/* How a map is declared for the loader (BTF). */
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name
#define __array(name, value) typeof(value) *name[]

enum {
	MAP_HASH = 1,
	MAP_ARRAY = 2,
	MAP_PERCPU_ARRAY = 6,
	MAP_LRU_HASH = 9,
	MAP_ARRAY_OF_MAPS = 12,
	MAP_RINGBUF = 27,
};

/* Verdicts, the same for tcx and for a classifier of clsact: NEXT leaves the packet to whoever comes next. */
enum {
	NEXT = -1,
	DROP = 2,
	REDIRECTED = 7,
};

/* Those of XDP. */
enum {
	XDP_DROP = 1,
	XDP_PASS = 2,
	XDP_TX = 3,
	XDP_REDIRECT = 4,
};

/* skb->pkt_type: to this machine's own MAC address. */
enum {
	PACKET_HOST = 0,
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

struct xdp_md {
	__u32 data;
	__u32 data_end;
	__u32 data_meta;
	__u32 ingress_ifindex;
	__u32 rx_queue_index;
	__u32 egress_ifindex;
};

_Static_assert(sizeof(struct xdp_md) == 24, "struct xdp_md");

/* What a program is given with a packet, by how it is attached. */
#ifdef XDP
#define CONTEXT xdp_md
#define IS_XDP 1
#else
#define CONTEXT __sk_buff
#define IS_XDP 0
#endif

/* Flags of map_update. */
enum {
	ANY = 0,
	NO_EXIST = 1,
};

/* Flags of skb_store_bytes and of l4_csum_replace, whose lowest four bits are the size of what changed. */
enum {
	RECOMPUTE_CSUM = 1,
	PSEUDO_HEADER = 0x10,
	ZERO_IS_NONE = 0x20,
};

enum {
	FAMILY_IPV4 = 2,
	FAMILY_IPV6 = 10,
};

/* struct bpf_redir_neigh */
struct next_hop {
	__u32 family;
	__u32 address[4];
};

/* struct bpf_fib_lookup */
struct route {
	__u8 family;
	__u8 protocol;
	__u16 source_port;
	__u16 destination_port;
	/* 0: the packet itself is measured. The answer is the MTU. */
	__u16 length;
	__u32 interface;
	__u32 flow_info;
	__u32 source[4];
	/* The answer is the next hop's, if there is one on the way. */
	__u32 destination[4];
	__u32 vlan;
	__u8 macs[12];
};

/* struct bpf_sock, up to its state. */
struct socket {
	__u32 before[18];
	__u32 state;
};

_Static_assert(offset_of(struct socket, state) == 72, "struct bpf_sock");

enum {
	TCP_LISTEN = 10,
};

/* Of skc_lookup_tcp. */
#define THIS_NAMESPACE ((__u64)-1)

/* What fib_lookup answers; numbers below 0 are errors of the caller. */
enum {
	ROUTE_FOUND = 0,
	ROUTE_NOT_FORWARDED = 4,
	ROUTE_FORWARDING_DISABLED = 5,
	ROUTE_NO_NEIGHBOUR = 7,
	ROUTE_TOO_BIG = 8,
};

/* check_mtu looks at the segments of a packet that will be cut into such. */
enum {
	CHECK_SEGMENTS = 1,
};

_Static_assert(sizeof(struct next_hop) == 20, "struct bpf_redir_neigh");
_Static_assert(sizeof(struct route) == 64, "struct bpf_fib_lookup");

static void *(*const map_lookup)(const void *map, const void *key) = (void *)1;
static long (*const map_update)(void *map, const void *key, const void *value, __u64 flags) = (void *)2;
static long (*const map_delete)(void *map, const void *key) = (void *)3;
static __u64 (*const ktime_get_ns)(void) = (void *)5; /* CLOCK_MONOTONIC */
static __u32 (*const random_u32)(void) = (void *)7;
static long (*const skb_store_bytes)(struct __sk_buff *skb, __u32 offset, const void *from, __u32 length,
				     __u64 flags) = (void *)9;
static long (*const l3_csum_replace)(struct __sk_buff *skb, __u32 offset, __u64 from, __u64 to,
				     __u64 flags) = (void *)10;
static long (*const l4_csum_replace)(struct __sk_buff *skb, __u32 offset, __u64 from, __u64 to,
				     __u64 flags) = (void *)11;
static long (*const redirect)(__u32 interface, __u64 flags) = (void *)23;
static long (*const skb_load_bytes)(const struct __sk_buff *skb, __u32 offset, void *to, __u32 length) =
	(void *)26;
static __s64 (*const csum_diff)(const __u32 *from, __u32 from_size, const __u32 *to, __u32 to_size,
				__u32 seed) = (void *)28;
static long (*const skb_change_tail)(struct __sk_buff *skb, __u32 length, __u64 flags) = (void *)38;
static long (*const skb_pull_data)(struct __sk_buff *skb, __u32 length) = (void *)39;
static long (*const fib_lookup)(void *context, struct route *route, int size, __u32 flags) = (void *)69;
static struct socket *(*const skc_lookup_tcp)(void *context, void *tuple, __u32 length, __u64 namespace,
					      __u64 flags) = (void *)99;
static struct socket *(*const sk_lookup_udp)(void *context, void *tuple, __u32 length, __u64 namespace,
					     __u64 flags) = (void *)85;
static long (*const sk_release)(struct socket *socket) = (void *)86;
static long (*const tcp_check_syncookie)(struct socket *socket, void *ip, __u32 ip_length, void *tcp,
					 __u32 tcp_length) = (void *)100;
static long (*const ringbuf_output)(void *ring, const void *from, __u64 size, __u64 flags) = (void *)130;
static long (*const redirect_neigh)(__u32 interface, const struct next_hop *hop, int size, __u64 flags) =
	(void *)152;
static long (*const xdp_load_bytes)(struct xdp_md *xdp, __u32 offset, void *to, __u32 length) = (void *)189;
static long (*const check_mtu)(void *context, __u32 interface, __u32 *mtu, __s32 difference, __u64 flags) =
	(void *)163;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define be16(value) ((__u16)__builtin_bswap16(value))
#define be32(value) ((__u32)__builtin_bswap32(value))
#else
#define be16(value) ((__u16)(value))
#define be32(value) ((__u32)(value))
#endif
