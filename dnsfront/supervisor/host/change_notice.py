"""Word from the kernel that interfaces, addresses or packet filters have changed."""

from __future__ import annotations

import socket
from typing import Final

_MESSAGES_OCTETS: Final = 1 << 16


class ChangeNotice:
    """A descriptor that is readable when something of one kind has changed."""

    def __init__(self, protocol: int, groups: int) -> None:
        """Listen from now on, to these groups of a netlink protocol.

        Raises:
            OSError: the kernel refuses.
        """
        self._socket = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_RAW | socket.SOCK_NONBLOCK,
            protocol,
        )
        try:
            self._socket.bind((0, groups))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor, owned by this object."""
        return self._socket.fileno()

    def clear(self) -> None:
        """Take what is told: that something changed is all there is to know."""
        while True:
            try:
                self._socket.recv(_MESSAGES_OCTETS)
            except BlockingIOError:
                return
            except OSError:
                continue  # more changes than the buffer holds: they all mean the same

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()
