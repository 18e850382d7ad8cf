/*
 * dnsload - put DNS queries on a UDP server and say what came back, as one JSON
 * object.
 *
 *   dnsload --server ADDRESS --port N --names FILE [option ...]
 *
 *   --seconds S       send for S seconds (default 2)
 *   --limit N         stop after N queries, in the order of FILE: to fill a
 * cache
 *   --sockets N       source ports (default 8; 1 is a single busy client)
 *   --window N        closed loop: queries in flight, all sockets together
 * (default 192)
 *   --rate QPS        open loop: arrivals at random (Poisson) with this mean,
 * whatever the server does
 *   --zipf S          draw names by line number, Zipf(S), instead of in turn
 *   --random-label    16 hex digits before every name: no cache can know the
 * answer
 *   --edns            add an OPT with 1232 octets
 *   --nsid            ask for the NSID and count the answers by it
 *   --timeout S       a query without a response after S seconds is lost
 * (default 1)
 *   --records FILE    write what became of each query, as record.h says
 *   --hold            stop (SIGSTOP) before the first query and after the last response
 *
 * SIGTERM ends the sending early; what is on its way is still waited for.
 *
 * It never waits on a socket, so no server pays for waking it. The closed loop
 * keeps a backlog at the server; its latencies tell the window and little else.
 * The open loop is what latency is measured with: a response's instant is the
 * kernel's receive time stamp, and how late the queries left is reported beside
 * it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

#include "options.h"
#include "question.h"
#include "record.h"
#include "response.h"
#include "tally.h"

#define BATCH 64
#define RESPONSE_MAX 4096
#define IDS 65536
#define TICK_NS 100000  /* closed loop: a nap beside a backlog */
#define LOOK_NS 1000000 /* open loop: between two looks for responses */

/* One query that waits; numbers never repeat, ids are their low 16 bits. */
struct pending {
	uint64_t number;
	uint64_t sent_ns;
	uint64_t label;
	uint32_t query;
	bool waits;
};

struct client {
	int fd;
	uint64_t next, oldest;
	struct pending pending[IDS];
};

static struct questions questions;
static struct client **clients;
static uint64_t position, in_flight;

static uint8_t octets[BATCH][RESPONSE_MAX];
static uint8_t control[BATCH][CMSG_SPACE(sizeof(struct timespec))];
static struct iovec part[BATCH];
static struct mmsghdr message[BATCH];

/* CLOCK_REALTIME, because the kernel's receive time stamps are. */
static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static void sleep_ns(uint64_t ns)
{
	struct timespec wait = {ns / 1000000000, ns % 1000000000};

	nanosleep(&wait, NULL);
}

/* ---- sending */

static void put_label(uint8_t *at, uint64_t label)
{
	for (int digit = 0; digit < LABEL; digit++, label >>= 4)
		at[digit] = "0123456789abcdef"[label & 15];
}

static uint32_t next_query(void)
{
	uint64_t turn = position++;

	if (questions.draw)
		return questions.draw[turn % DRAWS];
	return turn % questions.count;
}

/* Write the next query of *client* into *into*; false when no id is free. */
static bool prepare(struct client *client, uint8_t *into, uint16_t *size, uint64_t now)
{
	struct pending *pending = &client->pending[client->next % IDS];
	const struct query *query;

	/* A lost query holds its id until it times out: step over it. */
	for (int tries = 0; pending->waits; tries++) {
		if (tries == IDS)
			return false;
		pending = &client->pending[++client->next % IDS];
	}
	*pending =
		(struct pending){client->next++, now, random_u64(), next_query(), true};
	query = &questions.query[pending->query];
	memcpy(into, query->octets, query->size);
	into[0] = pending->number >> 8;
	into[1] = pending->number;
	if (options.form.random_label)
		put_label(into + LABEL_AT, pending->label);
	*size = query->size;
	return true;
}

