/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * answer - from a packet with a query to a packet with its response.
 *
 * respond() reads the packet and makes the response in a frame of memory beside it, so
 * that until all is known nothing of the packet has changed and it can still pass on.
 * Sums of the Internet checksum are of 16-bit words, first octet lowest, as the machine
 * reads them; an octet at an odd place counts 256 times, as if two neighbours had
 * changed places.
 */
#ifndef DNSFRONT_ANSWER_H
#define DNSFRONT_ANSWER_H

#include "bcc.h"
#include "dns.h"
#include "maps.h"
#include "packet.h"
#include "placement.h"
#include "siphash.h"

#define NANOSECONDS 1000000000ULL
#define PLAIN_UDP_OCTETS 512 /* what a client without EDNS takes, and any with it */

/* Header flags of a query, in the u16 as the machine reads it. */
#define FLAG_RD 0x0001
#define FLAG_AD 0x2000
#define FLAG_CD 0x1000 /* 2 of the view, shifted by 11 */

/* A query's OPT record, its first eight octets as one word, size and DO left out. */
#define OPT_WORD 0x0000000000290000ULL
#define OPT_SIZE_SHIFT 24
#define OPT_DO (1ULL << 63)

/* Header counts as one word: QDCOUNT 1, and ARCOUNT 1 where there is an OPT record. */
#define ONE_QUESTION 0x0000000000000100ULL
#define ONE_ADDITIONAL (1ULL << 56)

/* What respond() knows of a packet once it can be answered. */
struct response {
	struct answer *cell;
	u32 worker_id;
	u32 kind;
	u32 at;     /* of the packet in the frame */
	u32 octets; /* of the packet */
};

/*
 * Read the message of a packet into @frame and return the octets of its qname, or -1 if
 * it is no query that a worker would know by its header and its OPT record alone. The
 * record, of no more than its eleven octets, comes back as its first eight; 0 for none.
 */
static inline int read_query(void *data, void *data_end, const struct packet *packet,
			     struct frame *frame, u64 *opt)
{
	struct message *message = (struct message *)(frame->head + FRAME_MESSAGE_AT);
	u32 octets = packet->message_octets - DNS_HEADER_OCTETS, spare, words;
	u8 *from = data + packet->message_at;
	u64 *last;
	u64 counts;
	int qname;
	u32 end, i;

	/* Bounds for the verifier, which has lost them; they change nothing. */
	FORGET(octets);
	octets &= 0x1ff;
	words = octets / 8;
	spare = octets & 7;
	last = (u64 *)(from + DNS_HEADER_OCTETS - 8 + octets);
	if ((void *)(from + DNS_HEADER_OCTETS) > data_end ||
	    (void *)(last + 1) > data_end)
		return -1; /* cannot happen; the verifier asks */
	*(u32 *)message->header = *(u32 *)from;
	counts = *(u64 *)(from + 4);
	*(u64 *)(message->header + 4) = counts;
	if (message->header[2] & ~(FLAG_RD & 0xff) ||
	    message->header[3] & ~((FLAG_AD | FLAG_CD) >> 8))
		return -1;
	if (counts != ONE_QUESTION && counts != (ONE_QUESTION | ONE_ADDITIONAL))
		return -1;

	if (spare)
		*(u64 *)(frame->rest + 8 * words) = *last >> 8 * (8 - spare);
	from += DNS_HEADER_OCTETS;
	ROLLED
	for (i = 0; i < MESSAGE_WORDS_MAX; i++) {
		if (i >= words || (void *)(from + 8) > data_end)
			break;
		*(u64 *)(frame->rest + 8 * i) = *(u64 *)from;
		from += 8;
	}

	qname = qname_octets(message, DNS_HEADER_OCTETS + octets);
	if (qname < 0)
		return -1;
	end = qname + 1 + 4;
	if (counts == ONE_QUESTION) {
		*opt = 0;
		return end == octets ? qname : -1;
	}
	if (end + OPT_OCTETS != octets)
		return -1;
	*opt = *(u64 *)(frame->rest + end);
	if ((*opt & ~(0xffffULL << OPT_SIZE_SHIFT | OPT_DO)) != OPT_WORD ||
	    *(u32 *)(frame->rest + end + 8) & 0xffffff)
		return -1;
	return qname;
}

/* Mix the hash of a name with the type, the class and the view that are asked for. */
static inline u64 tag_of(u64 digest, u32 tail, u32 view)
{
	u64 word = digest ^ tail ^ (u64)view << 32;

	word = (word ^ word >> 33) * 0xff51afd7ed558ccdULL;
	word = (word ^ word >> 33) * 0xc4ceb9fe1a85ec53ULL;
	word ^= word >> 33;
	return word ? word : 1;
}

