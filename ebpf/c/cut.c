/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * A node that is cut off for a drill: until a moment, every frame in both directions is dropped. After it all pass,
 * whatever became of the process that asked for it. Attached before all other programs.
 */
#include "bpf.h"

char _license[] SEC("license") = "Dual BSD/GPL"; /* the clock is for GPL-compatible programs only */

/* Until when, by the monotonic clock. */
struct {
	__uint(type, MAP_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 1);
} cut_until SEC(".maps");

static __always_inline int verdict(void)
{
	__u32 first = 0;
	const __u64 *until = map_lookup(&cut_until, &first);

	return until && ktime_get_ns() < *until ? DROP : NEXT;
}

SEC("classifier")
int fulcrum_cut_in(struct __sk_buff *skb)
{
	return verdict();
}

SEC("classifier")
int fulcrum_cut_out(struct __sk_buff *skb)
{
	return verdict();
}
