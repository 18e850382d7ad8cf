/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc puts its own copy of this header in front of every program. */
