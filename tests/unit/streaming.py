"""Clients over TCP of the rig: whole messages out, whole messages in."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import dns.message

from tests.unit.fake_upstream import FakeUpstream, said_to
from tests.unit.stub_client import query_for
from tests.unit.worker_rig import BOUNDS, NS, ZONE, Rig

#: `big` has answers of some 50 kB.
BIG = ZONE + "".join(f'big 60 TXT "{n:03d}{"x" * 240}"\n' for n in range(200))


class Stream:
    """A client's connection, which speaks in whole messages."""

    def __init__(self, rig: Rig, *, buffer_octets: int = 0, source: str = "") -> None:
        self._rig = rig
        host = rig.address[0]
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.socket.bind((source or host, 0))
        if buffer_octets:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_octets)
        self.socket.connect(rig.address)
        self.socket.settimeout(0)
        self._octets = bytearray()
        self.has_ended = False

    def send(self, *queries: dns.message.Message | bytes) -> None:
        for query in queries:
            octets = query if isinstance(query, bytes) else query.to_wire()
            self.socket.send(len(octets).to_bytes(2, "big") + octets)

    def read(self) -> list[dns.message.Message]:
        """Return the responses that are there."""
        return [dns.message.from_wire(octets) for octets in self.read_octets()]

    def read_octets(self) -> list[bytes]:
        """Return what :meth:`read` does, unread."""
        try:
            while True:
                octets = self.socket.recv(1 << 20)
                if not octets:
                    self.has_ended = True
                    break
                self._octets += octets
        except BlockingIOError:
            pass
        except ConnectionResetError:
            self.has_ended = True
        found = []
        while len(self._octets) >= 2:
            end = 2 + int.from_bytes(self._octets[:2], "big")
            if len(self._octets) < end:
                break
            found.append(bytes(self._octets[2:end]))
            del self._octets[:end]
        return found

    def until(self, count: int) -> list[dns.message.Message]:
        """Do rounds until *count* responses have come."""
        found: list[dns.message.Message] = []

        def has_all() -> bool:
            found.extend(self.read())
            return len(found) >= count

        self._rig.until(has_all)
        return found

    def until_closed(self) -> list[dns.message.Message]:
        """Do rounds until the worker has closed; return what came before."""
        found: list[dns.message.Message] = []

        def is_over() -> bool:
            found.extend(self.read())
            return self.has_ended

        self._rig.until(is_over)
        return found

    def close(self) -> None:
        self.socket.close()


def www(name: str = "www") -> dns.message.Message:
    return query_for(f"{name}.example.test")


def away(number: int) -> dns.message.Message:
    """Return a query that has to be asked upstream."""
    query = query_for(f"n{number}.example.com")
    query.id = number
    return query


def respond_upstream(upstream: FakeUpstream, *, backwards: bool = False) -> int:
    taken = upstream.take()
    for query, sender in reversed(taken) if backwards else taken:
        name = query.question[0].name.to_text()
        upstream.send(said_to(query, f"{name} 60 A 192.0.2.1").to_wire(), sender)
    return len(taken)


class Crowd:
    """A rig with bounds of its own, and its clients."""

    def __init__(
        self,
        stack: ExitStack,
        upstream: FakeUpstream,
        *,
        descriptors: int = 1000,
        **bounds: Any,  # noqa: ANN401 - any field of the limits
    ) -> None:
        self._stack = stack
        self.rig = stack.enter_context(
            Rig(
                zone=BIG,
                upstreams=[upstream],
                bounds=replace(BOUNDS, **bounds),
                descriptors=descriptors,
            )
        )

    def connect(self, source: str = "127.0.0.1", buffer_octets: int = 0) -> Stream:
        """Return a new connection, taken or turned away, a second after the last."""
        stream = Stream(self.rig, source=source, buffer_octets=buffer_octets)
        self._stack.callback(stream.close)
        self.rig.round()
        self.rig.now_ns += NS
        return stream

    def busy(self, source: str = "127.0.0.1") -> Stream:
        """Return a connection that waits for an answer."""
        stream = self.connect(source)
        pool = self.rig.pool
        assert pool is not None
        number = pool.pending + 1
        stream.send(away(number))
        self.rig.until(lambda: pool.pending == number)
        return stream

    def is_served(self, stream: Stream) -> bool:
        """Return whether *stream* is open, and answers."""
        try:
            stream.send(www())
        except OSError:
            return False
        found = []

        def is_over() -> bool:
            found.extend(stream.read())
            return bool(found) or stream.has_ended

        self.rig.until(is_over)
        return bool(found)
