"""Connections of a client over TCP, and which worker has taken each."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import dns.message

from tests.system.front import Address, FrontEnd
from tests.waiting import eventually

_PATIENCE_S: Final = 15.0


class Stream:
    """One connection; messages go and come behind their length (RFC 7766, 8)."""

    def __init__(self, address: Address, patience_s: float = _PATIENCE_S) -> None:
        self._socket = socket.create_connection(address, timeout=patience_s)
        self._file = self._socket.makefile("rb")

    def send(self, *messages: bytes) -> None:
        """Send *messages* in one go."""
        self.send_octets(b"".join(len(x).to_bytes(2, "big") + x for x in messages))

    def send_octets(self, octets: bytes) -> None:
        """Send octets as they are."""
        self._socket.sendall(octets)

    def end(self) -> None:
        """Tell that no more queries come."""
        self._socket.shutdown(socket.SHUT_WR)

    def receive(self) -> bytes:
        """Return the next message, empty at the end of the stream."""
        length = int.from_bytes(self._file.read(2), "big")
        return self._file.read(length)

    def responses(self, count: int) -> list[dns.message.Message]:
        """Return the next *count* responses, in the order in which they come."""
        return [dns.message.from_wire(self.receive()) for _ in range(count)]

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._socket.close()


@contextmanager
def stream_to(front: FrontEnd) -> Iterator[tuple[Stream, str]]:
    """Yield a new connection and the name of the worker that has taken it."""
    before = front.metrics().by_worker("tcp_connections_total")
    stream = Stream(front.address)

    def takers() -> list[str]:
        after = front.metrics().by_worker("tcp_connections_total")
        return list(Counter(after) - Counter(before))

    try:
        [worker] = eventually(takers)
        yield stream, worker
    finally:
        stream.close()


def handed_over(
    preferences: Mapping[str, Sequence[str]], names: Iterable[str], worker: str
) -> Counter[str]:
    """Return what counts when *worker* is asked *names* over TCP."""
    foreign = sum(preferences[name][0] != worker for name in names)
    return Counter({"handover tcp": foreign})
