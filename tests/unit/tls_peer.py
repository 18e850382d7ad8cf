"""The side of an upstream that is asked over TLS, without a thread."""

from __future__ import annotations

import contextlib
import socket
import ssl
import tempfile
from dataclasses import replace
from pathlib import Path

import dns.message

from dnsfront.ipc import stats
from dnsfront.ipc.spec import UpstreamTls
from tests.unit.authority import Authority, Identity
from tests.unit.fake_upstream import FakeUpstream, said_to
from tests.unit.worker_rig import Rig

#: A query, and the connection that it came over.
Query = tuple[dns.message.Message, ssl.SSLSocket]


def server_context(identity: Identity) -> ssl.SSLContext:
    """Return what a server with that certificate has."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["dot"])
    with tempfile.TemporaryDirectory() as folder:
        context.load_cert_chain(*identity.save(Path(folder), "server"))
    return context


def trusting(
    upstream: FakeUpstream, authority: Authority, name: str, *pins: str
) -> None:
    """Have *upstream* asked over TLS, if *authority* says that it is *name*."""
    pem = authority.pem
    pieces = tuple(pem[at : at + 100] for at in range(0, len(pem), 100))
    upstream.spec = replace(upstream.spec, tls=UpstreamTls(name, pieces, pins))


class TlsPeer:
    """An upstream's end of its connections; `sizes` has the octets of each query."""

    def __init__(self, rig: Rig, upstream: FakeUpstream, identity: Identity) -> None:
        self.rig, self.upstream = rig, upstream
        self.context = server_context(identity)
        self.connections: list[ssl.SSLSocket] = []
        self.sizes: list[int] = []
        self.failed = 0
        self._buffers: dict[ssl.SSLSocket, bytearray] = {}

    def take(self) -> list[Query]:
        """Return the queries that came since the last call."""
        self.accept()
        found: list[Query] = []
        for connection, buffer in list(self._buffers.items()):
            try:
                connection.do_handshake()
                while octets := connection.recv(1 << 16):
                    buffer.extend(octets)
            except ssl.SSLWantReadError:
                pass
            except OSError:
                self.failed += 1
                del self._buffers[connection]
                continue
            while len(buffer) >= 2:
                end = 2 + int.from_bytes(buffer[:2], "big")
                found.append((dns.message.from_wire(bytes(buffer[2:end])), connection))
                self.sizes.append(end - 2)
                del buffer[:end]
        return found

    def accept(self) -> int:
        """Take the connections that came; return how many there are in all."""
        with contextlib.suppress(BlockingIOError):
            while True:
                plain, _client = self.upstream.tcp.accept()
                plain.setblocking(False)  # noqa: FBT003 - socket's own way
                made = self.context.wrap_socket(
                    plain, server_side=True, do_handshake_on_connect=False
                )
                self.connections.append(made)
                self._buffers[made] = bytearray()
        return len(self.connections)

    def queries(self, count: int) -> list[Query]:
        """Return so many queries, once they are there."""
        found: list[Query] = []

        def are_there() -> bool:
            found.extend(self.take())
            return len(found) >= count

        self.rig.until(are_there)
        assert len(found) == count
        return found

    def serve_until_told(self, word: str) -> None:
        """Take part in handshakes until the worker has counted *word*."""

        def is_told() -> bool:
            self.take()
            return handshakes(self.rig, word) > 0

        self.rig.until(is_told)

    def close(self, *, says_so: bool = False) -> None:
        """Close every connection, and say so over TLS, or not."""
        for connection in self.connections:
            with contextlib.suppress(OSError, ValueError):  # it may be closed already
                if says_so:
                    connection.unwrap()
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._buffers.clear()


def respond(query: Query, *records: str) -> None:
    """Send the response with *records* to a query."""
    message, connection = query
    octets = said_to(message, *records).to_wire()
    connection.sendall(len(octets).to_bytes(2, "big") + octets)


def handshakes(rig: Rig, word: str, index: int = 0) -> int:
    """Return how many handshakes came to that."""
    at = stats.upstream_at(index) + stats.Upstream.TLS_HANDSHAKES
    return rig.words[at + stats.TLS_RESULTS.index(word)]
