/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * The bytes of a packet.
 */
#pragma once

#include "bpf.h"
#include "frames.h"

#define IPV4_BYTES (sizeof(struct ethernet) + sizeof(struct ipv4))
#define IPV6_BYTES (sizeof(struct ethernet) + sizeof(struct ipv6))

/* Read anew each time: the verifier loses track of a bound that the compiler kept in a register. */
static __always_inline void *start_of(const struct __sk_buff *skb)
{
	return (void *)(unsigned long)*(const volatile __u32 *)&skb->data;
}

static __always_inline void *end_of(const struct __sk_buff *skb)
{
	return (void *)(unsigned long)*(const volatile __u32 *)&skb->data_end;
}

/* The frame's first `length` bytes, made linear if they are not; 0 if it has not so many. */
static __always_inline void *first(struct __sk_buff *skb, __u32 length)
{
	void *data = start_of(skb);

	if (data + length <= end_of(skb))
		return data;
	if (skb->len < length || skb_pull_data(skb, length))
		return 0;
	data = start_of(skb);
	return data + length <= end_of(skb) ? data : 0;
}

/* `length` bytes at `offset`, which is not far: where they stand, or a copy if the frame is not linear there; 0 if it ends before. */
static __always_inline const void *bytes_at(struct __sk_buff *skb, __u32 offset, __u32 length, void *copy)
{
	const void *at = start_of(skb) + (offset & 0x7fff);

	/* The verifier must see one pointer compared and read by, not two that are equal. */
	__asm__ volatile("" : "+r"(at));
	if (at + length <= end_of(skb))
		return at;
	return skb_load_bytes(skb, offset, copy, length) ? 0 : copy;
}

static __always_inline int is_ours(struct __sk_buff *skb, const struct ethernet *ethernet)
{
	/* To this interface, or to a virtual router's MAC (RFC 9568 section 7.3), which a bridge does not flood. */
	return skb->pkt_type == PACKET_HOST ||
	       (ethernet->destination[0] == 0 && ethernet->destination[1] == 0 && ethernet->destination[2] == 0x5e &&
		ethernet->destination[3] == 0);
}
