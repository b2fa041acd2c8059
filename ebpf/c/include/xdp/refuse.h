/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * Whoever is to be told something is told by tcx, to which the frame goes as it came.
 */
#pragma once

#define refuse(xdp, packet, index, family) NEXT
#define too_long_travelled(xdp, packet, family) NEXT
#define too_big(xdp, packet, mtu, family) NEXT
