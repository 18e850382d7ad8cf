/*
 * reflector - the least that a UDP server can do: send every datagram back, QR set.
 *
 *   reflector FD
 *
 * FD is a bound UDP socket, inherited. One thread, recvmmsg(2) and sendmmsg(2), 64 at a
 * time. What it costs per query is the price of the kernel's UDP, paid by every server
 * that is measured here. SIGTERM ends it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define BATCH 64
#define DATAGRAM 512

static uint8_t octets[BATCH][DATAGRAM];
static struct sockaddr_storage client[BATCH];
static struct iovec part[BATCH];
static struct mmsghdr message[BATCH];

static void reset(int count)
{
	for (int i = 0; i < count; i++) {
		part[i] = (struct iovec){octets[i], DATAGRAM};
		message[i].msg_hdr = (struct msghdr){
			.msg_name = &client[i],
			.msg_namelen = sizeof(client[i]),
			.msg_iov = &part[i],
			.msg_iovlen = 1,
		};
	}
}

int main(int argc, char **argv)
{
	int fd = argc == 2 ? atoi(argv[1]) : -1;

	if (fd < 0) {
		fprintf(stderr, "usage: reflector FD\n");
		return 64;
	}
	reset(BATCH);
	for (;;) {
		int count = recvmmsg(fd, message, BATCH, MSG_WAITFORONE, NULL);

		if (count < 0) {
			if (errno == EINTR || errno == ECONNREFUSED)
				continue;
			perror("recvmmsg");
			return 1;
		}
		for (int i = 0; i < count; i++) {
			part[i].iov_len = message[i].msg_len;
			octets[i][2] |= 0x80; /* QR */
		}
		/* A client that went away costs its response, not the batch's rest. */
		for (int sent = 0; sent < count;) {
			int more = sendmmsg(fd, message + sent, count - sent, 0);

			sent += more > 0 ? more : 1;
		}
		reset(count);
	}
}