static void send_queries(struct client *client, int count)
{
	while (count > 0) {
		int batch = count < BATCH ? count : BATCH, made = 0, sent;
		uint64_t before = client->next, now = now_ns();
		uint16_t size;

		while (made < batch && prepare(client, octets[made], &size, now)) {
			part[made] = (struct iovec){octets[made], size};
			message[made].msg_hdr =
				(struct msghdr){.msg_iov = &part[made], .msg_iovlen = 1};
			made++;
		}
		sent = made ? sendmmsg(client->fd, message, made, 0) : 0;
		if (sent < 0)
			sent = 0; /* ECONNREFUSED of an earlier one, or no buffer */
		tally.sent += sent;
		in_flight += sent;
		tally.blocked += batch - sent;
		/* What did not leave is forgotten: its place in the file is skipped. */
		for (uint64_t number = before, kept = 0; number < client->next;
		     number++) {
			struct pending *pending = &client->pending[number % IDS];

			if (pending->number != number || !pending->waits)
				continue;
			if (kept++ >= (uint64_t)sent)
				pending->waits = false;
		}
		count -= batch;
	}
}

/* ---- receiving */

/* Tell whether *response* repeats the question of *pending*, octet for octet.
 */
static bool repeats_question(const struct pending *pending, const uint8_t *response,
			     int size)
{
	const struct query *query = &questions.query[pending->query];
	int from = HEADER;
	uint8_t label[LABEL];

	if (size < query->question_end)
		return false;
	if (options.form.random_label) {
		put_label(label, pending->label);
		if (memcmp(response + LABEL_AT, label, LABEL))
			return false;
		from = LABEL_AT + LABEL;
	}
	return !memcmp(response + from, query->octets + from, query->question_end - from);
}

static void take_response(struct client *client, const uint8_t *response, int size,
			  uint64_t at_ns)
{
	struct pending *pending;

	if (size < HEADER || !(response[2] & 0x80)) {
		tally.unexpected++;
		return;
	}
	pending = &client->pending[number_at(response)];
	if (!pending->waits) {
		tally.unexpected++; /* late, or twice */
		return;
	}
	if (!repeats_question(pending, response, size)) {
		tally.wrong++;
		return;
	}
	pending->waits = false;
	in_flight--;
	tally.answered++;
	tally.rcode[response[3] & 15]++;
	tally.truncated += response[2] >> 1 & 1;
	histogram_add(&tally.latency,
		      at_ns > pending->sent_ns ? at_ns - pending->sent_ns : 0);
	record_answer(pending->query, pending->sent_ns, at_ns, response, size,
		      questions.query[pending->query].question_end);
	if (options.form.nsid)
		find_nsid(response, size, questions.query[pending->query].question_end);
}

/* Return when *header* arrived, as the kernel says, or *otherwise*. */
static uint64_t arrived_ns(struct msghdr *header, uint64_t otherwise)
{
	struct cmsghdr *item = header->msg_controllen ? CMSG_FIRSTHDR(header) : NULL;
	struct timespec stamp;

	if (!item || item->cmsg_type != SCM_TIMESTAMPNS)
		return otherwise;
	memcpy(&stamp, CMSG_DATA(item), sizeof(stamp));
	return stamp.tv_sec * 1000000000ull + stamp.tv_nsec;
}

static void receive(struct client *client)
{
	int count;

	do {
		uint64_t now;

		for (int i = 0; i < BATCH; i++) {
			part[i] = (struct iovec){octets[i], RESPONSE_MAX};
			message[i].msg_hdr = (struct msghdr){
				.msg_iov = &part[i],
				.msg_iovlen = 1,
				.msg_control = options.rate ? control[i] : NULL,
				.msg_controllen = options.rate ? sizeof(control[i]) : 0,
			};
		}
		count = recvmmsg(client->fd, message, BATCH, MSG_DONTWAIT, NULL);
		now = now_ns();
		for (int i = 0; i < count; i++)
			take_response(client, octets[i], message[i].msg_len,
				      arrived_ns(&message[i].msg_hdr, now));
	} while (count == BATCH);
}

/* Give up what has waited too long. Numbers rise with time, so the oldest come
 * first. */
static void expire(struct client *client, uint64_t now)
{
	uint64_t patience_ns = options.timeout * 1e9;

	for (; client->oldest < client->next; client->oldest++) {
		struct pending *pending = &client->pending[client->oldest % IDS];

		if (pending->number != client->oldest || !pending->waits)
			continue;
		if (now < pending->sent_ns + patience_ns)
			break;
		pending->waits = false;
		in_flight--;
		tally.lost++;
		record_lost(pending->query, pending->sent_ns);
	}
}

