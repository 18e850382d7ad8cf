/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * packet - Ethernet, IP and UDP around a message: read strictly, and written anew.
 *
 * In a frame IP and UDP end where the message begins, so UDP stands at the same place
 * whatever the family. What is not plain - options, fragments, extension headers, tags,
 * padding - is for the kernel's own stack.
 */
#ifndef DNSFRONT_PACKET_H
#define DNSFRONT_PACKET_H

#include "bcc.h"
#include "dns.h"
#include "maps.h"

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_UDP 17
#define ETHERTYPE_IP 0x0008 /* 0x0800 and 0x86dd, as the machine reads them */
#define ETHERTYPE_IPV6 0xdd86
#define ETHERNET_OCTETS 14
#define IP_OCTETS 20
#define IPV6_OCTETS 40
#define UDP_OCTETS 8
#define DONT_FRAGMENT 0x0040 /* of the u16 as the machine reads it */
/* Of the largest packet that any way and any host takes (RFC 791, 3.1). */
#define IP_OCTETS_FOR_ALL 576
#define HOP_LIMIT 64       /* of what we send, as of what a worker sends */
#define LOOPBACK_IFINDEX 1 /* of lo, in every network namespace */
#define DOMAIN_PORT 53

#define FRAME_MESSAGE_AT 64 /* of struct message in a frame: its pad, then the header */
#define FRAME_UDP_AT 60
#define FRAME_IP_AT 40
#define FRAME_IPV6_AT 20

/* What became of a packet; all but the first pass on, counted in struct passed. */
enum outcome {
	ANSWERED,
	NOT_OURS,
	UNUSUAL,
	CLIENT,
	ABSENT,
	EXPIRED,
	SIZE,
	TORN,
};

struct packet {
	u64 sum; /* of the pseudo header without length, ports, length and checksum */
	u64 pseudo_sum; /* of the pseudo header without length */
	u32 message_at;
	u32 message_octets;
	u32 checksum;     /* as it came */
	u64 is_half_done; /* 0 for a checksum that is true, or that is none */
	bool is_ipv6;
	bool is_to_wildcard;
};

/* Add the two halves of a word, which is what the word adds to a checksum. */
static inline u64 halves(u64 word)
{
	return (word >> 32) + (word & 0xffffffff);
}

/* Bring a sum down to 16 bits; 0 stays 0, and no other becomes 0. */
static inline u64 folded(u64 sum)
{
	sum = halves(sum);
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return (sum >> 16) + (sum & 0xffff);
}

/* Swap the two octets of a sum or of a number of 16 bits. */
static inline u64 swapped(u64 sum)
{
	return sum >> 8 | (sum & 0xff) << 8;
}

/* Begin the response's Ethernet header: back to where the packet came from. */
static inline void turn_ethernet(const u8 *from, u8 *to)
{
	*(u32 *)to = *(const u32 *)(from + 6);
	*(u16 *)(to + 4) = *(const u16 *)(from + 10);
	*(u32 *)(to + 6) = *(const u32 *)from;
	*(u16 *)(to + 10) = *(const u16 *)(from + 4);
	*(u16 *)(to + 12) = *(const u16 *)(from + 12);
}

/*
 * Tell whether a client is answered here. The look-ups of the two families stay apart:
 * where it is one of two maps, the kernel can neither inline nor call directly.
 */
static inline bool is_served(bool is_ipv6, const void *key, u32 ifindex)
{
	u32 first = 0, *value = 0;
	void *trie;

	if (is_ipv6) {
		trie = bpf_map_lookup_elem(MAP(CLIENTS6_FD), &first);
		if (trie)
			value = bpf_map_lookup_elem(trie, key);
		asm volatile("" : "+r"(value));
	} else {
		trie = bpf_map_lookup_elem(MAP(CLIENTS4_FD), &first);
		if (trie)
			value = bpf_map_lookup_elem(trie, key);
	}
	return value && *value == ifindex;
}

