/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * The bytes of a packet that tcx or clsact hands over, and what else it tells of it.
 */
#pragma once

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

static __always_inline long load(struct __sk_buff *skb, __u32 offset, void *to, __u32 length)
{
	return skb_load_bytes(skb, offset, to, length);
}

static __always_inline int is_ours(struct __sk_buff *skb, const struct ethernet *ethernet)
{
	/* To this interface, or to a virtual router's MAC (RFC 9568 section 7.3), which a bridge does not flood. */
	return skb->pkt_type == PACKET_HOST ||
	       (ethernet->destination[0] == 0 && ethernet->destination[1] == 0 && ethernet->destination[2] == 0x5e &&
		ethernet->destination[3] == 0);
}

static __always_inline __u32 length_of(const struct __sk_buff *skb)
{
	return skb->len;
}

static __always_inline __u32 interface_of(const struct __sk_buff *skb)
{
	return skb->ifindex;
}

/* What is known of a packet on its way is kept in it: nobody else uses that before the program ends. */
#define remark(skb, what, value) ((skb)->cb[what] = (value))
#define remarked(skb, what) ((skb)->cb[what])

/* Whether the sender left the checksum of the transport to its hardware, which will still fill it in, at the same
 * place: then the kernel changes nothing there on behalf of what is no part of the pseudo header. Scribbles at `at`. */
static __always_inline int is_offloaded(struct __sk_buff *skb, __u32 at)
{
	__u16 checksum = 0;

	if (skb_store_bytes(skb, at, &checksum, sizeof(checksum), 0))
		return 0;
	if (l4_csum_replace(skb, at, 0, 1, sizeof(checksum)))
		return 0;
	return skb_load_bytes(skb, at, &checksum, sizeof(checksum)) == 0 && checksum == 0;
}

/* The frame goes back to where it came from. */
static __always_inline long swap_macs(struct __sk_buff *skb)
{
	struct ethernet *ethernet = first(skb, sizeof(struct ethernet));
	__u8 macs[12];

	if (!ethernet)
		return -1;
	__builtin_memcpy(macs, ethernet->source, 6);
	__builtin_memcpy(macs + 6, ethernet->destination, 6);
	return skb_store_bytes(skb, 0, macs, sizeof(macs), 0);
}
