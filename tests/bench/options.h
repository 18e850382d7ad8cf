/*
 * options - what the command line of dnsload asks for; its meaning stands in
 * dnsload.c.
 */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "question.h"

struct options {
	const char *server, *names, *records;
	int port, sockets, window;
	double seconds, timeout, rate, zipf;
	bool hold;
	uint64_t limit;
	struct query_form form;
};

static struct options options = {
	.sockets = 8,
	.window = 192,
	.seconds = 2,
	.timeout = 1,
};

static bool parse(int argc, char **argv)
{
	static const struct option known[] = {
		{"server", 1, NULL, 's'},
		{"port", 1, NULL, 'p'},
		{"names", 1, NULL, 'n'},
		{"seconds", 1, NULL, 'S'},
		{"limit", 1, NULL, 'l'},
		{"sockets", 1, NULL, 'c'},
		{"window", 1, NULL, 'w'},
		{"rate", 1, NULL, 'r'},
		{"zipf", 1, NULL, 'z'},
		{"random-label", 0, NULL, 'R'},
		{"edns", 0, NULL, 'e'},
		{"hold", 0, NULL, 'h'},
		{"nsid", 0, NULL, 'N'},
		{"timeout", 1, NULL, 't'},
		{"records", 1, NULL, 'F'},
		{0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1)
		switch (option) {
		case 's':
			options.server = optarg;
			break;
		case 'p':
			options.port = atoi(optarg);
			break;
		case 'n':
			options.names = optarg;
			break;
		case 'S':
			options.seconds = atof(optarg);
			break;
		case 'l':
			options.limit = strtoull(optarg, NULL, 10);
			break;
		case 'c':
			options.sockets = atoi(optarg);
			break;
		case 'w':
			options.window = atoi(optarg);
			break;
		case 'r':
			options.rate = atof(optarg);
			break;
		case 'z':
			options.zipf = atof(optarg);
			break;
		case 'R':
			options.form.random_label = true;
			break;
		case 'e':
			options.form.edns = true;
			break;
		case 'h':
			options.hold = true;
			break;
		case 'N':
			options.form.nsid = true;
			break;
		case 'F':
			options.records = optarg;
			break;
		case 't':
			options.timeout = atof(optarg);
			break;
		default:
			return false;
		}
	return optind == argc && options.server && options.names && options.port > 0 &&
	       options.port < 65536 && options.sockets > 0 && options.window > 0 &&
	       options.seconds > 0 && options.timeout > 0 && options.rate >= 0;
}

#endif
