/*
 * question - queries made ready before the clock starts, and the order they go out in.
 *
 * A names file has one "NAME [TYPE]" a line. Everything but the id and the random label
 * is written once, here; sending copies some forty octets.
 */
#ifndef BENCH_QUESTION_H
#define BENCH_QUESTION_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEADER 12
#define LABEL 16 /* octets of a random label: 64 bits in hex */
#define LABEL_AT (HEADER + 1)
#define QUERY_MAX 300 /* header, 255 octets of name, type, class, OPT with NSID */
#define DRAWS (1 << 20)

struct query {
	uint16_t size;         /* of the whole query */
	uint16_t question_end; /* where a response must still equal the query */
	uint8_t octets[QUERY_MAX];
};

struct questions {
	struct query *query;
	uint32_t count;
	uint32_t *draw; /* DRAWS indices by popularity, or NULL: in the file's order */
};

struct query_form {
	bool random_label;
	bool edns;
	bool nsid; /* implies edns */
};

static uint64_t random_state = 0x9e3779b97f4a7c15ull;

/* SplitMix64: any seed will do, and one step costs three multiplications. */
static uint64_t random_u64(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* Between 0 and 1, neither included, so that a logarithm can be taken. */
static double random_unit(void)
{
	return ((random_u64() >> 12) + 0.5) * 0x1p-52;
}

static int qtype_of(const char *text)
{
	static const struct {
		const char *mnemonic;
		int value;
	} known[] = {
		{"A", 1},    {"NS", 2},  {"CNAME", 5}, {"SOA", 6},
		{"PTR", 12}, {"MX", 15}, {"TXT", 16},  {"AAAA", 28},
		{"SRV", 33}, {"DS", 43}, {"SVCB", 64}, {"HTTPS", 65},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (!strcasecmp(text, known[i].mnemonic))
			return known[i].value;
	return atoi(text);
}

/* Append the wire form of *text* and return its end, or NULL when it is no name. */
static uint8_t *put_name(uint8_t *at, const char *text)
{
	uint8_t *start = at;

	while (*text && strcmp(text, ".")) {
		size_t length = strcspn(text, ".");

		if (!length || length > 63 || at - start + length > 253)
			return NULL;
		*at++ = length;
		memcpy(at, text, length);
		at += length;
		text += length + (text[length] == '.');
	}
	*at++ = 0;
	return at;
}

static uint8_t *put_opt(uint8_t *at, bool nsid)
{
	/* Root, OPT, 1232 octets, no extended rcode, version 0, no flags, no data. */
	static const uint8_t opt[11] = {0, 0, 41, 0x04, 0xd0};
	static const uint8_t ask_nsid[4] = {0, 3, 0, 0};

	memcpy(at, opt, sizeof(opt));
	at += sizeof(opt);
	if (!nsid)
		return at;
	at[-1] = sizeof(ask_nsid);
	memcpy(at, ask_nsid, sizeof(ask_nsid));
	return at + sizeof(ask_nsid);
}

static bool make_query(struct query *query, const char *name, int qtype,
		       const struct query_form *form)
{
	uint8_t *at = query->octets + HEADER;

	memset(query, 0, sizeof(*query));
	query->octets[2] = 1; /* RD */
	query->octets[5] = 1; /* QDCOUNT */
	query->octets[11] = form->edns || form->nsid;
	if (form->random_label) {
		*at = LABEL;
		at += 1 + LABEL;
	}
	at = put_name(at, name);
	if (!at || at - query->octets - HEADER > 255 || qtype < 1 || qtype > 65535)
		return false;
	*at++ = qtype >> 8;
	*at++ = qtype;
	*at++ = 0;
	*at++ = 1;
	query->question_end = at - query->octets;
	if (form->edns || form->nsid)
		at = put_opt(at, form->nsid);
	query->size = at - query->octets;
	return true;
}

/* Read *path* and return how many queries it makes, or -1 with a sentence on stderr. */
static long read_questions(struct questions *all, const char *path,
			   const struct query_form *form)
{
	FILE *file = fopen(path, "r");
	char line[512], name[300], type[16];
	uint32_t room = 0;

	if (!file) {
		perror(path);
		return -1;
	}
	while (fgets(line, sizeof(line), file)) {
		int fields = sscanf(line, "%299s %15s", name, type);

		if (fields < 1 || *name == '#')
			continue;
		if (all->count == room) {
			room = room ? 2 * room : 1024;
			all->query = realloc(all->query, room * sizeof(*all->query));
			if (!all->query)
				abort();
		}
		if (!make_query(&all->query[all->count], name,
				fields > 1 ? qtype_of(type) : 1, form)) {
			fprintf(stderr, "%s: got \"%s\", want NAME [TYPE]\n", path, name);
			fclose(file);
			return -1;
		}
		all->count++;
	}
	fclose(file);
	if (!all->count)
		fprintf(stderr, "%s: no names in it\n", path);
	return all->count ? (long)all->count : -1;
}

/* Draw ahead of time, the name of line n with a weight of n to the power -*skew*. */
static void draw_zipf(struct questions *all, double skew)
{
	double *below = malloc(all->count * sizeof(*below)), sum = 0;

	all->draw = malloc(DRAWS * sizeof(*all->draw));
	if (!below || !all->draw)
		abort();
	for (uint32_t i = 0; i < all->count; i++)
		below[i] = sum += pow(i + 1, -skew);
	for (uint32_t i = 0; i < DRAWS; i++) {
		double wanted = random_unit() * sum;
		uint32_t low = 0, high = all->count - 1;

		while (low < high) {
			uint32_t middle = (low + high) / 2;

			if (below[middle] < wanted)
				low = middle + 1;
			else
				high = middle;
		}
		all->draw[i] = low;
	}
	free(below);
}

#endif
