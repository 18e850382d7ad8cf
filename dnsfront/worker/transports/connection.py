"""One client's connection, as those see it who share the worker's means out.

What is said over it, and how, is the business of each transport.
"""

from __future__ import annotations

import socket


class Connection:
    """A client's connection over any stream transport.

    *client* is the address or prefix that it is counted under, *address* the packed
    address. `active_at_ns` is when something happened last, `octets` what it holds in
    memory. `is_queued`, `is_written` and `events` belong to `streams.py`.
    """

    def __init__(
        self, sock: socket.socket, client: bytes, address: bytes, now_ns: int
    ) -> None:
        self.sock = sock
        self.client = client
        self.address = address
        self.active_at_ns = now_ns
        self.octets = 0
        self.is_queued = False
        self.is_written = False
        self.events = 0

    def fileno(self) -> int:
        """Return the descriptor, -1 once it is closed."""
        return self.sock.fileno()

    @property
    def is_idle(self) -> bool:
        """Whether the client is owed nothing."""
        raise NotImplementedError

    @property
    def is_stalled(self) -> bool:
        """Whether the client is owed what it does not take."""
        raise NotImplementedError

    def take_turn(self) -> int:
        """Do what there is to do, but not for long; return what that cost in queries.

        Whoever wants more gets another turn.
        """
        raise NotImplementedError

    def flush(self) -> None:
        """Send what was answered since the last turn, then go on with what waits."""
        raise NotImplementedError

    def take_last(self) -> None:
        """Take what the client has sent so far before this is over."""
        raise NotImplementedError

    def expire(self, now_ns: int) -> None:
        """Close the connection if nothing happened for too long."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection; responses under way are dropped."""
        raise NotImplementedError
