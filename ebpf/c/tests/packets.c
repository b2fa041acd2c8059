/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * A sender for measurements: BPF_PROG_TEST_RUN hands it frames, which it makes anew each time, since the kernel gives it
 * those that others have rewritten. Each is of one of some flows in turn.
 */
#define XDP

#include "access.h"

/* An Ethernet frame of 64 bytes, but for the check sequence. */
#define FRAME_BYTES 60
#define FLOWS 1024

struct frame {
	__u64 words[7];
	__u32 last;
	__u32 number;
};

struct {
	__uint(type, MAP_ARRAY);
	__type(key, __u32);
	__type(value, struct frame);
	__uint(max_entries, 1);
} frame SEC(".maps");

char _license[] SEC("license") = "Dual BSD/GPL";

SEC("xdp")
int send_frames(struct xdp_md *xdp)
{
	__u32 zero = 0;
	struct frame *made = map_lookup(&frame, &zero);
	void *at = first(xdp, FRAME_BYTES);

	if (!made || !at)
		return XDP_DROP;
	__builtin_memcpy(at, made->words, sizeof(made->words));
	__builtin_memcpy(at + sizeof(made->words), &made->last, sizeof(made->last));
	/* The datagram's first bytes make up for the port, so that its checksum holds. */
	__u16 port = be16(10000 + made->number++ % FLOWS);
	*(__u16 *)(at + IPV4_BYTES) = port;
	*(__u16 *)(at + IPV4_BYTES + sizeof(struct udp)) = ~port;
	return XDP_TX;
}
