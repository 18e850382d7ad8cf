/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc includes this for its ring buffer tables, which no program here has. */
