/*
 * response - the little of a response that is looked at: its numbers and its NSID.
 */
#ifndef BENCH_RESPONSE_H
#define BENCH_RESPONSE_H

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

/* Look for option 3 in the OPT of *response*, whose records start at *at*. */
static void find_nsid(const uint8_t *response, int size, int at)
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
					count_nsid(response + at + 4, length);
					return;
				}
				at += 4 + length;
			}
		at = end;
	}
	tally.without_nsid++;
}

#endif
