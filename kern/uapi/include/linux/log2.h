/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc includes this for its perf tables, which no program here has. */
