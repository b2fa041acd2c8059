/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * SipHash-1-3 (Aumasson and Bernstein, 2012) over the same bytes as the proxy's hash of a flow: client, VIP, client's
 * port, port, protocol. Keyed, so that nobody outside can aim at one backend.
 */
#pragma once

#include "plane.h"

static __always_inline __u64 rotate(__u64 value, int by)
{
	return value << by | value >> (64 - by);
}

struct sip {
	__u64 a, b, c, d;
};

static __always_inline void sip_round(struct sip *sip)
{
	sip->a += sip->b;
	sip->b = rotate(sip->b, 13) ^ sip->a;
	sip->a = rotate(sip->a, 32);
	sip->c += sip->d;
	sip->d = rotate(sip->d, 16) ^ sip->c;
	sip->a += sip->d;
	sip->d = rotate(sip->d, 21) ^ sip->a;
	sip->c += sip->b;
	sip->b = rotate(sip->b, 17) ^ sip->c;
	sip->c = rotate(sip->c, 32);
}

static __always_inline void sip_word(struct sip *sip, __u64 word)
{
	sip->d ^= word;
	sip_round(sip);
	sip->a ^= word;
}

/* The last word has the length of all. */
static __always_inline __u64 sip_end(struct sip *sip, __u64 rest, __u64 length)
{
	sip_word(sip, rest | length << 56);
	sip->c ^= 0xff;
	sip_round(sip);
	sip_round(sip);
	sip_round(sip);
	return sip->a ^ sip->b ^ sip->c ^ sip->d;
}

static __always_inline void sip_address(struct sip *sip, const struct address *address)
{
	sip_word(sip, (__u64)address->words[1] << 32 | address->words[0]);
	sip_word(sip, (__u64)address->words[3] << 32 | address->words[2]);
}

static __always_inline __u64 hash_of(const struct settings *settings, const struct flow *flow, int by_client)
{
	struct sip sip = {
		settings->seed[0] ^ 0x736f6d6570736575,
		settings->seed[1] ^ 0x646f72616e646f6d,
		settings->seed[0] ^ 0x6c7967656e657261,
		settings->seed[1] ^ 0x7465646279746573,
	};

	sip_address(&sip, &flow->client);
	if (by_client)
		return sip_end(&sip, 0, 16);
	sip_address(&sip, &flow->vip);
	return sip_end(&sip, flow->client_port | (__u64)flow->port << 16 | (__u64)flow->protocol << 32, 37);
}
