/*
 * histogram - latencies in nanoseconds, kept with a relative error under one percent.
 *
 * Buckets are linear below 128 ns and then 128 to each doubling, so that the memory is
 * small and fixed, and adding costs a shift and an increment.
 */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

#define STEP_BITS 7
#define STEPS (1 << STEP_BITS)
#define BUCKETS ((64 - STEP_BITS + 1) * STEPS)

struct histogram {
	uint64_t count[BUCKETS];
	uint64_t total;
	uint64_t max_ns;
};

static unsigned bucket_of(uint64_t ns)
{
	int doublings;

	if (ns < STEPS)
		return ns;
	doublings = 63 - __builtin_clzll(ns) - STEP_BITS;
	return (doublings + 1) * STEPS + (ns >> doublings) - STEPS;
}

static uint64_t upper_end_ns(unsigned bucket)
{
	unsigned doublings;

	if (bucket < STEPS)
		return bucket;
	doublings = bucket / STEPS - 1;
	return ((uint64_t)(bucket % STEPS + STEPS + 1) << doublings) - 1;
}

static void histogram_add(struct histogram *histogram, uint64_t ns)
{
	histogram->count[bucket_of(ns)]++;
	histogram->total++;
	if (ns > histogram->max_ns)
		histogram->max_ns = ns;
}

/* Return the latency that *share* of all are at or below; 0 when there are none. */
static uint64_t histogram_at(const struct histogram *histogram, double share)
{
	uint64_t wanted = share * histogram->total + 0.5, seen = 0;
	unsigned bucket;

	if (!histogram->total)
		return 0;
	for (bucket = 0; bucket < BUCKETS; bucket++) {
		seen += histogram->count[bucket];
		if (seen >= wanted && seen)
			break;
	}
	return upper_end_ns(bucket) < histogram->max_ns ? upper_end_ns(bucket)
							: histogram->max_ns;
}

#endif
