/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc includes this for packet types, which no program here looks at. */
