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
static __always_inline void *start_of(const struct CONTEXT *context)
{
	return (void *)(unsigned long)*(const volatile __u32 *)&context->data;
}

static __always_inline void *end_of(const struct CONTEXT *context)
{
	return (void *)(unsigned long)*(const volatile __u32 *)&context->data_end;
}

#ifdef XDP
#include "xdp/access.h"
#else
#include "tcx/access.h"
#endif
