/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * steer - choose the worker for one datagram, or for one TCP connection.
 *
 * Runs for every datagram and every SYN of a listener, ahead of any queue. The listener
 * names the sockarray; the qname names the slot, and the slot its workers, best first.
 * The first one that is live and not over its bound gets the datagram. What cannot be
 * placed goes back to the kernel's own choice: correct response, colder cache.
 *
 * It runs again for a TCP connection that nobody accepted when its listener closed, and
 * for one that was still being made (BPF_SK_REUSEPORT_SELECT_OR_MIGRATE).
 *
 * Never SK_DROP: the client would see an ICMP error. Every run bumps exactly one counter.
 */
#include "bcc.h"
#include "dns.h"
#include "maps.h"
#include "placement.h"
#include "siphash.h"

#ifndef RING_SLOTS
#error "RING_SLOTS, the entries of every slot table, comes from the loader"
#endif
#if !defined(GROUPS_FD) || !defined(TABLES_FD) || !defined(LIVE_FD) || \
	!defined(LOAD_FD) || !defined(COUNTERS_FD)
#error "the descriptors of the maps come from the loader"
#endif

#define GROUPS MAP(GROUPS_FD)
#define TABLES MAP(TABLES_FD)
#define LIVE MAP(LIVE_FD)
#define LOAD MAP(LOAD_FD)
#define COUNTERS MAP(COUNTERS_FD)

#define AF_INET6 10
#define IPPROTO_UDP 17
#define UDP_HEADER_OCTETS 8 /* the program's packet begins with it */

#define NO_BOUND (~0ULL)

enum outcome {
	PRIMARY,
	BACKUP,
	OVERFLOW,
	NOBODY_LIVE,
	NO_SOCKET,
};

/* Find the sockarray of the listener that this packet came to, by a member's address. */
static inline void *sockarray_of(struct sk_reuseport_md *md)
{
	struct bpf_sock *sk = md->sk, *migrating = md->migrating_sk;
	struct listener key = {};
	u32 port = sk->src_port;

	FORGET(port); /* else clang makes one load of two pointers, which is refused */
	if (migrating)
		port = migrating->src_port; /* a closed listener knows its address only */

	key.family = sk->family;
	key.protocol = sk->protocol;
	key.port = port;
	if (key.family == AF_INET6) {
		key.address[0] = sk->src_ip6[0];
		key.address[1] = sk->src_ip6[1];
		key.address[2] = sk->src_ip6[2];
		key.address[3] = sk->src_ip6[3];
	} else {
		key.address[0] = sk->src_ip4; /* leftovers in an IPv6 socket */
	}
	return bpf_map_lookup_elem(GROUPS, &key);
}

/* Hash the qname of a plain query; -1 for anything else. */
static inline int query_hash(struct sk_reuseport_md *md, u32 *hash)
{
	struct message message = {};
	int octets = read_question(md, UDP_HEADER_OCTETS, md->len, &message);

	if (octets < 0)
		return -1;
	*hash = qname_hash(message.question.words, octets);
	return 0;
}

/*
 * Datagrams that a worker has yet to take. The three counts are read one after the other
 * while others write, so a moment's difference may be negative; that is no backlog.
 */
static inline u64 backlog_of(const struct load *load)
{
	s64 backlog = load->steered - load->taken - load->dropped;
	s64 if_negative = backlog >> 63;

	FORGET(if_negative); /* clang would make a branch of it, twice the paths a round */
	return backlog & ~if_negative;
}

/*
 * The largest backlog within bounded_load of the mean over the live workers. No branch
 * tells a live worker from another: each would double the paths that the verifier walks.
 * Were the last one to die meanwhile, BPF's division by zero is zero.
 */
static inline u64 bound_of_backlog(const struct live *live)
{
	u64 low = live->bits[0], high = live->bits[1];
	u64 total = 0, workers = 0;
	u32 worker_id;

	/* As many rounds as the highest live worker_id, not as the map has entries. */
	ROLLED
	for (worker_id = 0; worker_id <= MAX_WORKER_ID; worker_id++) {
		struct load *load = bpf_map_lookup_elem(LOAD, &worker_id);
		u64 is_live = low & 1;

		if (!load)
			break; /* cannot happen; the verifier asks */
		total += backlog_of(load) & -is_live;
		workers += is_live;
		low = low >> 1 | high << 63;
		high >>= 1;
		if (!(low | high))
			break;
	}
	return live->bounded_load_permille * total / (1000 * workers);
}

