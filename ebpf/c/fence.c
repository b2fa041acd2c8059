/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * The fence: the kernel itself silences a node for the VIPs of each group that it does not lead, or whose
 * daemon no longer says that it does. Attached at ingress and egress of each interface with VIPs behind it.
 *
 *              packets from the VIP    ARP/ND that say that the VIP is here    packets to the VIP
 *   leading    pass                    pass                                    pass
 *   draining   pass                    dropped                                 pass
 *   silent     dropped                 dropped                                 dropped
 *
 * Each state needs a heartbeat that has not run out; without, the group is as good as silent. Questions who has
 * a VIP pass (ARP probes from 0.0.0.0, ND from ::, and those from other addresses), and so do tagged frames,
 * which belong to another interface, and everything that is not ARP, IPv4 or IPv6.
 */
#include "access.h"
#include "bpf.h"
#include "fence.h"
#include "frames.h"

char _license[] SEC("license") = "Dual BSD/GPL"; /* the clock is for GPL-compatible programs only */

static __always_inline void count(__u32 reason)
{
	__u64 *counter = map_lookup(&dropped, &reason);

	if (counter)
		*counter += 1;
}

/* A packet whose source is `address`. */
static __always_inline int packet_out(const struct address *address)
{
	const struct group *group = group_of(address);

	if (!group)
		return NEXT;
	if (group->state != LEADING && group->state != DRAINING) {
		count(PACKET_OUT_SILENT);
		return DROP;
	}
	if (group->deadline <= ktime_get_ns()) {
		count(PACKET_OUT_STALE);
		return DROP;
	}
	return NEXT;
}

/* ARP or ND that says that `address` is here. */
static __always_inline int neighbour_out(const struct address *address)
{
	const struct group *group = group_of(address);

	if (!group)
		return NEXT;
	if (group->state != LEADING) {
		count(group->state == DRAINING ? NEIGHBOUR_OUT_DRAINING : NEIGHBOUR_OUT_SILENT);
		return DROP;
	}
	if (group->deadline <= ktime_get_ns()) {
		count(NEIGHBOUR_OUT_STALE);
		return DROP;
	}
	return NEXT;
}

/* A packet to `address`: the kernel would answer it, with RST if nothing else. */
static __always_inline int packet_in(const struct address *address)
{
	const struct group *group = group_of(address);

	if (!group)
		return NEXT;
	if (group->state != LEADING && group->state != DRAINING) {
		count(PACKET_IN_SILENT);
		return DROP;
	}
	if (group->deadline <= ktime_get_ns()) {
		count(PACKET_IN_STALE);
		return DROP;
	}
	return NEXT;
}

#define ARP_BYTES (sizeof(struct ethernet) + sizeof(struct arp))
#define ND_BYTES (IPV6_BYTES + sizeof(struct neighbour))

static __always_inline int arp_out(struct __sk_buff *skb)
{
	void *frame = first(skb, ARP_BYTES);

	if (!frame)
		return NEXT;
	const struct arp *arp = frame + sizeof(struct ethernet);
	if (arp->hardware_length != 6 || arp->protocol_length != 4)
		return NEXT;
	struct address sender = from_ipv4(arp->sender);
	return neighbour_out(&sender);
}

static __always_inline int ipv4_out(struct __sk_buff *skb)
{
	void *frame = first(skb, IPV4_BYTES);

	if (!frame)
		return NEXT;
	const struct ipv4 *ip = frame + sizeof(struct ethernet);
	struct address source = from_ipv4(ip->source);
	return packet_out(&source);
}

static __always_inline int ipv6_out(struct __sk_buff *skb)
{
	void *frame = first(skb, IPV6_BYTES);

	if (!frame)
		return NEXT;
	const struct ipv6 *ip = frame + sizeof(struct ethernet);
	struct address source = from_ipv6(ip->source);
	if (ip->next_header != IP_ICMPV6)
		return packet_out(&source);
	frame = first(skb, ND_BYTES);
	if (!frame)
		return packet_out(&source);
	const struct neighbour *message = frame + IPV6_BYTES;
	if (message->type == ND_SOLICITATION)
		return neighbour_out(&source);
	if (message->type != ND_ADVERTISEMENT)
		return packet_out(&source);
	struct address target = from_ipv6(message->target);
	if (neighbour_out(&source) == DROP)
		return DROP;
	return neighbour_out(&target);
}

SEC("classifier")
int fulcrum_egress(struct __sk_buff *skb)
{
	if (skb->vlan_present)
		return NEXT;
	switch (be16(skb->protocol)) {
	case ETHER_IPV4:
		return ipv4_out(skb);
	case ETHER_IPV6:
		return ipv6_out(skb);
	case ETHER_ARP:
		return arp_out(skb);
	default:
		return NEXT;
	}
}

SEC("classifier")
int fulcrum_ingress(struct __sk_buff *skb)
{
	struct address destination;
	void *frame;

	if (skb->vlan_present)
		return NEXT;
	switch (be16(skb->protocol)) {
	case ETHER_IPV4:
		frame = first(skb, IPV4_BYTES);
		if (!frame)
			return NEXT;
		destination = from_ipv4(((const struct ipv4 *)(frame + sizeof(struct ethernet)))->destination);
		return packet_in(&destination);
	case ETHER_IPV6:
		frame = first(skb, IPV6_BYTES);
		if (!frame)
			return NEXT;
		destination = from_ipv6(((const struct ipv6 *)(frame + sizeof(struct ethernet)))->destination);
		return packet_in(&destination);
	default:
		return NEXT;
	}
}
