"""What the supervisor needs of steering, by BPF or in user space alike."""

from __future__ import annotations

import socket
from collections.abc import Set as AbstractSet
from typing import Protocol

from dnsfront.ipc.spec import Listener


class Steering(Protocol):
    """The kernel objects of one front end; `dnsfront.kernel.steering` has the facts."""

    @property
    def mode(self) -> str:
        """``ebpf`` or ``userspace``."""

    @property
    def live_fd(self) -> int:
        """The descriptor of the live bitmap, which workers map."""

    @property
    def load_fd(self) -> int:
        """The descriptor of the load page, which workers map."""

    def wait_loaded(self, timeout_s: float = 20) -> None:
        """Wait for the program."""

    def add_group(
        self, listener: Listener, protocol: int, sockarray_fd: int | None = None
    ) -> None:
        """Make room for the sockets of a listener, or adopt the room made before."""

    def sockarray_fd(self, listener: Listener, protocol: int) -> int | None:
        """Return the descriptor of that room; None where there is no such thing."""

    def remove_group(self, listener: Listener, protocol: int) -> None:
        """Forget a listener."""

    def set_socket(
        self, listener: Listener, protocol: int, worker_id: int, sock: socket.socket
    ) -> None:
        """Let the worker be chosen at the listener through *sock*."""

    def remove_socket(self, listener: Listener, protocol: int, worker_id: int) -> None:
        """Take the worker's socket out again."""

    def attach(self, sock: socket.socket) -> None:
        """Steer the group that *sock* is a member of."""

    def detach(self, sock: socket.socket) -> None:
        """Leave the group of *sock* to the kernel's own choice."""

    def publish(self, table: bytes) -> None:
        """Put a slot table in force, and wait until nobody uses the old one."""

    def set_live(self, worker_id: int, is_live: bool) -> None:  # noqa: FBT001 - a setter
        """Let a worker be chosen, or not."""

    def live_ids(self) -> AbstractSet[int]:
        """Return who may be chosen."""

    def set_bound(self, permille: int, floor: int) -> None:
        """Set the valve for hot names."""

    def counters(self) -> dict[str, int]:
        """Return how many datagrams and connections had each outcome."""

    def steered(self, worker_id: int) -> int:
        """Return the datagrams given to a worker."""

    def set_dropped(self, worker_id: int, datagrams: int) -> None:
        """Tell how many datagrams a worker's sockets dropped."""

    def taken(self, worker_id: int) -> int:
        """Return how many datagrams the worker took from its sockets."""
        ...

    def backlog(self, worker_id: int) -> int:
        """Return the datagrams that wait for a worker."""

    def forget(self, worker_id: int) -> None:
        """Begin the load of a worker_id anew."""

    def close(self) -> None:
        """Free everything."""
