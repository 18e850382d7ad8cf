/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * bcc - what the loader's compiler needs told, each with the symptom that asked for it.
 */
#ifndef DNSFRONT_BCC_H
#define DNSFRONT_BCC_H

/*
 * A map by its descriptor. bcc cannot declare a reuseport sockarray ("unsupported map
 * type"), and the address of a map that it did declare fails to load when passed to a
 * helper ("R2 type=scalar expected=map_ptr"). A positive descriptor it leaves alone, and
 * the kernel's loader makes the map of it.
 */
#define MAP(fd) ((void *)bpf_pseudo_fd(1, fd))

/*
 * A number that the loader fills in: one load of 64 bits, of which the compiler knows
 * nothing. It is defined as a text, so that whoever reckons with the bare name, which the
 * compiler would do once and for all, gets an error.
 */
#define NUMBER(name)                                    \
	({                                              \
		u64 number;                             \
		asm("%0 = " name " ll" : "=r"(number)); \
		number;                                 \
	})

/*
 * Make the compiler forget what it knows of a number. clang 14 drops a mask that it can
 * prove redundant; the verifier, which has no such proof, then says "unbounded memory
 * access", or sees a new range in every round of a loop and prunes nothing.
 */
#define FORGET(number) asm volatile("" : "+r"(number))

/* Keep a loop a loop: unrolled, it is a new path for the verifier in every round. */
#define ROLLED _Pragma("clang loop unroll(disable)")

#endif
