"""Clients over TCP that always have queries under way, whatever becomes of the server.

Each does as RFC 7766, 6.2.4, has it: what is not answered when a connection ends is
asked again over the next one.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Final

from tests.kern.queries import qname_of
from tests.system.clients import nsid_query
from tests.system.front import Address

#: Queries of a client under way at once.
_WINDOW: Final = 8
#: Far longer than anybody is made to wait who is not forgotten.
_PATIENCE_S: Final = 15.0
_NUMBERS: Final = 1 << 16


class Pipeline:
    """A thread that asks for *names* in turn, so many at once, until it is stopped.

    Then *answered* tells how many responses came, *connections* how many connections
    it took, and *lost* what never had one.
    """

    def __init__(self, address: Address, names: Sequence[str]) -> None:
        self.answered = 0
        self.connections = 0
        self.lost: list[int] = []
        self._address = address
        self._qnames = itertools.cycle([qname_of(name) for name in names])
        self._numbers = itertools.cycle(range(_NUMBERS))
        self._pending: dict[int, bytes] = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pipeline")
        self._thread.start()

    def stop(self) -> None:
        """Ask no more, and wait for the responses that are still to come."""
        self._is_over.set()
        self._thread.join()
        self.lost = list(self._pending)

    def _run(self) -> None:
        while not self._is_over.is_set() or self._pending:
            try:
                made = socket.create_connection(self._address, _PATIENCE_S)
            except ConnectionResetError:
                continue  # whose listener closed before it was accepted
            with made as sock:
                self.connections += 1
                try:
                    self._use(sock)
                except TimeoutError:
                    return
                except OSError:
                    continue  # it broke, and the next one has what is left

    def _use(self, sock: socket.socket) -> None:
        """Ask until the connection ends, or nothing is left to be asked."""
        for number, octets in self._pending.items():
            _send(sock, number, octets)
        with sock.makefile("rb") as file:
            while self._fill(sock):
                head = file.read(2)
                message = file.read(int.from_bytes(head, "big"))
                if not message:
                    return
                self.answered += 1
                del self._pending[int.from_bytes(message[:2], "big")]

    def _fill(self, sock: socket.socket) -> bool:
        """Keep the window full; return whether a response is still to come."""
        while len(self._pending) < _WINDOW and not self._is_over.is_set():
            number, octets = next(self._numbers), next(self._qnames)
            self._pending[number] = octets
            with contextlib.suppress(OSError):
                # What came before the end of the connection is read all the same.
                _send(sock, number, octets)
        return bool(self._pending)


def _send(sock: socket.socket, number: int, qname: bytes) -> None:
    query = nsid_query(qname, number)
    sock.sendall(len(query).to_bytes(2, "big") + query)


@contextlib.contextmanager
def pipelining(
    address: Address, names: Sequence[str], clients: int
) -> Iterator[list[Pipeline]]:
    """Have *clients* ask for *names* while the body runs."""
    pipelines = [Pipeline(address, names) for _ in range(clients)]
    try:
        yield pipelines
    finally:
        for pipeline in pipelines:
            pipeline.stop()
