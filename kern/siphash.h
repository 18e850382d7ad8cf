/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * siphash - the hash that turns a qname into a place on the ring.
 *
 * SipHash-1-3 over the lower-cased wire form without the root label, low 32 bits of the
 * result. dnsfront/ring/qhash.py is its twin, tests/vectors/qhash.json binds the two.
 * Keyed, so that nobody outside can pick names that all land on one worker.
 */
#ifndef DNSFRONT_SIPHASH_H
#define DNSFRONT_SIPHASH_H

#include "bcc.h"

#if !defined(KEY0) || !defined(KEY1)
#error "KEY0 and KEY1, the halves of the hash key read little-endian, come from the loader"
#endif
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the hash reads whole words of the qname, first octet lowest"
#endif

#define QNAME_WORDS 32 /* 254 octets without the root, and the length in the last word */
#define EVERY_OCTET(octet) (0x0101010101010101ULL * (octet))

struct siphash {
	u64 v0, v1, v2, v3;
};

static inline u64 rotate_left(u64 word, u32 bits)
{
	return word << bits | word >> (64 - bits);
}

static inline void siphash_round(struct siphash *s)
{
	s->v0 += s->v1;
	s->v1 = rotate_left(s->v1, 13) ^ s->v0;
	s->v0 = rotate_left(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotate_left(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotate_left(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotate_left(s->v1, 17) ^ s->v2;
	s->v2 = rotate_left(s->v2, 32);
}

/*
 * Lower the case of A to Z in eight octets at once, and touch nothing else (RFC 4343, 3).
 * Each sum sets its octet's top bit at or after the letter, and cannot carry over. A
 * label's length, at most 63, lies below 'A'.
 */
static inline u64 lower_case(u64 word)
{
	u64 low_bits = word & EVERY_OCTET(0x7f);
	u64 from_a = low_bits + EVERY_OCTET(0x80 - 'A');
	u64 after_z = low_bits + EVERY_OCTET(0x7f - 'Z');
	u64 is_letter = from_a & ~after_z & ~word & EVERY_OCTET(0x80);

	return word | is_letter >> 2;
}

/*
 * Hash the first @octets octets of @words; what follows them does not matter. The caller
 * promises octets < 8 * QNAME_WORDS, so that a round of the loop meets the last word.
 */
static inline u64 qname_digest(const u64 *words, u32 octets)
{
	u64 key0 = NUMBER(KEY0), key1 = NUMBER(KEY1);
	struct siphash s = {
		.v0 = key0 ^ 0x736f6d6570736575ULL,
		.v1 = key1 ^ 0x646f72616e646f6dULL,
		.v2 = key0 ^ 0x6c7967656e657261ULL,
		.v3 = key1 ^ 0x7465646279746573ULL,
	};
	u32 i;

	ROLLED
	for (i = 0; i < QNAME_WORDS; i++) {
		u64 word = lower_case(words[i]);
		u32 left = octets - 8 * i;

		if (left < 8)
			word = (word & ((1ULL << 8 * left) - 1)) | (u64)octets << 56;
		s.v3 ^= word;
		siphash_round(&s);
		s.v0 ^= word;
		if (left < 8)
			break;
	}
	s.v2 ^= 0xff;
	siphash_round(&s);
	siphash_round(&s);
	siphash_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

/* The part of the hash that placement goes by. */
static inline u32 qname_hash(const u64 *words, u32 octets)
{
	return (u32)qname_digest(words, octets);
}

#endif
