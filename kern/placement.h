/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * placement - who of a slot's preference list is there.
 */
#ifndef DNSFRONT_PLACEMENT_H
#define DNSFRONT_PLACEMENT_H

#include "bcc.h"
#include "maps.h"

/* Nobody, worker_id 0, is never live: the supervisor leaves that bit alone. */
static inline bool is_live(const struct live *live, u32 worker_id)
{
	u64 bits = worker_id < 64 ? live->bits[0] : live->bits[1];

	return worker_id <= MAX_WORKER_ID && bits >> (worker_id & 63) & 1;
}

static inline u32 first_live(const struct slot *slot, const struct live *live)
{
	u32 i;

	ROLLED
	for (i = 0; i < PREFERENCES; i++) {
		if (is_live(live, slot->worker_id[i]))
			return slot->worker_id[i];
	}
	return 0;
}

#endif