/* Find the first live worker of the name's preference list; 0 if there is none. */
static inline u32 owner_of(u64 digest)
{
	u32 first = 0, index = (u64)(u32)digest * NUMBER(RING_SLOTS) >> 32;
	void *table = bpf_map_lookup_elem(TABLES, &first);
	struct live *live = bpf_map_lookup_elem(LIVE, &first);
	struct slot *slot;

	if (!table || !live)
		return 0;
	slot = bpf_map_lookup_elem(table, &index);
	return slot ? first_live(slot, live) : 0;
}

/* Find the cell that may hold the answer of this tag in the worker's book. */
static inline struct answer *cell_of(u32 worker_id, u64 tag)
{
	u32 index = 0, way = ANSWER_WAYS, i;
	struct answer_set *set;
	void *sets = bpf_map_lookup_elem(SETS, &worker_id);
	void *answers = bpf_map_lookup_elem(ANSWERS, &worker_id);

	if (!sets || !answers)
		return 0;
	set = bpf_map_lookup_elem(sets, &index);
	if (!set)
		return 0;
	index = 1 + ((tag >> 32) * (u32)set->tag[0] >> 32);
	set = bpf_map_lookup_elem(sets, &index);
	if (!set)
		return 0;
#pragma unroll
	for (i = 0; i < ANSWER_WAYS; i++) {
		if (*(volatile u64 *)&set->tag[i] == tag)
			way = i;
	}
	if (way == ANSWER_WAYS)
		return 0;
	index = ANSWER_WAYS * (index - 1) + way;
	return bpf_map_lookup_elem(answers, &index);
}

/*
 * Compare the question in @frame, of @octets, with that of @cell, case left out but for
 * type and class. @sum is what its octets, as they came, add to the checksum.
 */
static inline bool is_question_of(const struct answer *cell, const struct frame *frame,
				  u32 octets, u64 *sum)
{
	u64 word, mask = (1ULL << 8 * (octets & 7)) - 1, words = octets / 8, at, i;

	ROLLED
	for (i = 0; i < QUESTION_WORDS_MAX; i++) {
		if (i == words)
			break;
		word = *(u64 *)(frame->rest + 8 * i);
		if (lower_case(word) != *(u64 *)(CELL_ROOM(cell) + 8 * i))
			return false;
		*sum += halves(word);
	}
	/* What is left of the last word, nothing if it was whole. */
	at = 8 * words;
	FORGET(at);
	at &= 0x1f8;
	if (at > 8 * QUESTION_WORDS_MAX)
		return false; /* cannot happen; the verifier asks */
	word = *(u64 *)(frame->rest + at) & mask;
	*sum += halves(word);
	return lower_case(word) == (*(u64 *)(CELL_ROOM(cell) + at) & mask);
}

/*
 * Copy the records of @cell behind the question in @frame, and return how many octets
 * they are, or -1 if that cannot be: then they have just been written.
 */
static inline int copy_records(const struct answer *cell, struct frame *frame,
			       u32 question_octets)
{
	u32 octets = cell->records_octets;
	u32 from = (question_octets + 7) & ~7U, to = question_octets;
	u32 i;

	ROLLED
	for (i = 0; i < RECORDS_WORDS_MAX; i++) {
		if (8 * i >= octets)
			return octets;
		/* Or the compiler would reckon with sums that the verifier cannot bound. */
		FORGET(from);
		FORGET(to);
		if (from > NUMBER(ROOM_OCTETS) - 8 || to > FRAME_REST_OCTETS - 32)
			return -1;
		*(u64 *)(frame->rest + to) = *(u64 *)(CELL_ROOM(cell) + from);
		from += 8;
		to += 8;
	}
	return -1;
}

/* Age the TTLs of the records in @frame, and return what that takes off their sum. */
static inline u64 age_records(const struct answer *cell, struct frame *frame,
			      u32 question_octets, u32 age_s)
{
	u64 sum = 0;
	u32 i;

	ROLLED
	for (i = 0; i < ANSWER_TTLS; i++) {
		u32 offset = cell->ttl_at[i], at = question_octets + offset, ttl_s,
		    less_s;
		u32 *ttl;

		if (i >= cell->ttls || at > FRAME_REST_OCTETS - 32)
			break;
		ttl = (u32 *)(frame->rest + at);
		ttl_s = bpf_ntohl(*ttl);
		less_s = ttl_s < age_s ? ttl_s : age_s;
		*ttl = bpf_htonl(ttl_s - less_s);
		/* The TTL's own octets are highest first: at an even place they swap. */
		sum += offset & 1 ? folded(less_s) : swapped(folded(less_s));
	}
	return sum;
}

/*
 * Make the response to the query in a packet, in @frame. Nothing else is changed.
 * @keeps_partial: who takes the response goes by what the packet says of its checksum.
 */
