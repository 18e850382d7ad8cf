/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * qhash - the hash of steer, where BPF_PROG_TEST_RUN can reach it.
 *
 * A SCHED_CLS program over an Ethernet frame whose payload is a DNS message: returns the
 * hash of its qname, or 0 when the question is not plain.
 */
#include "dns.h"
#include "siphash.h"

int qhash(struct __sk_buff *skb)
{
	struct message message = {};
	int octets = read_question(skb, 14, skb->len, &message);

	return octets < 0 ? 0 : qname_hash(message.question.words, octets);
}
