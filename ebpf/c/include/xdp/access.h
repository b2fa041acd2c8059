/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * The bytes of a frame that XDP hands over, and what else is known of it.
 */
#pragma once

/* Interfaces that programs of XDP stand at. */
#define MAX_LINKS 64
#define REMARKS 4

struct link {
	__u16 mac[3];
	__u16 reserved;
};

_Static_assert(sizeof(struct link) == 8, "struct link");

struct {
	__uint(type, MAP_HASH);
	__type(key, __u32);
	__type(value, struct link);
	__uint(max_entries, MAX_LINKS);
} links SEC(".maps");

/* What is known of a frame on its way: XDP leaves no room in the frame itself. */
struct {
	__uint(type, MAP_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, REMARKS);
} remarks SEC(".maps");

/* By an instruction of its own: the compiler likes to keep a pointer into the context, which the verifier refuses. */
static __always_inline __u32 interface_of(const struct xdp_md *xdp)
{
	__u32 interface;

	__asm__ volatile("%0 = *(u32 *)(%1 + %2)"
			 : "=r"(interface)
			 : "r"(xdp), "i"(offset_of(struct xdp_md, ingress_ifindex)));
	return interface;
}

static __always_inline void remark(struct xdp_md *xdp, __u32 what, __u32 value)
{
	__u32 *remark = map_lookup(&remarks, &what);

	if (remark)
		*remark = value;
}

static __always_inline __u32 remarked(struct xdp_md *xdp, __u32 what)
{
	const __u32 *remark = map_lookup(&remarks, &what);

	return remark ? *remark : 0;
}

/* The frame's first `length` bytes; 0 if they do not stand in one piece. */
static __always_inline void *first(struct xdp_md *xdp, __u32 length)
{
	void *data = start_of(xdp);

	return data + length <= end_of(xdp) ? data : 0;
}

/* `length` bytes at `offset`, which is not far; 0 if the frame ends before. There is never need of a copy. */
static __always_inline const void *bytes_at(struct xdp_md *xdp, __u32 offset, __u32 length, void *copy)
{
	const void *at = start_of(xdp) + (offset & 0x7fff);

	__asm__ volatile("" : "+r"(at));
	return at + length <= end_of(xdp) ? at : 0;
}

static __always_inline long load(struct xdp_md *xdp, __u32 offset, void *to, __u32 length)
{
	return xdp_load_bytes(xdp, offset, to, length);
}

/* To this interface, or to a virtual router's MAC (RFC 9568 section 7.3); nothing is before the daemon says so. */
static __always_inline int is_ours(struct xdp_md *xdp, const struct ethernet *ethernet)
{
	__u32 index = interface_of(xdp);
	const __u16 *to = (const void *)ethernet->destination;
	const struct link *link = map_lookup(&links, &index);

	if (!link)
		return 0;
	if (to[0] == link->mac[0] && to[1] == link->mac[1] && to[2] == link->mac[2])
		return 1;
	return to[0] == 0 && to[1] == be16(0x5e00);
}

static __always_inline __u32 length_of(const struct xdp_md *xdp)
{
	return end_of(xdp) - start_of(xdp);
}
