/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc's own bpf.h includes this for opcodes, which no C program needs. */