static inline enum outcome respond(void *ctx, void *data, void *data_end, u32 ifindex,
				   struct frame *frame, struct response *response,
				   bool keeps_partial)
{
	struct message *message = (struct message *)(frame->head + FRAME_MESSAGE_AT);
	struct packet packet = {};
	enum outcome outcome = read_packet(data, data_end, ifindex, frame, &packet);
	u32 first = 0, limit = PLAIN_UDP_OCTETS, view, tail, end, octets;
	u32 mtu_octets = 0, now_s, age_s;
	struct answering *answering;
	u64 opt, digest, serial, head, sum, question_sum = 0, records_sum;
	struct answer *cell;
	u16 flags;
	int qname, records;

	if (outcome != ANSWERED)
		return outcome;
	answering = bpf_map_lookup_elem(ANSWERING, &first);
	if (!answering || !answering->is_on)
		return NOT_OURS;
	qname = read_query(data, data_end, &packet, frame, &opt);
	if (qname < 0 || qname > QNAME_OCTETS_MAX)
		return UNUSUAL;
	end = qname + 1 + 4;
	flags = *(u16 *)(message->header + 2);
	/* By shifts: each branch up here doubles what the verifier walks below. */
	view = (flags & FLAG_RD) | (flags >> 11 & 2) | opt >> 63 << 2;

	digest = qname_digest((u64 *)frame->rest, qname);
	response->worker_id = owner_of(digest);
	tail = *(u32 *)(frame->rest + qname + 1);
	cell = cell_of(response->worker_id, tag_of(digest, tail, view));
	if (!cell)
		return ABSENT;
	response->cell = cell;

	serial = *(volatile u64 *)&cell->serial;
	if (serial & 1)
		return TORN;
	if (cell->tail != tail || cell->view != view || cell->question_octets != end ||
	    !is_question_of(cell, frame, end, &question_sum))
		return ABSENT;
	sum = packet.sum + *(u32 *)message->header +
	      halves(*(u64 *)(message->header + 4)) + question_sum;
	if (opt)
		sum += end & 1 ? swapped(folded(halves(opt))) : halves(opt);
	if (!is_checksum_plain(&packet, sum))
		return UNUSUAL;
	now_s = bpf_ktime_get_coarse_ns() / NANOSECONDS;
	if (now_s >= cell->until_s)
		return EXPIRED;

	records = copy_records(cell, frame, end);
	if (records < 0 || records > RECORDS_OCTETS_MAX)
		return TORN;
	octets = DNS_HEADER_OCTETS + end + records;
	if (opt) {
		octets += OPT_OCTETS;
		limit = swapped(opt >> OPT_SIZE_SHIFT & 0xffff);
		if (limit < PLAIN_UDP_OCTETS)
			limit = PLAIN_UDP_OCTETS;
		if (limit > answering->udp_size)
			limit = answering->udp_size;
	}
	if (octets > limit)
		return SIZE;
	age_s = now_s - cell->aged_at_s;
	records_sum = cell->sum;
	if ((s32)age_s > 0)
		records_sum +=
			0xffff * ANSWER_TTLS - age_records(cell, frame, end, age_s);
	head = *(u64 *)cell->head;
	response->kind = cell->kind;
	asm volatile("" : : : "memory");
	if (*(volatile u64 *)&cell->serial != serial)
		return TORN;

	/* Header, OPT record and sums of the response. */
	if (!(flags & FLAG_AD) && !(opt & OPT_DO))
		head &= ~(u64)FLAG_AD; /* RFC 6840, 5.7 and 5.8 */
	*(u16 *)(message->header + 2) = head | (flags & (FLAG_RD | FLAG_CD));
	head = (head & ~0xffffULL) | ONE_QUESTION;
	sum = *(u32 *)message->header + question_sum;
	records_sum = folded(records_sum);
	sum += end & 1 ? swapped(records_sum) : records_sum;
	if (opt) {
		u32 at = end + records, size = answering->udp_size;

		opt = OPT_WORD | (u64)swapped(size & 0xffff) << OPT_SIZE_SHIFT |
		      (opt & OPT_DO);
		*(u64 *)(frame->rest + at) = opt;
		*(u32 *)(frame->rest + at + 8) = 0;
		sum += at & 1 ? swapped(folded(halves(opt))) : halves(opt);
		/* ARCOUNT, highest octet first, one more. */
		head = (head & ~(0xffffULL << 48)) |
		       (u64)swapped((swapped(head >> 48) + 1) & 0xffff) << 48;
	}
	*(u64 *)(message->header + 4) = head;
	sum += halves(head);

	if (packet.is_to_wildcard && !is_for_wildcard(ctx, frame, packet.is_ipv6))
		return NOT_OURS;
	if (bpf_check_mtu(ctx, 0, &mtu_octets, octets - packet.message_octets, 0))
		return SIZE;
	response->at = FRAME_MESSAGE_AT + 4 - packet.message_at;
	response->octets = packet.message_at + octets;
	write_packet(frame, &packet, octets, sum, keeps_partial);
	return ANSWERED;
}

#endif
