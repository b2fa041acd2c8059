/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * Checks of backends that answer for a VIP themselves (mode dsr): what is sent to the backend's address leaves to the
 * VIP, at the MAC of the backend, and the answers from the VIP come in as the backend's. So the socket knows nothing
 * of it, the kernel looks for its neighbour as ever, and that this node may have the VIP too is in nobody's way.
 * Attached in both directions of the interfaces that such backends are behind.
 */
#include "access.h"
#include "checks.h"
#include "hops.h"

char _license[] SEC("license") = "Dual BSD/GPL";

/* What of a packet matters here. */
struct seen {
	struct address source;
	struct address destination;
	__u16 source_port;
	__u16 destination_port;
	/* Where the checksum of its transport is. */
	__u32 checksum;
	__u8 protocol;
	/* Time to live, or hop limit. */
	__u8 hops;
};

static __always_inline void count(__u32 which)
{
	__u64 *counter = map_lookup(&check_counters, &which);

	if (counter)
		*counter += 1;
}

/* Only whole TCP and UDP packets. */
static __always_inline int see_transport(struct __sk_buff *skb, struct seen *seen, __u32 at)
{
	__u16 ports[2];

	if (seen->protocol == IP_TCP)
		seen->checksum = at + offset_of(struct tcp, checksum);
	else if (seen->protocol == IP_UDP)
		seen->checksum = at + offset_of(struct udp, checksum);
	else
		return 0;
	if (skb_load_bytes(skb, at, ports, sizeof(ports)))
		return 0;
	seen->source_port = ports[0];
	seen->destination_port = ports[1];
	return 1;
}

static __always_inline int see_ipv4(struct __sk_buff *skb, struct seen *seen)
{
	void *frame = first(skb, IPV4_BYTES);

	if (!frame)
		return 0;
	const struct ipv4 *ip = frame + sizeof(struct ethernet);
	__u32 header = (ip->version_and_length & 15) * 4;
	if (ip->version_and_length >> 4 != 4 || header < sizeof(*ip) || ip->fragment & be16(0x3fff))
		return 0;
	seen->source = from_ipv4(ip->source);
	seen->destination = from_ipv4(ip->destination);
	seen->protocol = ip->protocol;
	seen->hops = ip->time_to_live;
	return see_transport(skb, seen, sizeof(struct ethernet) + header);
}

static __always_inline int see_ipv6(struct __sk_buff *skb, struct seen *seen)
{
	void *frame = first(skb, IPV6_BYTES);

	if (!frame)
		return 0;
	const struct ipv6 *ip = frame + sizeof(struct ethernet);
	if ((*(const __u8 *)ip) >> 4 != 6)
		return 0;
	seen->source = from_ipv6(ip->source);
	seen->destination = from_ipv6(ip->destination);
	seen->protocol = ip->next_header;
	seen->hops = ip->hop_limit;
	return see_transport(skb, seen, IPV6_BYTES);
}

static __always_inline __u32 family_of(const struct __sk_buff *skb)
{
	if (skb->vlan_present)
		return 0;
	switch (be16(skb->protocol)) {
	case ETHER_IPV4:
		return FAMILY_IPV4;
	case ETHER_IPV6:
		return FAMILY_IPV6;
	default:
		return 0;
	}
}

static __always_inline int see(struct __sk_buff *skb, struct seen *seen, __u32 family)
{
	return family == FAMILY_IPV4 ? see_ipv4(skb, seen) : see_ipv6(skb, seen);
}

/* `to` in place of `from`, at `at` in the header of IP, and in the checksums; also those still to be filled in. */
static __always_inline long replace(struct __sk_buff *skb, const struct seen *seen, __u32 at,
				    const struct address *from, const struct address *to, __u32 family)
{
	__u64 flags = PSEUDO_HEADER | (seen->protocol == IP_UDP ? ZERO_IS_NONE : 0);

	at += sizeof(struct ethernet);
	if (family == FAMILY_IPV4) {
		__u32 old = from->words[3], new = to->words[3];
		__u32 header = sizeof(struct ethernet) + offset_of(struct ipv4, checksum);

		if (l4_csum_replace(skb, seen->checksum, old, new, flags | sizeof(new)) ||
		    l3_csum_replace(skb, header, old, new, sizeof(new)))
			return -1;
		return skb_store_bytes(skb, at, &new, sizeof(new), 0);
	}
	__s64 difference = csum_diff(from->words, sizeof(*from), to->words, sizeof(*to), 0);
	if (l4_csum_replace(skb, seen->checksum, 0, difference, flags))
		return -1;
	return skb_store_bytes(skb, at, to->words, sizeof(*to), RECOMPUTE_CSUM);
}