/* Read an IPv4 header and turn it around; the addresses go to @key, ours, and @client. */
static inline bool read_ip(const u8 *ip, u32 ifindex, u32 octets, struct frame *frame,
			   struct listener *key, struct client4 *client,
			   struct packet *packet)
{
	u64 first = *(const u64 *)ip, second = *(const u64 *)(ip + 8);
	u32 source = second >> 32, target = *(const u32 *)(ip + 16);
	u8 source_net = source & 0xff, target_net = target & 0xff;

	if ((first & 0xff) != 0x45 || (first >> 48 & ~(u64)DONT_FRAGMENT) ||
	    (second >> 8 & 0xff) != IPPROTO_UDP ||
	    swapped(first >> 16 & 0xffff) != octets - ETHERNET_OCTETS ||
	    folded(halves(first) + halves(second) + target) != 0xffff)
		return false;
	/* 0.0.0.0/8, and multicast and all above it, are no senders (RFC 1122, 3.2.1.3). */
	if (source_net == 0 || source_net >= 224)
		return false;
	if (ifindex != LOOPBACK_IFINDEX && (source_net == 127 || target_net == 127))
		return false;
	key->family = AF_INET;
	key->address[0] = target;
	client->prefix_bits = 32;
	*(u32 *)client->address = source;
	packet->pseudo_sum = (u64)source + target + (IPPROTO_UDP << 8);
	*(u32 *)(frame->head + FRAME_IP_AT + 12) = target;
	*(u32 *)(frame->head + FRAME_IP_AT + 16) = source;
	return true;
}

/* The same of an IPv6 header. */
static inline bool read_ipv6(const u8 *ip, u32 ifindex, u32 octets, struct frame *frame,
			     struct listener *key, struct client6 *client,
			     struct packet *packet)
{
	u64 first = *(const u64 *)ip;
	u64 source_high = *(const u64 *)(ip + 8), source_low = *(const u64 *)(ip + 16);
	u64 target_high = *(const u64 *)(ip + 24), target_low = *(const u64 *)(ip + 32);
	bool is_local = ifindex == LOOPBACK_IFINDEX && source_low == 1ULL << 56;

	if ((first & 0xf0) != 0x60 || (first >> 48 & 0xff) != IPPROTO_UDP ||
	    swapped(first >> 32 & 0xffff) != octets - ETHERNET_OCTETS - IPV6_OCTETS)
		return false;
	/* In ::/64 only ::1 sends, and over lo; ff00::/8 is multicast. */
	if ((!source_high && !is_local) || (source_high & 0xff) == 0xff)
		return false;
	if (!target_high && ifindex != LOOPBACK_IFINDEX)
		return false;
	key->family = AF_INET6;
	key->address[0] = target_high;
	key->address[1] = target_high >> 32;
	key->address[2] = target_low;
	key->address[3] = target_low >> 32;
	client->prefix_bits = 128;
	*(u32 *)client->address = source_high;
	*(u32 *)(client->address + 4) = source_high >> 32;
	*(u32 *)(client->address + 8) = source_low;
	*(u32 *)(client->address + 12) = source_low >> 32;
	packet->pseudo_sum = halves(source_high) + halves(source_low) +
			     halves(target_high) + halves(target_low) +
			     (IPPROTO_UDP << 8);
	*(u64 *)(frame->head + FRAME_IPV6_AT + 8) = target_high;
	*(u64 *)(frame->head + FRAME_IPV6_AT + 16) = target_low;
	*(u64 *)(frame->head + FRAME_IPV6_AT + 24) = source_high;
	*(u64 *)(frame->head + FRAME_IPV6_AT + 32) = source_low;
	return true;
}

/*
 * Read the headers of a packet, and begin the response's in @frame. The packet lies
 * between @data and @data_end as a whole.
 */
