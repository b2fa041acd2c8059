/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * For a test of the loader: a table in a map of maps, which is replaced as a whole while the program runs.
 */
#include "bpf.h"

#define ROWS 65537

/* Only sizes here: a type for the key beside the size of the value is refused by the kernel. */
struct table {
	__uint(type, MAP_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, ROWS * sizeof(__u32));
	__uint(max_entries, 1);
};

struct {
	__uint(type, MAP_ARRAY_OF_MAPS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
	__uint(max_entries, 4);
	__array(values, struct table);
} tables SEC(".maps");

/* The row that the frame's last two bytes name, as the verdict. */
SEC("classifier")
int read_row(struct __sk_buff *skb)
{
	void *data = (void *)(unsigned long)skb->data;
	__u32 zero = 0;

	if (data + 16 > (void *)(unsigned long)skb->data_end)
		return -2;
	void *table = map_lookup(&tables, &zero);
	if (!table)
		return -3;
	__u32 *rows = map_lookup(table, &zero);
	if (!rows)
		return -4;
	return rows[be16(*(__u16 *)(data + 14))];
}