static void receive_all(void)
{
	uint64_t now;

	for (int i = 0; i < options.sockets; i++)
		receive(clients[i]);
	now = now_ns();
	for (int i = 0; i < options.sockets; i++)
		expire(clients[i], now);
}

/* ---- the two loops */

static volatile sig_atomic_t is_over;

static void on_sigterm(int number)
{
	(void)number;
	is_over = 1;
}

static bool may_send(uint64_t now, uint64_t end)
{
	return !is_over && now < end && (!options.limit || position < options.limit);
}

static void closed_loop(uint64_t end)
{
	while (may_send(now_ns(), end)) {
		uint64_t room = options.window - in_flight;

		/* While a backlog of three quarters is left, the server stays busy. */
		if (4 * room < (uint64_t)options.window) {
			sleep_ns(TICK_NS);
			receive_all();
			continue;
		}
		if (options.limit && room > options.limit - position)
			room = options.limit - position;
		for (int i = 0; i < options.sockets && room; i++) {
			uint64_t left = options.sockets - i;
			uint64_t share = (room + left - 1) / left;

			send_queries(clients[i], share);
			room -= share;
		}
		receive_all();
	}
}

static void open_loop(uint64_t end)
{
	double due_ns = now_ns(), mean_ns = 1e9 / options.rate;
	uint64_t now, looked_at = 0;
	int turn = 0;

	while (may_send(now = now_ns(), end)) {
		while (due_ns <= now && may_send(now, end)) {
			send_queries(clients[turn++ % options.sockets], 1);
			now = now_ns();
			histogram_add(&tally.lag, now > due_ns ? now - due_ns : 0);
			due_ns -= log(random_unit()) * mean_ns;
		}
		/* Responses bear their own time stamps, so they can wait here. */
		if (now > looked_at + LOOK_NS) {
			receive_all();
			looked_at = now;
		}
		now = now_ns();
		if (due_ns > now)
			sleep_ns(due_ns - now);
	}
}

/* ---- start and end */

static bool open_clients(void)
{
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
				  .sin6_port = htons(options.port)};
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(options.port)};
	bool is_v4 = inet_pton(AF_INET, options.server, &v4.sin_addr) == 1;
	const int on = 1, room = 8 << 20;

	if (!is_v4 && inet_pton(AF_INET6, options.server, &v6.sin6_addr) != 1) {
		fprintf(stderr, "--server: got \"%s\", want an address\n",
			options.server);
		return false;
	}
	clients = calloc(options.sockets, sizeof(*clients));
	for (int i = 0; i < options.sockets; i++) {
		int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0);

		clients[i] = calloc(1, sizeof(**clients));
		clients[i]->fd = fd;
		clients[i]->next = clients[i]->oldest = random_u64() % IDS;
		if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)))
			setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
		if (options.rate)
			setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on));
		if (is_v4 ? connect(fd, (struct sockaddr *)&v4, sizeof(v4))
			  : connect(fd, (struct sockaddr *)&v6, sizeof(v6))) {
			perror("connect");
			return false;
		}
	}
	return true;
}

int main(int argc, char **argv)
{
	uint64_t start, end, sent_all;

	if (!parse(argc, argv)) {
		fprintf(stderr, "usage: the head of tests/bench/dnsload.c\n");
		return 64;
	}
	random_state ^= now_ns();
	if (read_questions(&questions, options.names, &options.form) < 0 ||
	    !open_clients())
		return 1;
	if (options.zipf > 0)
		draw_zipf(&questions, options.zipf);
	prctl(PR_SET_TIMERSLACK, 1);
	signal(SIGTERM, on_sigterm);
	if (options.records) {
		records = fopen(options.records, "wb");
		if (!records) {
			perror(options.records);
			return 1;
		}
	}

	if (options.hold)
		raise(SIGSTOP);
	start = now_ns();
	end = start + options.seconds * 1e9;
	if (options.rate)
		open_loop(end);
	else
		closed_loop(end);
	sent_all = now_ns();
	while (in_flight) {
		sleep_ns(TICK_NS);
		receive_all();
	}
	if (options.hold)
		raise(SIGSTOP);
	if (records && fclose(records)) {
		perror(options.records);
		return 1;
	}
	report((sent_all - start) / 1e9);
	return 0;
}
