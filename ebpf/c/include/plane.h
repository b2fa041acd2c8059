/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only
 *
 * The forwarding plane's maps. `ebpf/src/plane/layout.rs` says the same in Rust; both sides assert sizes and
 * offsets. Ports stand as they do in packets.
 */
#pragma once

#include "bpf.h"
#include "groups.h"

#define MAX_SERVICES 1024
#define MAX_ENDPOINTS 65536
#define MAX_BACKENDS 8192
#define MAX_FLOWS 131072
#define MAX_FRAGMENTS 16384
/* A prime: the slots of a service's table. */
#define SLOTS 16381

/* An address and port of a service, or of a backend whose replies pass here. Port 0 marks the address itself:
 * fragments to or from it belong to somebody. */
struct endpoint {
	struct address address;
	__u16 port;
	__u8 protocol;
	__u8 reserved;
};

/* The service of an address that is only marked. */
#define NO_SERVICE 0xffffffff

enum mode {
	OFF = 0,
	NAT = 1,
	DSR = 2,
};

struct service {
	/* enum mode. */
	__u8 mode;
	/* Only the client's address decides. */
	__u8 by_client;
	/* Flows may have entries in `flows`. */
	__u8 pinned;
	__u8 reserved;
};

enum backend_state {
	DOWN = 0,
	/* Takes what the tables give it; whether that is new flows is for the tables to say. */
	UP = 1,
};

/* Backend 0 is none. */
struct backend {
	struct address address;
	/* On the link of `interface`: itself, or the router before it. */
	struct address next_hop;
	/* 0 as long as no route is known. */
	__u32 interface;
	/* 0 is the port that the client connected to. */
	__u16 port;
	/* enum backend_state. */
	__u8 state;
	__u8 reserved;
};

/* What replies of a backend's endpoint come from, as clients see it. */
struct reply {
	struct address vip;
	__u32 service;
	__u32 backend;
	__u16 port;
	__u16 reserved;
};

struct flow {
	struct address client;
	struct address vip;
	__u16 client_port;
	__u16 port;
	__u8 protocol;
	__u8 reserved[3];
};

/* A flow that its slot alone does not tell the backend of. */
struct pin {
	__u32 backend;
	/* A FIN or RST was seen. */
	__u32 closed;
	/* The last packet that was noted, in nanoseconds of CLOCK_MONOTONIC. */
	__u64 seen;
};

/* A packet that was cut to pieces. */
struct fragmented {
	struct address source;
	struct address destination;
	__u32 identification;
	__u8 protocol;
	__u8 reserved[3];
};

/* What only its first piece says. */
struct ports {
	__u16 source;
	__u16 destination;
};

struct settings {
	/* Key of the hash, the same on every node. */
	__u64 seed[2];
	/* There is something in `replies`. */
	__u32 replies;
	/* No more pins are made. */
	__u32 full;
};

struct counters {
	__u64 packets_in;
	__u64 bytes_in;
	__u64 packets_out;
	__u64 bytes_out;
	/* TCP: SYNs that were forwarded. */
	__u64 opened;
	/* Answered with RST or unreachable for want of a backend. */
	__u64 refused;
};

struct slots {
	__u16 backends[SLOTS];
};

_Static_assert(sizeof(struct endpoint) == 20, "struct endpoint");
_Static_assert(offset_of(struct endpoint, port) == 16, "endpoint.port");
_Static_assert(offset_of(struct endpoint, protocol) == 18, "endpoint.protocol");
_Static_assert(sizeof(struct service) == 4, "struct service");
_Static_assert(sizeof(struct backend) == 40, "struct backend");
_Static_assert(offset_of(struct backend, next_hop) == 16, "backend.next_hop");
_Static_assert(offset_of(struct backend, interface) == 32, "backend.interface");
_Static_assert(offset_of(struct backend, port) == 36, "backend.port");
_Static_assert(offset_of(struct backend, state) == 38, "backend.state");
_Static_assert(sizeof(struct reply) == 28, "struct reply");
_Static_assert(offset_of(struct reply, service) == 16, "reply.service");
_Static_assert(offset_of(struct reply, port) == 24, "reply.port");
_Static_assert(sizeof(struct flow) == 40, "struct flow");
_Static_assert(offset_of(struct flow, client_port) == 32, "flow.client_port");
_Static_assert(offset_of(struct flow, protocol) == 36, "flow.protocol");
_Static_assert(sizeof(struct pin) == 16, "struct pin");
_Static_assert(sizeof(struct fragmented) == 40, "struct fragmented");
_Static_assert(sizeof(struct settings) == 24, "struct settings");
_Static_assert(sizeof(struct counters) == 48, "struct counters");
_Static_assert(sizeof(struct slots) == 2 * SLOTS, "struct slots");

#define TABLE(name, kind, key_type, value_type, entries) \
	struct {                                         \
		__uint(type, kind);                      \
		__type(key, key_type);                   \
		__type(value, value_type);               \
		__uint(max_entries, entries);            \
	} name SEC(".maps")

/* From an address and port to the index of the service. */
TABLE(endpoints, MAP_HASH, struct endpoint, __u32, MAX_ENDPOINTS);
TABLE(services, MAP_ARRAY, __u32, struct service, MAX_SERVICES);
TABLE(backends, MAP_ARRAY, __u32, struct backend, MAX_BACKENDS);
TABLE(replies, MAP_HASH, struct endpoint, struct reply, MAX_ENDPOINTS);
TABLE(flows, MAP_LRU_HASH, struct flow, struct pin, MAX_FLOWS);
TABLE(fragments, MAP_LRU_HASH, struct fragmented, struct ports, MAX_FRAGMENTS);
TABLE(settings, MAP_ARRAY, __u32, struct settings, 1);
TABLE(service_counters, MAP_PERCPU_ARRAY, __u32, struct counters, MAX_SERVICES);
TABLE(backend_counters, MAP_PERCPU_ARRAY, __u32, struct counters, MAX_BACKENDS);

/* One value that is the whole table. Only sizes here: a type for the key beside the size of the value is refused
 * by the kernel. */
struct table {
	__uint(type, MAP_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct slots));
	__uint(max_entries, 1);
};

#define TABLES(name)                                   \
	struct {                                       \
		__uint(type, MAP_ARRAY_OF_MAPS);       \
		__uint(key_size, sizeof(__u32));       \
		__uint(value_size, sizeof(__u32));     \
		__uint(max_entries, MAX_SERVICES);     \
		__array(values, struct table);         \
	} name SEC(".maps")

/* Of each service: who takes new flows, and who took them before the last change. */
TABLES(current);
TABLES(previous);
