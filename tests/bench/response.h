/*
 * response - the little of a response that is looked at: its numbers and its
 * NSID.
 */
#ifndef BENCH_RESPONSE_H
#define BENCH_RESPONSE_H

#include <stdbool.h>
#include <stdint.h>

#include "tally.h"

static int number_at(const uint8_t *at)
{
	return at[0] << 8 | at[1];
}

/* Return the end of the name at *at*, or 0 when it leaves the message. */
static int skip_name(const uint8_t *response, int size, int at)
{
	while (at < size && response[at] && response[at] < 64)
		at += 1 + response[at];
	if (at >= size)
		return 0;
	return at + (response[at] ? 2 : 1);
}

/* Return option 3 of the OPT of *response*, whose records start at *at*, or
 * NULL. */
static const uint8_t *nsid_of(const uint8_t *response, int size, int at, int *octets)
{
	int records = number_at(response + 6) + number_at(response + 8) +
		      number_at(response + 10);

	while (records-- > 0) {
		int end;

		at = skip_name(response, size, at);
		if (!at || at + 10 > size)
			break;
		end = at + 10 + number_at(response + at + 8);
		if (end > size)
			break;
		if (number_at(response + at) == 41)
			for (at += 10; at + 4 <= end;) {
				int length = number_at(response + at + 2);

				if (number_at(response + at) == 3 &&
				    at + 4 + length <= end) {
					*octets = length;
					return response + at + 4;
				}
				at += 4 + length;
			}
		at = end;
	}
	return NULL;
}

static void find_nsid(const uint8_t *response, int size, int at)
{
	int octets;
	const uint8_t *nsid = nsid_of(response, size, at, &octets);

	if (nsid)
		count_nsid(nsid, octets);
	else
		tally.without_nsid++;
}

#endif
