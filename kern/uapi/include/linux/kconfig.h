/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc includes this ahead of every program; its being here ends bcc's search. */
#define CONFIG_BPF_SYSCALL 1
