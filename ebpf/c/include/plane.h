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
#define MAX_FLOWS 262144
/* Flows of mode fullnat that the backend has not answered yet: a flood of them takes no room from others. */
#define MAX_OPENING 65536
#define MAX_FRAGMENTS 16384
/* Clients of services that limit each of them. */
#define MAX_CLIENTS 65536
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
/* The same of an address that packets are sent on from in mode fullnat. */
#define SOURCE_OF_FLOWS 0xfffffffe

/* The ports that packets are sent on from in mode fullnat: above those of most services. */
#define FIRST_SOURCE_PORT 16384
#define SOURCE_PORTS (65536 - FIRST_SOURCE_PORT)

enum mode {
	OFF = 0,
	NAT = 1,
	DSR = 2,
	FULLNAT = 3,
};

/* By what a new flow of a service gets its backend. */
enum choice {
	/* The hash of both ends. */
	BY_FLOW = 0,
	/* That of the client's address. */
	BY_CLIENT = 1,
	/* Its turn. Each flow is noted then, for no hash says where it went. */
	IN_TURN = 2,
};

struct service {
	/* enum mode. */
	__u8 mode;
	/* enum choice. */
	__u8 choice;
	/* Flows may have entries in `flows`. */
	__u8 pinned;
	/* Of the control plane: 1, and else 0; the index of its room. */
	__u8 protected;
	/* Where the VIP is, and clients are behind, for a kernel that forwards nothing and so names no way. */
	__u32 interface;
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
	/* Mode fullnat: an address of this node's group, which the backend answers to. */
	struct address source;
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

enum closed {
	CLOSED_BY_CLIENT = 1,
	CLOSED_BY_BACKEND = 2,
	CLOSED_BY_RST = 4,
	/* Only SYNs were seen, which anybody can send from any address. */
	ONLY_ATTEMPTED = 8,
};

/* A flow that its slot alone does not tell the backend of, or, in mode fullnat, any. */
struct pin {
	__u16 backend;
	/* Another node told of it, and no packet of it was seen here since. */
	__u8 heard_of;
	__u8 reserved;
	/* Mode fullnat: where its packets are sent on from. */
	__u16 source_port;
	/* enum closed, as far as it was seen. */
	__u8 closed;
	/* Mode fullnat: the backend has. */
	__u8 answered;
	/* The last packet that was noted, in nanoseconds of CLOCK_MONOTONIC. */
	__u64 seen;
	struct address source;
};

/* Mode fullnat: whose flow it is that a reply is of. The key is the reply as a flow from the backend to the source. */
struct returned {
	struct flow flow;
	__u32 service;
	__u16 backend;
	/* As of a pin. */
	__u8 answered;
	__u8 reserved;
	__u64 seen;
};

/* What is told of a flow as it begins and ends, for the other nodes. */
struct event {
	struct flow flow;
	struct pin pin;
};

/* Whether a service, or a backend whose replies pass here, has one of 64 ports in turn: a bit for each. Most packets
 * that are none of the plane's business are known by that. */
struct ports_in_use {
	__u64 services;
	__u64 backends;
};

#define PORTS_IN_USE (65536 / 64)

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
	__u32 reserved;
	/* There is a service in mode fullnat. */
	__u32 returns;
	/* Somebody wants to know of flows. */
	__u32 told;
};

/* Pins that services of one class may make until the daemon counts again: a flood of the others leaves the control
 * plane its own. */
struct room {
	__s64 left;
	/* Packets of flows that were not pinned for want of it. */
	__u64 refused;
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
	/* Dropped because new connections came too often. */
	__u64 limited;
};

struct slots {
	__u16 backends[SLOTS];
};

