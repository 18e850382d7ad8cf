"""A steady load of queries, every one of which must have its response."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from tests.kern.queries import qname_of
from tests.system.clients import nsid_query
from tests.system.front import Address

_LAST_RESPONSE_WITHIN_S: Final = 15.0
_SO_RCVBUFFORCE: Final = 33
_NUMBERS: Final = 1 << 16


class Load:
    """A thread that asks for *names* in turn, so many *per_second*, from one port.

    When it has stopped, *sent* and *lost* are there, and the responses by *rcodes*.
    """

    def __init__(self, address: Address, names: Sequence[str], per_second: int) -> None:
        self.sent = 0
        self.lost: list[int] = []
        self.rcodes: Counter[int] = Counter()
        self._qnames = [qname_of(name) for name in names]
        self._interval_s = 1 / per_second
        self._pending: dict[int, float] = {}
        self._is_over = threading.Event()
        self._socket = socket.socket(address.family, socket.SOCK_DGRAM)
        # What comes at once after a pause must not be lost here.
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
        self._socket.connect(address)
        self._thread = threading.Thread(target=self._run, name="load")
        self._thread.start()

    def stop(self) -> None:
        """Send no more, and wait for the responses that are still to come."""
        self._is_over.set()
        self._thread.join()
        self._socket.close()
        self.lost = list(self._pending)

    def _run(self) -> None:
        due_at = time.monotonic()
        while not self._is_over.is_set():
            self._send()
            due_at += self._interval_s
            while (wait_s := due_at - time.monotonic()) > 0:
                self._receive(wait_s)
        deadline_at = time.monotonic() + _LAST_RESPONSE_WITHIN_S
        while self._pending and (wait_s := deadline_at - time.monotonic()) > 0:
            self._receive(wait_s)

    def _send(self) -> None:
        number = self.sent % _NUMBERS
        self._pending[number] = time.monotonic()
        self._socket.send(
            nsid_query(self._qnames[self.sent % len(self._qnames)], number)
        )
        self.sent += 1

    def _receive(self, within_s: float) -> None:
        readable, _, _ = select.select([self._socket], [], [], within_s)
        if readable:
            octets = self._socket.recv(4096)
            self._pending.pop(int.from_bytes(octets[:2], "big"), None)
            self.rcodes[octets[3] & 15] += 1


@contextlib.contextmanager
def under_load(
    address: Address, names: Sequence[str], per_second: int = 300
) -> Iterator[Load]:
    """Ask for *names* while the body runs."""
    load = Load(address, names, per_second)
    try:
        yield load
    finally:
        load.stop()
