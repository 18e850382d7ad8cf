"""Steering where no BPF may be loaded: the kernel chooses, workers hand over.

The same surface as the kernel's steering, so that the supervisor does not care. What
the program would do falls to the workers, who hash each qname and pass it to its owner.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Final

from dnsfront.ipc import memory
from dnsfront.kernel.attachment import detach
from dnsfront.kernel.layouts import layout
from dnsfront.kernel.load import LOAD_OCTETS
from dnsfront.kernel.pages import LOAD_ENTRIES, Pages

if TYPE_CHECKING:
    import socket

    from dnsfront.ipc.spec import Listener


class UserspaceSteering(Pages):
    """The pages that workers share, and nothing in the kernel."""

    mode: Final = "userspace"

    def __init__(self) -> None:
        octets = LOAD_OCTETS * LOAD_ENTRIES
        self.load_fd = memory.shared_page("dnsfront-load", octets)
        super().__init__(mmap.mmap(self.load_fd, octets))

    def wait_loaded(self, timeout_s: float = 20) -> None:
        """Return at once: there is no program."""

    def add_group(self, listener: Listener, sockarray_fd: int | None = None) -> None:
        """Need no sockarray: the kernel makes groups of sockets bound alike."""
        del listener
        if sockarray_fd is not None:
            os.close(sockarray_fd)

    def sockarray_fd(self, listener: Listener) -> None:
        """Return None: there are no sockarrays."""

    def remove_group(self, listener: Listener) -> None:
        """Do nothing: the group goes with its sockets."""

    def set_socket(
        self, listener: Listener, worker_id: int, sock: socket.socket
    ) -> None:
        """Do nothing: a bound socket is a member."""

    def remove_socket(self, listener: Listener, worker_id: int) -> None:
        """Do nothing: a socket is a member until it closes."""

    def attach(self, sock: socket.socket) -> None:
        """Have the kernel choose; a predecessor with more rights may have steered."""
        detach(sock)

    def detach(self, sock: socket.socket) -> None:
        """Do nothing: nothing is attached."""

    def publish(self, table: bytes) -> None:
        """Do nothing: workers get the table over their channels."""

    def counters(self) -> dict[str, int]:
        """Return a zero for each outcome: no program, no outcomes."""
        return dict.fromkeys(layout("steering").fields, 0)

    def close(self) -> None:
        """Give up the pages; workers keep theirs."""
        self.release()
        os.close(self.load_fd)
