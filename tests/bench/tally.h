/*
 * tally - what came back, counted, and printed as one JSON object.
 */
#ifndef BENCH_TALLY_H
#define BENCH_TALLY_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "histogram.h"
#include "options.h"

#define NSIDS 64 /* as many workers as a front end may have */
#define NSID_MAX 64

struct nsid {
	char text[NSID_MAX + 1];
	uint64_t responses;
};

static struct {
	uint64_t sent, answered, lost, unexpected, wrong, truncated, blocked;
	uint64_t rcode[16];
	uint64_t without_nsid;
	struct nsid nsid[NSIDS];
	struct histogram latency, lag;
} tally;

static void count_nsid(const uint8_t *text, int size)
{
	if (size > NSID_MAX)
		size = NSID_MAX;
	for (int i = 0; i < NSIDS; i++) {
		struct nsid *known = &tally.nsid[i];

		if (!known->responses)
			memcpy(known->text, text, size);
		if (strlen(known->text) == (size_t)size &&
		    !memcmp(known->text, text, size)) {
			known->responses++;
			return;
		}
	}
	tally.without_nsid++;
}

static void print_histogram(const char *name, const struct histogram *histogram)
{
	printf(", \"%s\": {\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"p999\": %.1f, "
	       "\"max\": %.1f}",
	       name, histogram_at(histogram, 0.5) / 1e3,
	       histogram_at(histogram, 0.9) / 1e3, histogram_at(histogram, 0.99) / 1e3,
	       histogram_at(histogram, 0.999) / 1e3, histogram->max_ns / 1e3);
}

static double seconds_of(struct timeval time)
{
	return time.tv_sec + time.tv_usec / 1e6;
}

static void print_nsids(void)
{
	printf(", \"nsid\": {");
	for (int i = 0; i < NSIDS && tally.nsid[i].responses; i++) {
		printf("%s\"", i ? ", " : "");
		for (const char *c = tally.nsid[i].text; *c; c++)
			putchar(*c > ' ' && *c < 127 && *c != '"' && *c != '\\' ? *c
										: '?');
		printf("\": %lu", tally.nsid[i].responses);
	}
	printf("}, \"without_nsid\": %lu", tally.without_nsid);
}

static void report(double seconds)
{
	struct rusage used;

	getrusage(RUSAGE_SELF, &used);
	printf("{\"sent\": %lu, \"answered\": %lu, \"lost\": %lu, \"unexpected\": %lu, "
	       "\"wrong\": %lu, \"truncated\": %lu, \"blocked\": %lu, \"seconds\": %.4f, "
	       "\"qps\": %.1f, \"rcodes\": {",
	       tally.sent, tally.answered, tally.lost, tally.unexpected, tally.wrong,
	       tally.truncated, tally.blocked, seconds, tally.answered / seconds);
	for (int rcode = 0, first = 1; rcode < 16; rcode++) {
		if (!tally.rcode[rcode])
			continue;
		printf("%s\"%d\": %lu", first ? "" : ", ", rcode, tally.rcode[rcode]);
		first = 0;
	}
	printf("}, \"user_s\": %.4f, \"system_s\": %.4f", seconds_of(used.ru_utime),
	       seconds_of(used.ru_stime));
	print_histogram("latency_us", &tally.latency);
	if (options.rate)
		print_histogram("lag_us", &tally.lag);
	if (options.form.nsid)
		print_nsids();
	printf("}\n");
}

#endif