static inline enum outcome read_packet(void *data, void *data_end, u32 ifindex,
				       struct frame *frame, struct packet *packet)
{
	u32 octets = data_end - data;
	struct listener key = {};
	union {
		struct client4 four;
		struct client6 six;
	} client = {};
	u8 *ethernet = data, *udp;
	u32 ports, length, *bound;
	bool is_plain, is_multicast;

	if (data + ETHERNET_OCTETS + IP_OCTETS + UDP_OCTETS + DNS_HEADER_OCTETS >
	    data_end)
		return NOT_OURS;
	is_multicast = (ethernet[0] | ethernet[6]) & 1; /* or claims to come from it */
	if (*(u16 *)(ethernet + 12) == ETHERTYPE_IP) {
		is_plain = read_ip(ethernet + ETHERNET_OCTETS, ifindex, octets, frame,
				   &key, &client.four, packet);
		turn_ethernet(data, frame->head + FRAME_IP_AT - ETHERNET_OCTETS);
		udp = ethernet + ETHERNET_OCTETS + IP_OCTETS;
		packet->message_at = ETHERNET_OCTETS + IP_OCTETS + UDP_OCTETS;
	} else if (*(u16 *)(ethernet + 12) == ETHERTYPE_IPV6) {
		if (data + ETHERNET_OCTETS + IPV6_OCTETS + UDP_OCTETS +
			    DNS_HEADER_OCTETS >
		    data_end)
			return NOT_OURS;
		is_plain = read_ipv6(ethernet + ETHERNET_OCTETS, ifindex, octets, frame,
				     &key, &client.six, packet);
		turn_ethernet(data, frame->head + FRAME_IPV6_AT - ETHERNET_OCTETS);
		udp = ethernet + ETHERNET_OCTETS + IPV6_OCTETS;
		packet->message_at = ETHERNET_OCTETS + IPV6_OCTETS + UDP_OCTETS;
		packet->is_ipv6 = true;
	} else {
		return NOT_OURS;
	}
	/* Not a response either: what leaves over lo comes in there again. */
	if (!is_plain || udp[UDP_OCTETS + 2] & 0x80)
		return NOT_OURS;

	ports = *(u32 *)udp;
	length = swapped(*(u16 *)(udp + 4));
	packet->checksum = *(u16 *)(udp + 6);
	key.protocol = IPPROTO_UDP;
	key.port = swapped(ports >> 16);
	bound = bpf_map_lookup_elem(ADDRESSES, &key);
	if (!bound)
		return NOT_OURS;
	packet->is_to_wildcard = *bound == BOUND_TO_WILDCARD;
	packet->message_octets = octets - packet->message_at;
	if (is_multicast || packet->message_octets + UDP_OCTETS != length ||
	    packet->message_octets < DNS_HEADER_OCTETS + 1 + 4 ||
	    packet->message_octets > MESSAGE_OCTETS_MAX)
		return UNUSUAL;
	/* Who sends from a port of servers may be one, and would be answered for ever. */
	if (!(ports & 0xffff) || (ports & 0xffff) == ports >> 16 ||
	    (ports & 0xffff) == bpf_htons(DOMAIN_PORT))
		return UNUSUAL;
	if (packet->is_ipv6 && !packet->checksum)
		return UNUSUAL; /* RFC 8200, 8.1 */
	if (!is_served(packet->is_ipv6, &client, ifindex))
		return CLIENT;
	*(u32 *)(frame->head + FRAME_UDP_AT) = ports >> 16 | ports << 16;
	packet->sum = packet->pseudo_sum + halves(ports) + 2 * swapped(length) +
		      packet->checksum;
	return ANSWERED;
}

/*
 * Tell from the sum over the whole packet what its checksum is: true, none, or half
 * done, as a sender on this host leaves it to a device that never does the rest. What
 * could be either, one in 65,536, is answered as if it were true: who left it half done
 * never looks. What is neither passes on.
 */
