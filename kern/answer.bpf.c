/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * answer - the response to a hot name, from where its packet comes in.
 *
 * Runs for every packet of an interface. A plain query to an address of ours, whose
 * answer stands in the book of the worker that owns the name, goes back as its response,
 * octet for octet what the worker would say, and wakes nobody. All else passes on, to
 * other programs and to the workers, and is counted. It learns from workers alone.
 */
#include "bcc.h"

#define MAP_OF(name) MAP(name##_FD)
#define TABLES MAP_OF(TABLES)
#define LIVE MAP_OF(LIVE)
#define ADDRESSES MAP_OF(ADDRESSES)
#define SETS MAP_OF(SETS)
#define ANSWERS MAP_OF(ANSWERS)
#define ANSWERING MAP_OF(ANSWERING)
#define ANSWERED_BY MAP_OF(ANSWERED)
#define PASSED MAP_OF(PASSED)
#define FRAMES MAP_OF(FRAMES)

#if !defined(TABLES_FD) || !defined(LIVE_FD) || !defined(ADDRESSES_FD) ||          \
	!defined(CLIENTS4_FD) || !defined(CLIENTS6_FD) || !defined(SETS_FD) ||     \
	!defined(ANSWERS_FD) || !defined(ANSWERING_FD) || !defined(ANSWERED_FD) || \
	!defined(PASSED_FD) || !defined(FRAMES_FD)
#error "the descriptors of the maps come from the loader"
#endif
#if !defined(RING_SLOTS) || !defined(ROOM_OCTETS)
#error "RING_SLOTS and ROOM_OCTETS, the sizes of table and cells, come from the loader"
#endif

/* The longest question with an OPT record; what a cell holds behind its head. */
#define MESSAGE_OCTETS_MAX (DNS_HEADER_OCTETS + QUESTION_OCTETS_MAX + OPT_OCTETS)
#define MESSAGE_WORDS_MAX 34
#define QUESTION_WORDS_MAX 33
#define RECORDS_OCTETS_MAX 1208 /* of responses that fit a packet of 1280 octets */
#define RECORDS_WORDS_MAX (RECORDS_OCTETS_MAX / 8 + 1)
#define FRAME_WORDS_MAX 204
#define CELL_ROOM(cell) ((u8 *)(cell) + sizeof(struct answer))

#include "answer.h"

#define TCX_NEXT (-1)
#define PACKET_HOST 0

/* Count why a packet passes on. */
static inline void count(enum outcome outcome)
{
	u32 first = 0;
	struct passed *passed = bpf_map_lookup_elem(PASSED, &first);

	if (!passed)
		return; /* cannot happen; the verifier asks */
	if (outcome == NOT_OURS)
		passed->not_ours++;
	else if (outcome == UNUSUAL)
		passed->unusual++;
	else if (outcome == CLIENT)
		passed->client++;
	else if (outcome == ABSENT)
		passed->absent++;
	else if (outcome == EXPIRED)
		passed->expired++;
	else if (outcome == SIZE)
		passed->size++;
	else
		passed->torn++;
}

/* Count a response, for the worker and for the entry that it was made of. */
static inline void count_answered(const struct response *response)
{
	u32 worker_id = response->worker_id;
	struct answered *answered = bpf_map_lookup_elem(ANSWERED_BY, &worker_id);

	if (answered)
		answered->responses[response->kind % ANSWER_KINDS]++;
	__sync_fetch_and_add(&response->cell->hits, 1);
}

static inline int answer_xdp(struct xdp_md *ctx, bool keeps_partial)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	u32 first = 0, i, more;
	struct frame *frame = bpf_map_lookup_elem(FRAMES, &first);
	struct response response = {};
	enum outcome outcome;
	u64 *last;
	u8 *from;

	if (!frame)
		return XDP_PASS; /* cannot happen; the verifier asks */
	outcome = respond(ctx, data, data_end, ctx->ingress_ifindex, frame, &response,
			  keeps_partial);
	if (outcome != ANSWERED) {
		count(outcome);
		return XDP_PASS;
	}
	more = response.octets - (u32)(data_end - data);
	/*
	 * All of the packet is written anew, so it may as well grow at its head, where a
	 * driver leaves 256 octets. Behind the driver the note on a checksum would stay put.
	 */
	if (more && bpf_xdp_adjust_tail(ctx, more) &&
	    (keeps_partial || bpf_xdp_adjust_head(ctx, -(int)more))) {
		count(SIZE);
		return XDP_PASS;
	}

	data = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	from = frame->head + (response.at & 0x1f);
	more = (response.octets - 8) & 0x7ff;
	if (more > 8 * FRAME_WORDS_MAX - 64)
		return XDP_PASS; /* cannot happen; the verifier asks */
	last = data + more;
	if ((void *)(last + 1) > data_end)
		return XDP_PASS; /* nor that */
	*last = *(u64 *)(from + more);
	ROLLED
	for (i = 0; i < FRAME_WORDS_MAX - 4; i++) {
		u64 *to = data + 8 * i;

		if ((void *)(to + 1) > data_end)
			break;
		*to = *(u64 *)(from + 8 * i);
	}
	count_answered(&response);
	return XDP_TX;
}

/* In the driver: what leaves has a whole checksum, whatever came. */
int answer_native(struct xdp_md *ctx)
{
	return answer_xdp(ctx, false);
}

/* Behind the driver: the packet goes on saying that its checksum is half done. */
int answer_generic(struct xdp_md *ctx)
{
	return answer_xdp(ctx, true);
}

int answer_tc(struct __sk_buff *skb)
{
	u32 first = 0, octets = skb->len;
	struct frame *frame = bpf_map_lookup_elem(FRAMES, &first);
	struct response response = {};
	enum outcome outcome = NOT_OURS;

	if (!frame)
		return TCX_NEXT; /* cannot happen; the verifier asks */
	if (skb->pkt_type != PACKET_HOST || skb->vlan_present)
		goto pass;
	/* A driver may leave all but the first octets of a packet beside it. */
	if (skb->data_end - skb->data < octets &&
	    (octets > ETHERNET_OCTETS + IPV6_OCTETS + UDP_OCTETS + MESSAGE_OCTETS_MAX ||
	     bpf_skb_pull_data(skb, octets)))
		goto pass;
	outcome = respond(skb, (void *)(long)skb->data, (void *)(long)skb->data_end,
			  skb->ifindex, frame, &response, true);
	if (outcome != ANSWERED)
		goto pass;
	outcome = SIZE;
	octets = response.octets;
	if (octets != skb->len && bpf_skb_change_tail(skb, octets, 0))
		goto pass;
	FORGET(octets);
	octets &= 0x7ff;
	if (octets < 1 || octets > 8 * (FRAME_WORDS_MAX - 4) ||
	    bpf_skb_store_bytes(skb, 0, frame->head + (response.at & 0x1f), octets, 0))
		goto pass;
	count_answered(&response);
	return bpf_redirect(skb->ifindex, 0);
pass:
	count(outcome);
	return TCX_NEXT;
}
