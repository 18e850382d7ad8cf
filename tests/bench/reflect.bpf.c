/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * reflect - the least that an answer in the kernel can do: send the query back.
 *
 * Every DNS query over IPv4 to one port goes back as a response, its addresses and ports
 * swapped and QR set, nothing looked up. What it costs is the price of the packets' way.
 */
#include "bcc.h"

#define ETHERTYPE_IP 0x0008 /* 0x0800, as the machine reads it */
#define IPPROTO_UDP 17
#define IP_AT 14
#define UDP_AT (IP_AT + 20)
#define DNS_AT (UDP_AT + 8)
#define TCX_NEXT (-1)

/* Turn a query to our port, as the network has the number, into its own response. */
static inline int turn(void *data, void *data_end)
{
	u8 *octets = data, link[6];
	u32 ports, address;

	if (data + DNS_AT + 12 > data_end)
		return 0;
	ports = *(u32 *)(octets + UDP_AT);
	if (*(u16 *)(octets + 12) != ETHERTYPE_IP || octets[IP_AT] != 0x45 ||
	    octets[IP_AT + 9] != IPPROTO_UDP || ports >> 16 != NUMBER(PORT) ||
	    octets[DNS_AT + 2] & 0x80)
		return 0;
	__builtin_memcpy(link, octets, 6);
	__builtin_memcpy(octets, octets + 6, 6);
	__builtin_memcpy(octets + 6, link, 6);
	address = *(u32 *)(octets + IP_AT + 12);
	*(u32 *)(octets + IP_AT + 12) = *(u32 *)(octets + IP_AT + 16);
	*(u32 *)(octets + IP_AT + 16) = address;
	*(u32 *)(octets + UDP_AT) = ports >> 16 | ports << 16;
	/* None: the sum of what came may not be whole, and need not be (RFC 768). */
	*(u16 *)(octets + UDP_AT + 6) = 0;
	octets[DNS_AT + 2] |= 0x80;
	return 1;
}

int reflect_xdp(struct xdp_md *ctx)
{
	return turn((void *)(long)ctx->data, (void *)(long)ctx->data_end) ? XDP_TX
									  : XDP_PASS;
}

int reflect_tc(struct __sk_buff *skb)
{
	if (!turn((void *)(long)skb->data, (void *)(long)skb->data_end))
		return TCX_NEXT;
	return bpf_redirect(skb->ifindex, 0);
}