static inline bool is_checksum_plain(struct packet *packet, u64 sum)
{
	u32 length = swapped(packet->message_octets + UDP_OCTETS);
	u64 is_no_half = folded(packet->pseudo_sum + length) ^ packet->checksum;

	/* By products: as branches these would have the verifier walk the rest thrice. */
	packet->is_half_done = (folded(sum) ^ 0xffff) * packet->checksum;
	return !(packet->is_half_done * is_no_half);
}

/*
 * Tell whether a wildcard socket gets the packet whose response @frame begins: who is
 * bound to the very address, to a device or to the client comes first.
 */
static inline bool is_for_wildcard(void *ctx, const struct frame *frame, bool is_ipv6)
{
	struct bpf_sock_tuple tuple = {};
	u32 ports = *(const u32 *)(frame->head + FRAME_UDP_AT), octets, bound;
	struct bpf_sock *sock;

	/* The response goes from us to the client, the look-up the other way. */
	if (is_ipv6) {
		const u32 *ours = (const u32 *)(frame->head + FRAME_IPV6_AT + 8);
		const u32 *client = ours + 4;

		__builtin_memcpy(tuple.ipv6.saddr, client, 16);
		__builtin_memcpy(tuple.ipv6.daddr, ours, 16);
		tuple.ipv6.sport = ports >> 16;
		tuple.ipv6.dport = ports;
		octets = sizeof(tuple.ipv6);
	} else {
		tuple.ipv4.saddr = *(const u32 *)(frame->head + FRAME_IP_AT + 16);
		tuple.ipv4.daddr = *(const u32 *)(frame->head + FRAME_IP_AT + 12);
		tuple.ipv4.sport = ports >> 16;
		tuple.ipv4.dport = ports;
		octets = sizeof(tuple.ipv4);
	}
	sock = bpf_sk_lookup_udp(ctx, &tuple, octets, BPF_F_CURRENT_NETNS, 0);
	if (!sock)
		return false;
	bound = sock->bound_dev_if | sock->dst_port;
	if (is_ipv6)
		bound |= sock->src_ip6[0] | sock->src_ip6[1] | sock->src_ip6[2] |
			 sock->src_ip6[3];
	else
		bound |= sock->src_ip4;
	bpf_sk_release(sock);
	return !bound;
}

/* Write the headers around a message of @octets, whose own octets add @sum. */
static inline void write_packet(struct frame *frame, const struct packet *packet,
				u32 octets, u64 sum, bool keeps_partial)
{
	u32 length = swapped(octets + UDP_OCTETS), checksum;
	u64 pseudo_sum = packet->pseudo_sum + length;

	if (packet->is_ipv6) {
		u8 *ip = frame->head + FRAME_IPV6_AT;

		*(u64 *)ip = 0x60 | (u64)length << 32 | (u64)IPPROTO_UDP << 48 |
			     (u64)HOP_LIMIT << 56;
	} else {
		u8 *ip = frame->head + FRAME_IP_AT;
		u32 length = octets + UDP_OCTETS + IP_OCTETS;
		u64 first = 0x45 | (u64)swapped(length) << 16;
		u32 second = HOP_LIMIT | IPPROTO_UDP << 8;

		/* A larger packet may have to be cut on its way. */
		if (length <= IP_OCTETS_FOR_ALL)
			first |= (u64)DONT_FRAGMENT << 48;
		else
			first |= (u64)(bpf_get_prandom_u32() & 0xffff) << 32;
		*(u64 *)ip = first;
		checksum = ~folded(halves(first) + second + packet->pseudo_sum -
				   (IPPROTO_UDP << 8)) &
			   0xffff;
		*(u32 *)(ip + 8) = second | checksum << 16;
	}
	checksum = folded(pseudo_sum);
	if (!keeps_partial || !packet->is_half_done) {
		sum += pseudo_sum + halves(*(u32 *)(frame->head + FRAME_UDP_AT)) + length;
		checksum = ~folded(sum) & 0xffff;
		if (!checksum)
			checksum = 0xffff;
	}
	*(u32 *)(frame->head + FRAME_UDP_AT + 4) = length | checksum << 16;
}

#endif
