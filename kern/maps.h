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
#define ANSWER_WAYS 8     /* answers whose questions share a set of a book */
#define ANSWER_TTLS 8     /* TTLs that one answer can have */
#define ANSWER_KINDS 32   /* as what a response counts: its code, and 16 if of a zone */
#define FRAME_REST_OCTETS 1552

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

/*
 * Value of `sets`, one array a worker: the tags of the answers that may stand here, 0 for
 * none. One cache line. Element 0 is no set: its first word says how many follow.
 */
struct answer_set {
	u64 tag[8]; /* ANSWER_WAYS; 64 bits of hash over question and view */
};

/*
 * Head of the values of `answers`, one array a worker: way w of set s, counted from 0, is
 * element ANSWER_WAYS * s + w. Behind it stand the question in lower case, zeroes up to
 * a multiple of 8 octets, and the records. Written by the worker, but for `hits`.
 */
struct answer {
	u64 serial;    /* odd while the rest is written, another one afterwards */
	u64 hits;      /* program: responses made of this element, whatever was in it */
	u32 until_s;   /* monotonic second from which on a worker is asked */
	u32 aged_at_s; /* monotonic second in which the TTLs are true */
	u32 tail;      /* qtype and qclass, as in the message */
	u16 question_octets; /* the question, qtype and qclass included */
	u16 records_octets;  /* all behind the question */
	u8 head[8];          /* flags and the three record counts, as in the message */
	u16 sum; /* of the records: 16-bit words, first octet lowest, added modulo 65535 */
	u8 view;       /* which of RD, CD and DO a query has to have: 1, 2, 4 */
	u8 ttls;       /* how many of the following are used */
	u16 ttl_at[8]; /* ANSWER_TTLS; octets from the first record */
	u32 kind;      /* below ANSWER_KINDS: as what a response is counted */
};

/* Value of `answered`, per CPU, one element a worker_id: its responses by their kind. */
struct answered {
	u64 responses[32]; /* ANSWER_KINDS */
};

/* Value of `answering`, one element. */
struct answering {
	u32 is_on;    /* 0 lets every packet pass on */
	u32 udp_size; /* octets; the largest response, and what its OPT record says */
};

/*
 * Value of `answer_addresses`: who is bound there. A socket of somebody else may be
 * bound to an address of a wildcard's, and gets what comes to it.
 */
#define BOUND_TO_ADDRESS 1
#define BOUND_TO_WILDCARD 2

/*
 * Key of a trie of clients. Its value is a u32, the index of the interface by which they
 * are answered, that which leads to them; 0 if that is for the workers.
 */
struct client4 {
	u32 prefix_bits;
	u8 address[4];
};

struct client6 {
	u32 prefix_bits;
	u8 address[16];
};

/*
 * Value of `frames`, per CPU: a packet in the making. The DNS header ends where the
 * question begins, on a word's boundary, so the packet begins at octet 26, or at 6 with
 * IPv6, and `rest` holds question, records and OPT record of the largest one.
 */
struct frame {
	u8 head[80];
	u8 rest[1552]; /* FRAME_REST_OCTETS */
};

/* Value of `passed`, per CPU: why packets went on to where they would have gone. */
struct passed {
	u64 not_ours; /* Packets that are no query over UDP to an address and port of ours. */
	u64 unusual; /* Packets to us that are no plain query from a plain client. */
	u64 client;  /* Queries of clients that may not be answered here. */
	u64 absent;  /* Queries whose answer is not here. */
	u64 expired; /* Queries whose answer is here and wants to be fetched again. */
	u64 size; /* Queries whose answer is larger than the client, the link or the packet takes. */
	u64 torn; /* Queries whose answer was just being written. */
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
