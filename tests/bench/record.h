/*
 * record - what became of each query, written to a file as it is known.
 *
 * tests/system/steady.py reads the same layout. Instants are CLOCK_REALTIME.
 */
#ifndef BENCH_RECORD_H
#define BENCH_RECORD_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "response.h"

#define ADDRESS_BASE 0x0a000000u /* 10.0.0.0 */

struct record {
	uint64_t sent_ns;
	uint64_t answered_ns; /* 0: no response */
	uint32_t name;        /* line of the names file, from 0 */
	uint8_t rcode;
	uint8_t is_right; /* the first record is the address 10.0.0.0 + name */
	char nsid[10];    /* who answered, cut off, zeroes behind */
};

static FILE *records;

/* Return whether the first record of *response* is the address of *name*. */
static bool is_right(const uint8_t *response, int size, int at, uint32_t name)
{
	uint32_t wanted = ADDRESS_BASE + name;

	at = skip_name(response, size, at);
	if (!at || at + 14 > size || !number_at(response + 6))
		return false;
	return number_at(response + at) == 1 && number_at(response + at + 8) == 4 &&
	       (uint32_t)number_at(response + at + 10) << 16 == (wanted & 0xffff0000) &&
	       number_at(response + at + 12) == (int)(wanted & 0xffff);
}

static void record_lost(uint32_t name, uint64_t sent_ns)
{
	struct record record = {.sent_ns = sent_ns, .name = name};

	if (records)
		fwrite(&record, sizeof(record), 1, records);
}

static void record_answer(uint32_t name, uint64_t sent_ns, uint64_t at_ns,
			  const uint8_t *response, int size, int question_end)
{
	struct record record = {
		.sent_ns = sent_ns,
		.answered_ns = at_ns,
		.name = name,
		.rcode = response[3] & 15,
		.is_right = is_right(response, size, question_end, name),
	};
	int length;
	const uint8_t *nsid = nsid_of(response, size, question_end, &length);

	if (!records)
		return;
	if (nsid)
		memcpy(record.nsid, nsid, length < 10 ? length : 10);
	fwrite(&record, sizeof(record), 1, records);
}

#endif
