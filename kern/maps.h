/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * maps - every map and every struct that crosses to user space.
 *
 * C owns the layouts: dnsfront/kernel/layouts.py reads the structs of this file, so a
 * field is declared here and nowhere else. Only u8, u16, u32, u64 and arrays of them
 * are used, each field on a line of its own, naturally aligned; the comment on a
 * counter's line is the help text of its metric.
 *
 * The supervisor creates the maps with bpf(2), because bcc cannot declare a reuseport
 * sockarray. The compiler gets a placeholder for each descriptor and each size, which
 * the loader fills in: MAP() and NUMBER() in bcc.h. Nothing has a default here.
 */
#ifndef DNSFRONT_MAPS_H
#define DNSFRONT_MAPS_H

#define MAX_WORKER_ID 127 /* two 64-bit words of the live bitmap; 0 is nobody */
#define PREFERENCES 4     /* worker ids per slot, best first */

/* Key of `groups`: what the kernel calls a reuseport group, as its sockets were bound. */
struct listener {
	u32 family;     /* AF_INET or AF_INET6 */
	u32 protocol;   /* IPPROTO_UDP or IPPROTO_TCP */
	u32 port;       /* host order */
	u32 address[4]; /* network order; IPv4 in [0]; all zero for a wildcard */
};

/* Value of a slot table: the worker ids that may serve the slot, best first, 0 ends it. */
struct slot {
	u8 worker_id[4]; /* PREFERENCES */
};

/* Value of `live`, one element: who may be chosen, and the valve for hot names. */
struct live {
	u64 bits[2];               /* worker_id & 63 in word worker_id >> 6 */
	u64 bounded_load_permille; /* backlog over this share of the mean overflows; 0: off */
	u64 backlog_floor; /* datagrams; a smaller backlog is never over the bound */
};

/* Value of `load`, one element a worker_id. One writer a field, one cache line a writer. */
struct load {
	u64 steered; /* program: datagrams given to the worker */
	u64 steered_line[7];
	u64 taken; /* worker: datagrams received from its sockets */
	u64 taken_line[7];
	u64 dropped; /* supervisor: datagrams its full sockets dropped */
	u64 dropped_line[7];
};

/* Value of `counters`, per CPU. Each datagram or connection counts in exactly one. */
struct steering {
	u64 primary; /* Datagrams given to the first worker of the preference list. */
	u64 backup; /* Datagrams given to a later worker, because earlier ones were not live or had no socket. */
	u64 overflow; /* Datagrams given to a later worker, because earlier ones were over their bound. */
	u64 unparsed; /* Datagrams without one plain question, given to some live worker. */
	u64 connection; /* TCP connections given to a worker by their 4-tuple. */
	u64 migration; /* TCP connections given to another worker, because the listener that had them closed. */
	u64 fallback; /* Left to the kernel's own choice: no worker of the preference list was live. */
	u64 no_group; /* Left to the kernel's own choice: the listener is not in the groups map. */
	u64 no_table; /* Left to the kernel's own choice: no slot table is published. */
	u64 no_socket; /* Left to the kernel's own choice: the chosen worker has no socket there. */
};

#endif
