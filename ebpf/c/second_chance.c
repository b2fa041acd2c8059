/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * The second chance: after a handover, packets of a TCP connection that no socket of this node knows go on to the
 * node that led before, which finishes its connections. Attached at ingress, after the forwarding plane.
 *
 * A listener does not own a connection, except by the cookie in the acknowledgment that completes a handshake
 * (RFC 4987 section 3.6). A SYN is this node's. The node that led before does the same for a moment, with what still
 * comes to it and is the new leader's. Each passing costs a hop, and that of the former leader all that are left, so
 * that a packet that neither knows does not go back and forth.
 */
#include "access.h"
#include "second_chance.h"

char _license[] SEC("license") = "Dual BSD/GPL";

/* struct bpf_sock_tuple */
struct tuple_ipv4 {
	__u32 source;
	__u32 destination;
	__u16 source_port;
	__u16 destination_port;
};

struct tuple_ipv6 {
	__u32 source[4];
	__u32 destination[4];
	__u16 source_port;
	__u16 destination_port;
};

static __always_inline void count(__u32 which)
{
	__u64 *counter = map_lookup(&second_counters, &which);

	if (counter)
		*counter += 1;
}

static __always_inline const struct finisher *finisher_of(const struct address *vip)
{
	return map_lookup(&finishers, vip);
}

static __always_inline int is_anybody_finishing(void)
{
	__u32 zero = 0;
	const __u32 *count = map_lookup(&finishing, &zero);

	return count && *count;
}

/* Whether a socket of this node has the connection, or takes it now. */
static __always_inline int is_known(struct __sk_buff *skb, void *tuple, __u32 tuple_length, void *ip,
				    __u32 ip_length, struct tcp *tcp)
{
	struct socket *socket = skc_lookup_tcp(skb, tuple, tuple_length, THIS_NAMESPACE, 0);
	int known;

	if (!socket)
		return 0;
	known = socket->state != TCP_LISTEN;
	if (!known && (tcp->flags & (TCP_ACK | TCP_RST)) == TCP_ACK)
		known = tcp_check_syncookie(socket, ip, ip_length, tcp, sizeof(*tcp)) == 0;
	sk_release(socket);
	return known;
}

static __always_inline int pass_on(const struct finisher *finisher)
{
	struct next_hop hop = finisher->hop;

	count(PASSED_ON);
	return redirect_neigh(finisher->interface, &hop, sizeof(hop), 0);
}

static __always_inline int is_last_hop(__u8 hops)
{
	if (hops > 1)
		return 0;
	count(HOPS_EXCEEDED);
	return 1;
}

static __noinline int second_ipv4(struct __sk_buff *skb)
{
	struct ipv4 ip;
	struct tcp tcp;
	__u32 at = sizeof(struct ethernet);

	if (skb_load_bytes(skb, at, &ip, sizeof(ip)) || ip.protocol != IP_TCP || ip.fragment & be16(0x1fff))
		return NEXT;
	struct address vip = from_ipv4(ip.destination);
	const struct finisher *finisher = finisher_of(&vip);
	if (!finisher || skb_load_bytes(skb, at + (ip.version_and_length & 15) * 4, &tcp, sizeof(tcp)))
		return NEXT;
	struct tuple_ipv4 tuple = {
		.source = ip.source,
		.destination = ip.destination,
		.source_port = tcp.source,
		.destination_port = tcp.destination,
	};
	if ((tcp.flags & (TCP_SYN | TCP_ACK)) == TCP_SYN ||
	    is_known(skb, &tuple, sizeof(tuple), &ip, sizeof(ip), &tcp))
		return NEXT;
	if (is_last_hop(ip.time_to_live))
		return DROP;
	/* The checksum's word that holds the time to live, before and after. */
	__u16 before = be16((__u16)(ip.time_to_live << 8 | ip.protocol));
	__u8 hops = finisher->last ? 1 : ip.time_to_live - 1;
	__u16 after = be16((__u16)(hops << 8 | ip.protocol));
	if (l3_csum_replace(skb, at + offset_of(struct ipv4, checksum), before, after, sizeof(before)) ||
	    skb_store_bytes(skb, at + offset_of(struct ipv4, time_to_live), &hops, sizeof(hops), 0))
		return DROP;
	return pass_on(finisher);
}

static __noinline int second_ipv6(struct __sk_buff *skb)
{
	struct ipv6 ip;
	struct tcp tcp;
	__u32 at = sizeof(struct ethernet);

	if (skb_load_bytes(skb, at, &ip, sizeof(ip)) || ip.next_header != IP_TCP)
		return NEXT;
	struct address vip = from_ipv6(ip.destination);
	const struct finisher *finisher = finisher_of(&vip);
	if (!finisher || skb_load_bytes(skb, at + sizeof(ip), &tcp, sizeof(tcp)))
		return NEXT;
	struct tuple_ipv6 tuple = {
		.source_port = tcp.source,
		.destination_port = tcp.destination,
	};
	__builtin_memcpy(tuple.source, ip.source, sizeof(tuple.source));
	__builtin_memcpy(tuple.destination, ip.destination, sizeof(tuple.destination));
	if ((tcp.flags & (TCP_SYN | TCP_ACK)) == TCP_SYN ||
	    is_known(skb, &tuple, sizeof(tuple), &ip, sizeof(ip), &tcp))
		return NEXT;
	if (is_last_hop(ip.hop_limit))
		return DROP;
	__u8 hops = finisher->last ? 1 : ip.hop_limit - 1;
	if (skb_store_bytes(skb, at + offset_of(struct ipv6, hop_limit), &hops, sizeof(hops), 0))
		return DROP;
	return pass_on(finisher);
}

SEC("classifier")
int fulcrum_second(struct __sk_buff *skb)
{
	if (!is_anybody_finishing() || skb->vlan_present)
		return NEXT;
	const struct ethernet *ethernet = first(skb, IPV4_BYTES);
	if (!ethernet || !is_ours(skb, ethernet))
		return NEXT;
	switch (be16(skb->protocol)) {
	case ETHER_IPV4:
		return second_ipv4(skb);
	case ETHER_IPV6:
		return second_ipv6(skb);
	default:
		return NEXT;
	}
}