static __always_inline long shorten_its_way(struct __sk_buff *skb, const struct seen *seen, __u32 family)
{
	__u32 at = sizeof(struct ethernet);
	__u8 hops = HOPS_OF_A_CHECK;

	if (family == FAMILY_IPV6)
		return skb_store_bytes(skb, at + offset_of(struct ipv6, hop_limit), &hops, sizeof(hops), 0);
	/* The checksum's word that holds it. */
	__u16 before = be16((__u16)(seen->hops << 8 | seen->protocol));
	__u16 after = be16((__u16)(hops << 8 | seen->protocol));
	if (l3_csum_replace(skb, at + offset_of(struct ipv4, checksum), before, after, sizeof(before)))
		return -1;
	return skb_store_bytes(skb, at + offset_of(struct ipv4, time_to_live), &hops, sizeof(hops), 0);
}

/* The answer to what goes out will be known. */
static __always_inline long expect(const struct seen *seen, const struct address *vip)
{
	struct asked answer = {
		.vip = *vip,
		.node = seen->source,
		.port = seen->destination_port,
		.node_port = seen->source_port,
		.protocol = seen->protocol,
	};
	const struct address *known = map_lookup(&asked, &answer);
	__u32 port = be16(seen->destination_port), word = port / 64;
	__u64 *ports = map_lookup(&asked_ports, &word);

	if (!ports)
		return -1;
	if (!(*ports >> (port & 63) & 1))
		__sync_fetch_and_or(ports, 1ull << (port & 63));
	if (known && is_same_address(known, &seen->destination))
		return 0;
	return map_update(&asked, &answer, &seen->destination, ANY);
}

SEC("classifier")
int fulcrum_ask(struct __sk_buff *skb)
{
	/* That of all other packets, but for a few. */
	if (!skb->priority)
		return NEXT;
	struct seen seen = {};
	__u32 family = family_of(skb);
	if (!family || !see(skb, &seen, family))
		return NEXT;
	struct checked check = { .backend = seen.destination, .priority = skb->priority };
	const struct address *found = map_lookup(&checked, &check);
	if (!found)
		return NEXT;
	struct address vip = *found;
	__u32 at = family == FAMILY_IPV4 ? offset_of(struct ipv4, destination) : offset_of(struct ipv6, destination);
	if (expect(&seen, &vip) || shorten_its_way(skb, &seen, family) ||
	    replace(skb, &seen, at, &seen.destination, &vip, family)) {
		count(CHECK_NOT_REWRITTEN);
		return DROP;
	}
	count(CHECK_ASKED);
	return NEXT;
}

SEC("classifier")
int fulcrum_answer(struct __sk_buff *skb)
{
	struct seen seen = {};
	__u32 family = family_of(skb);

	if (!family || skb->pkt_type != PACKET_HOST || !see(skb, &seen, family))
		return NEXT;
	__u32 port = be16(seen.source_port), word = port / 64;
	const __u64 *ports = map_lookup(&asked_ports, &word);
	if (!ports || !(*ports >> (port & 63) & 1))
		return NEXT;
	struct asked answer = {
		.vip = seen.source,
		.node = seen.destination,
		.port = seen.source_port,
		.node_port = seen.destination_port,
		.protocol = seen.protocol,
	};
	const struct address *found = map_lookup(&asked, &answer);
	if (!found)
		return NEXT;
	struct address backend = *found;
	__u32 at = family == FAMILY_IPV4 ? offset_of(struct ipv4, source) : offset_of(struct ipv6, source);
	if (replace(skb, &seen, at, &seen.source, &backend, family)) {
		count(CHECK_NOT_REWRITTEN);
		return DROP;
	}
	count(CHECK_ANSWERED);
	return NEXT;
}