/*
 * The backlog above which a worker is passed over. Worked out only when the worker whose
 * turn it is has more than the floor; with less, the rest of the list does not matter.
 */
static inline u64 bound_for(const struct slot *slot, const struct live *live)
{
	u32 worker_id = first_live(slot, live);
	struct load *load = bpf_map_lookup_elem(LOAD, &worker_id);
	u64 bound;

	if (!live->bounded_load_permille || !load ||
	    backlog_of(load) <= live->backlog_floor)
		return NO_BOUND;
	bound = bound_of_backlog(live);
	return bound > live->backlog_floor ? bound : live->backlog_floor;
}

static inline bool is_over(u64 bound, u32 worker_id)
{
	struct load *load = bpf_map_lookup_elem(LOAD, &worker_id);

	return load && backlog_of(load) > bound;
}

/* Give the packet to a worker; a failure means that it has no socket here. */
static inline int select_worker(struct sk_reuseport_md *md, void *sockarray,
				u32 worker_id)
{
	struct load *load;

	if (bpf_sk_select_reuseport(md, sockarray, &worker_id, 0))
		return -1;
	if (md->ip_protocol == IPPROTO_UDP) {
		load = bpf_map_lookup_elem(LOAD, &worker_id);
		if (load)
			__sync_fetch_and_add(&load->steered, 1);
	}
	return 0;
}

/* Go down the preference list, then once more without the bound if it ruled all out. */
static inline enum outcome place(struct sk_reuseport_md *md, void *sockarray,
				 const struct slot *slot, const struct live *live,
				 u64 bound)
{
	enum outcome outcome = PRIMARY;
	bool has_live = false;
	u32 i;

	ROLLED
	for (i = 0; i < 2 * PREFERENCES; i++) {
		u32 worker_id = slot->worker_id[i % PREFERENCES];

		if (i == PREFERENCES) {
			if (outcome != OVERFLOW)
				break;
			bound = NO_BOUND;
			outcome = PRIMARY;
		}
		if (is_live(live, worker_id)) {
			has_live = true;
			if (bound != NO_BOUND && is_over(bound, worker_id)) {
				outcome = OVERFLOW;
				continue;
			}
			if (!select_worker(md, sockarray, worker_id))
				return outcome;
		}
		if (outcome == PRIMARY)
			outcome = BACKUP;
	}
	return has_live ? NO_SOCKET : NOBODY_LIVE;
}

int steer(struct sk_reuseport_md *md)
{
	u32 first = 0, hash = md->hash, index;
	bool is_datagram = md->ip_protocol == IPPROTO_UDP;
	bool is_parsed = false;
	void *sockarray, *table;
	struct steering *count = bpf_map_lookup_elem(COUNTERS, &first);
	struct live *live = bpf_map_lookup_elem(LIVE, &first);
	struct slot *slot = 0;
	enum outcome outcome;

	if (!count || !live)
		return SK_PASS; /* cannot happen; the verifier asks */

	sockarray = sockarray_of(md);
	if (!sockarray) {
		count->no_group++;
		return SK_PASS;
	}

	if (is_datagram)
		is_parsed = !query_hash(md, &hash);
	index = (u64)hash * NUMBER(RING_SLOTS) >> 32;
	table = bpf_map_lookup_elem(TABLES, &first);
	if (table)
		slot = bpf_map_lookup_elem(table, &index);
	if (!slot) {
		count->no_table++;
		return SK_PASS;
	}

	outcome = place(md, sockarray, slot, live,
			is_datagram ? bound_for(slot, live) : NO_BOUND);
	if (outcome == NOBODY_LIVE)
		count->fallback++;
	else if (outcome == NO_SOCKET)
		count->no_socket++;
	else if (md->migrating_sk)
		count->migration++;
	else if (!is_datagram)
		count->connection++;
	else if (!is_parsed)
		count->unparsed++;
	else if (outcome == PRIMARY)
		count->primary++;
	else if (outcome == BACKUP)
		count->backup++;
	else
		count->overflow++;
	return SK_PASS;
}
