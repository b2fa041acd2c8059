/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * Whether this node may act for a VIP now: the fence's own tables say so.
 */
#pragma once

#include "count.h"
#include "groups.h"

/* 0 if it may; else the verdict. A VIP that the fence does not know is the node's own. */
static __always_inline int silenced(const struct address *vip, __u64 now)
{
	const struct group *group = group_of(vip);

	if (!group)
		return 0;
	if (group->state != LEADING && group->state != DRAINING)
		return drop(GROUP_SILENT);
	return group->deadline <= now ? drop(GROUP_STALE) : 0;
}
