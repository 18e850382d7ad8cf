"""File descriptors: how many clients over TCP may have, so that others have theirs.

A worker out of descriptors can ask no upstream any more, which costs all clients; one
that lets fewer clients connect costs those who connect.
"""

from __future__ import annotations

import logging
import os
import resource
from typing import Final

_LOG = logging.getLogger(__name__)

#: For what comes with other workers, other listeners and orders.
_RESERVE: Final = 64
#: For the ports towards one upstream, those that are worn out, and connections to it.
_A_SERVER: Final = 64


def left() -> int:
    """Return how many more descriptors this process may have."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - only how many
    return soft - used


def for_clients(free: int, *, servers: int, wanted: int) -> int:
    """Return how many of *free* descriptors clients over TCP may have.

    With a low limit that is a quarter of them, for upstreams and the rest are few then.
    """
    reserve = _RESERVE + servers * _A_SERVER
    room = max(1, free - min(reserve, free * 3 // 4))
    if room < wanted:
        _LOG.warning(
            "descriptors_low left=%d tcp_connections=%d wanted=%d", free, room, wanted
        )
    return room
