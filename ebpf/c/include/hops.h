/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * How far a check travels that goes to a VIP.
 */
#pragma once

/* Enough for what a backend has within itself (containers). A backend that has not the VIP, and forwards what is not
 * its own, sends a check back to the node that leads. There the plane knows it by what is left of this, and does not
 * pass it on to a backend that would answer in its place. Clients' packets begin with 64 or more. */
#define HOPS_OF_A_CHECK 8
