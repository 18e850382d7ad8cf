"""An upstream that a test holds by the strings: it counts, waits, lies or is silent."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.rrset

from tests.system.front import Address, free_address

_MAX_OCTETS: Final = 65535
_TTL_S: Final = 300
_SO_RCVBUFFORCE: Final = 33


@dataclass(frozen=True)
class Asked:
    """One query that arrived; *qname* is spelled as it came."""

    message: dns.message.Message
    client: Address
    is_tcp: bool

    @property
    def qname(self) -> str:
        return self.message.question[0].name.to_text()

    @property
    def rdtype(self) -> str:
        return dns.rdatatype.to_text(self.message.question[0].rdtype)

    @property
    def is_probe(self) -> bool:
        """Whether this is the front end's health check."""
        return (self.qname, self.rdtype) == (".", "NS")

    def response(self, *records: str) -> dns.message.Message:
        """Return a response with *records*: a TTL, a type and data each."""
        response = dns.message.make_response(self.message, recursion_available=True)
        name = self.message.question[0].name
        for record in records:
            ttl, rdtype, data = record.split(None, 2)
            response.answer.append(
                dns.rrset.from_text(name, int(ttl), "IN", rdtype, data)
            )
        return response

    def address(self) -> dns.message.Message:
        """Return a response with one address, whatever was asked."""
        return self.response(f"{_TTL_S} A 192.0.2.1")


Response = dns.message.Message | bytes
#: Makes the responses to one query: none, one, or as many as a liar would send.
Script = Callable[[Asked], list[Response]]


def answer(asked: Asked) -> list[Response]:
    """Tell an address."""
    return [asked.address()]


def silence(_asked: Asked) -> list[Response]:
    """Say nothing."""
    return []


@dataclass
class _Waiting:
    """The responses that wait to be released, and for whom."""

    sends: list[Callable[[], None]] = field(default_factory=list)


class FakeUpstream:
    """A resolver on a port of its own, over UDP and TCP.

    It answers by the *script*; probes are answered whatever the script, and counted by
    nobody. Names that are held get their response when they are released.
    """

    def __init__(self, script: Script = answer, address: Address | None = None) -> None:
        self.address = free_address() if address is None else address
        self.script = script
        self.queries: Counter[tuple[str, str]] = Counter()
        self.asked: list[Asked] = []
        self._seen: set[tuple[Any, bytes]] = set()
        self._lock = threading.Lock()
        self._held: dict[str, _Waiting] = {}
        self._buffers: dict[socket.socket, bytearray] = {}
        self._selector = selectors.DefaultSelector()
        self._udp = self._open(socket.SOCK_DGRAM, self._datagram)
        self._tcp = self._open(socket.SOCK_STREAM, self._accept)
        self._tcp.listen()
        self._stop, self._stopping = socket.socketpair()
        self._selector.register(self._stopping, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, name="fake upstream")
        self._thread.start()

    def _open(
        self, kind: socket.SocketKind, ready: Callable[[], None]
    ) -> socket.socket:
        sock = socket.socket(self.address.family, kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Nothing is lost here but what a script loses.
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 22)
        sock.bind((self.address.host, self.address.port))
        self._selector.register(sock, selectors.EVENT_READ, ready)
        return sock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Be gone: whoever asks now hears that nobody listens."""
        if self._thread.is_alive():
            self._stop.send(b"\0")
            self._thread.join()
        for sock in (self._udp, self._tcp, self._stop, self._stopping, *self._buffers):
            sock.close()
        self._selector.close()

    # -- the strings

    @contextlib.contextmanager
    def holding(self, qname: str) -> Iterator[None]:
        """Keep the responses to *qname* back until the body is done."""
        with self._lock:
            self._held[_key(qname)] = _Waiting()
        try:
            yield
        finally:
            with self._lock:
                waiting = self._held.pop(_key(qname))
            for send in waiting.sends:
                send()

    def count(self, qname: str, rdtype: str = "A") -> int:
        """Return how often a question was asked, in whatever case."""
        return self.queries[_key(qname), rdtype]

    # -- the thread

    def _run(self) -> None:
        while True:
            for key, _events in self._selector.select():
                if key.data is None:
                    return
                key.data()

    def _datagram(self) -> None:
        octets, client = self._udp.recvfrom(_MAX_OCTETS)
        asked = Asked(dns.message.from_wire(octets), Address(*client[:2]), is_tcp=False)
        # The very same again is what a busy machine causes: no query of its own.
        is_repeated = (client, octets) in self._seen
        self._seen.add((client, octets))
        self._serve(
            asked, send=lambda x: self._reply(x, client), is_counted=not is_repeated
        )

    def _reply(self, octets: bytes, client: Any) -> None:  # noqa: ANN401 - see socket
        # With no way back the response is lost, as on any network.
        with contextlib.suppress(OSError):
            self._udp.sendto(octets, client)

    def _accept(self) -> None:
        sock, _client = self._tcp.accept()
        self._buffers[sock] = bytearray()
        self._selector.register(sock, selectors.EVENT_READ, partial(self._stream, sock))

    def _stream(self, sock: socket.socket) -> None:
        try:
            octets = sock.recv(_MAX_OCTETS)
        except ConnectionError:
            octets = b""
        if not octets:
            self._selector.unregister(sock)
            del self._buffers[sock]
            sock.close()
            return
        buffer = self._buffers[sock]
        buffer += octets
        while len(buffer) >= 2:
            [length] = struct.unpack_from("!H", buffer)
            if len(buffer) < 2 + length:
                return
            message = dns.message.from_wire(bytes(buffer[2 : 2 + length]))
            del buffer[: 2 + length]
            self._serve(
                Asked(message, Address(*sock.getpeername()[:2]), is_tcp=True),
                send=lambda x: sock.sendall(struct.pack("!H", len(x)) + x),
            )

    def _serve(
        self,
        asked: Asked,
        send: Callable[[bytes], object],
        *,
        is_counted: bool = True,
    ) -> None:
        if asked.is_probe:
            send(asked.response().to_wire())
            return
        responses = [
            x if isinstance(x, bytes) else x.to_wire(max_size=_MAX_OCTETS)
            for x in self.script(asked)
        ]

        def respond() -> None:
            # Who asked over TCP may have hung up while the response was held back.
            with contextlib.suppress(OSError):
                for response in responses:
                    send(response)

        with self._lock:
            if is_counted:
                self.queries[_key(asked.qname), asked.rdtype] += 1
                self.asked.append(asked)
            waiting = self._held.get(_key(asked.qname))
            if waiting is not None:
                waiting.sends.append(respond)
                return
        respond()


def _key(qname: str) -> str:
    return dns.name.from_text(qname).to_text().lower()


def truncated(asked: Asked) -> list[Response]:
    """Tell over UDP that there is more, and over TCP what it is."""
    if asked.is_tcp:
        return [asked.address()]
    response = asked.response()
    response.flags |= dns.flags.TC
    return [response]