_Static_assert(sizeof(struct endpoint) == 20, "struct endpoint");
_Static_assert(offset_of(struct endpoint, port) == 16, "endpoint.port");
_Static_assert(offset_of(struct endpoint, protocol) == 18, "endpoint.protocol");
_Static_assert(sizeof(struct service) == 8, "struct service");
_Static_assert(offset_of(struct service, interface) == 4, "service.interface");
_Static_assert(sizeof(struct backend) == 56, "struct backend");
_Static_assert(offset_of(struct backend, next_hop) == 16, "backend.next_hop");
_Static_assert(offset_of(struct backend, source) == 32, "backend.source");
_Static_assert(offset_of(struct backend, interface) == 48, "backend.interface");
_Static_assert(offset_of(struct backend, port) == 52, "backend.port");
_Static_assert(offset_of(struct backend, state) == 54, "backend.state");
_Static_assert(sizeof(struct reply) == 28, "struct reply");
_Static_assert(offset_of(struct reply, service) == 16, "reply.service");
_Static_assert(offset_of(struct reply, port) == 24, "reply.port");
_Static_assert(sizeof(struct flow) == 40, "struct flow");
_Static_assert(offset_of(struct flow, client_port) == 32, "flow.client_port");
_Static_assert(offset_of(struct flow, protocol) == 36, "flow.protocol");
_Static_assert(sizeof(struct pin) == 32, "struct pin");
_Static_assert(offset_of(struct pin, heard_of) == 2, "pin.heard_of");
_Static_assert(offset_of(struct pin, source_port) == 4, "pin.source_port");
_Static_assert(offset_of(struct pin, closed) == 6, "pin.closed");
_Static_assert(offset_of(struct pin, seen) == 8, "pin.seen");
_Static_assert(offset_of(struct pin, source) == 16, "pin.source");
_Static_assert(sizeof(struct returned) == 56, "struct returned");
_Static_assert(offset_of(struct returned, service) == 40, "returned.service");
_Static_assert(offset_of(struct returned, backend) == 44, "returned.backend");
_Static_assert(offset_of(struct returned, answered) == 46, "returned.answered");
_Static_assert(offset_of(struct returned, seen) == 48, "returned.seen");
_Static_assert(sizeof(struct event) == 72, "struct event");
_Static_assert(sizeof(struct ports_in_use) == 16, "struct ports_in_use");
_Static_assert(sizeof(struct fragmented) == 40, "struct fragmented");
_Static_assert(sizeof(struct settings) == 32, "struct settings");
_Static_assert(sizeof(struct room) == 16, "struct room");
_Static_assert(sizeof(struct counters) == 56, "struct counters");
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
TABLE(ports, MAP_ARRAY, __u32, struct ports_in_use, PORTS_IN_USE);
TABLE(flows, MAP_LRU_HASH, struct flow, struct pin, MAX_FLOWS);
TABLE(returns, MAP_LRU_HASH, struct flow, struct returned, MAX_FLOWS);
TABLE(opening, MAP_LRU_HASH, struct flow, struct pin, MAX_OPENING);
TABLE(opening_returns, MAP_LRU_HASH, struct flow, struct returned, MAX_OPENING);
TABLE(fragments, MAP_LRU_HASH, struct fragmented, struct ports, MAX_FRAGMENTS);
TABLE(settings, MAP_ARRAY, __u32, struct settings, 1);
TABLE(rooms, MAP_ARRAY, __u32, struct room, 2);
TABLE(service_counters, MAP_PERCPU_ARRAY, __u32, struct counters, MAX_SERVICES);
TABLE(backend_counters, MAP_PERCPU_ARRAY, __u32, struct counters, MAX_BACKENDS);

#define EVENT_BYTES (4 << 20)

struct {
	__uint(type, MAP_RINGBUF);
	__uint(max_entries, EVENT_BYTES);
} events SEC(".maps");

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
/* Of those that give new flows to backends in turn: who takes the next one, the one after it, and so on; and whose
 * turn it is. Written in place: a schedule that is half new is as good as either. */
TABLES(schedules);
TABLE(turns, MAP_ARRAY, __u32, __u64, MAX_SERVICES);
