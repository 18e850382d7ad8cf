/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dns - a bounded walk of a query's question (RFC 1035, 4.1).
 *
 * Plain means: QR clear, QDCOUNT 1, labels of 1 to 63 octets without compression, at most
 * 255 octets with the root, and qtype and qclass behind it. The opcode and all that
 * follows the question are the worker's business. Labels are binary (RFC 2181, 11), so
 * the walk goes by their lengths and never looks for a zero.
 */
#ifndef DNSFRONT_DNS_H
#define DNSFRONT_DNS_H

#include "bcc.h"
#include "siphash.h"

#define DNS_HEADER_OCTETS 12
#define QNAME_OCTETS_MAX 254 /* without the root label */
#define LABEL_OCTETS_MAX 63  /* a larger length octet is a pointer or reserved */
#define LABELS_MAX 127
#define QUESTION_OCTETS_MAX (QNAME_OCTETS_MAX + 1 + 4)
#define OPT_OCTETS 11 /* of an OPT record without options */

/*
 * The head of a message. On the stack, the pad puts the qname on a word's boundary, as
 * the verifier asks of a word read from there.
 */
struct message {
	u8 pad[4];
	u8 header[DNS_HEADER_OCTETS];
	union {
		u64 words[QNAME_WORDS + 1];
		u8 octets[8 * (QNAME_WORDS + 1)];
	} question;
};

/*
 * Return the octets of the qname in @message without the root, or -1 when its first
 * @octets hold no plain question. What stands behind those does not matter.
 */
static inline int qname_octets(const struct message *message, u32 octets)
{
	u32 position = 0;
	u32 i;

	if (message->header[2] & 0x80) /* QR: a response */
		return -1;
	if (message->header[4] != 0 || message->header[5] != 1) /* QDCOUNT */
		return -1;

	ROLLED
	for (i = 0; i <= LABELS_MAX; i++) {
		u8 label_octets = message->question.octets[position];

		if (label_octets == 0)
			break;
		if (label_octets > LABEL_OCTETS_MAX)
			return -1;
		position += 1 + label_octets;
		if (position > QNAME_OCTETS_MAX)
			return -1;
		/* Every round looks alike to the verifier, which then walks only one. */
		FORGET(position);
		position &= 0xff;
	}
	if (DNS_HEADER_OCTETS + position + 1 + 4 > octets)
		return -1;
	return position;
}

/*
 * Copy the head of the message at @offset of a packet of @length octets to @message, and
 * return the octets of its qname without the root, or -1 when the question is not plain.
 *
 * @message is all zeroes: where the copy ends, the walk meets a root label. The copy goes
 * through the helper because a large or fragmented datagram shows only its first octets
 * between data and data_end.
 */
static inline int read_question(void *ctx, u32 offset, u32 length,
				struct message *message)
{
	u32 octets = length - offset;

	if (length < offset + DNS_HEADER_OCTETS + 1 + 4)
		return -1;
	if (octets > DNS_HEADER_OCTETS + QUESTION_OCTETS_MAX)
		octets = DNS_HEADER_OCTETS + QUESTION_OCTETS_MAX;
	FORGET(octets);
	octets &= 0x1ff;
	/* The range again, as the verifier has just lost it; always true. */
	if (octets < 1 || octets > DNS_HEADER_OCTETS + QUESTION_OCTETS_MAX)
		return -1;
	if (bpf_skb_load_bytes(ctx, offset, message->header, octets))
		return -1;
	return qname_octets(message, octets);
}

#endif
