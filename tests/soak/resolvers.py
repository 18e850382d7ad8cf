"""The upstreams: they tell the truth of `model.py`, each in a mode of its own."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from tests.soak import model
from tests.soak.jail import RESOLVERS, RESOLVERS6
from tests.system.front import Address

ADDRESSES: Final = (
    Address(RESOLVERS, 5301),
    Address(RESOLVERS, 5302),
    Address(RESOLVERS6, 5303),
)
#: Modes in which a query gets its answer, if not at once or not over UDP.
GOOD_MODES: Final = ("good", "slow", "truncating", "forging", "old")
#: Modes in which it does not, or not always.
BAD_MODES: Final = (
    *("silent", "mute", "late", "lossy", "failing", "refusing", "garbled", "bare"),
    "hanging_up",
)
_SLOW_S: Final = 0.15
_LATE_S: Final = 4.0
_LOSSY_EVERY: Final = 3
_MAX_OCTETS: Final = 65535
_COUNTED: Final = itertools.count()

Send = Callable[[bytes], object]


class Resolvers:
    """All upstreams, in one thread; *second* tells the time that answers carry."""

    def __init__(self, second: Callable[[], int]) -> None:
        self.modes = ["good"] * len(ADDRESSES)
        self.errors: list[str] = []
        self._second = second
        self._selector = selectors.DefaultSelector()
        self._streams: dict[socket.socket, bytearray] = {}
        self._later: list[tuple[float, int, Callable[[], object]]] = []
        self._listening = [
            sock for number in range(len(ADDRESSES)) for sock in self._open(number)
        ]
        self._stop, stopping = socket.socketpair()
        self._listening.append(stopping)
        self._selector.register(stopping, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, name="resolvers", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Be gone."""
        self._stop.send(b"\0")
        self._thread.join()
        for sock in (*self._listening, *self._streams, self._stop):
            sock.close()
        self._selector.close()

    def _open(self, number: int) -> tuple[socket.socket, socket.socket]:
        address = ADDRESSES[number]
        udp = socket.socket(address.family, socket.SOCK_DGRAM)
        tcp = socket.socket(address.family, socket.SOCK_STREAM)
        for sock, ready in ((udp, self._datagram), (tcp, self._accept)):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.setblocking(False)  # noqa: FBT003 - its signature
            self._selector.register(
                sock, selectors.EVENT_READ, partial(ready, number, sock)
            )
        tcp.listen(128)
        return udp, tcp

    def _run(self) -> None:
        while True:
            wait_s = self._later[0][0] - time.monotonic() if self._later else None
            for key, _ in self._selector.select(wait_s):
                if key.data is None:
                    return
                try:
                    key.data()
                except Exception as exc:  # noqa: BLE001 - the run is to see it
                    self.errors.append(repr(exc))
            while self._later and self._later[0][0] <= time.monotonic():
                heapq.heappop(self._later)[2]()

    def _datagram(self, number: int, sock: socket.socket) -> None:
        octets, client = sock.recvfrom(_MAX_OCTETS)

        def send(response: bytes) -> None:
            with contextlib.suppress(OSError):  # its cable may be out
                sock.sendto(response, client)

        self._serve(number, octets, send, is_tcp=False)

    def _accept(self, number: int, sock: socket.socket) -> None:
        stream, _ = sock.accept()
        if self.modes[number] == "hanging_up":
            stream.close()
            return
        stream.settimeout(1)
        self._streams[stream] = bytearray()
        ready = partial(self._stream, number, stream)
        self._selector.register(stream, selectors.EVENT_READ, ready)

    def _stream(self, number: int, stream: socket.socket) -> None:
        try:
            octets = stream.recv(_MAX_OCTETS)
        except OSError:
            octets = b""
        if not octets:
            self._selector.unregister(stream)
            del self._streams[stream]
            stream.close()
            return
        buffer = self._streams[stream]
        buffer += octets

        def send(response: bytes) -> None:
            with contextlib.suppress(OSError):  # it may be closed meanwhile
                stream.sendall(len(response).to_bytes(2, "big") + response)

        while len(buffer) >= 2:
            end = 2 + int.from_bytes(buffer[:2], "big")
            if len(buffer) < end:
                return
            message = bytes(buffer[2:end])
            del buffer[:end]
            self._serve(number, message, send, is_tcp=True)

    def _serve(self, number: int, octets: bytes, send: Send, *, is_tcp: bool) -> None:
        mode = self.modes[number]
        query = dns.message.from_wire(octets)
        is_probe = query.question[0].name.to_text() in (".", "health.test.")
        if query.question[0].name.to_text().endswith("silent.test."):
            mode = "silent"
        if is_probe and mode not in ("silent", "late"):
            mode = "good"
        delay_s = {"slow": _SLOW_S, "late": _LATE_S}.get(mode, 0.0)

        def respond() -> None:
            for response in responses(query, mode, self._second(), is_tcp=is_tcp):
                send(response)

        if delay_s:
            at = time.monotonic() + delay_s
            heapq.heappush(self._later, (at, next(_COUNTED), respond))
        else:
            respond()


def responses(  # noqa: PLR0911 - a mode each
    query: dns.message.Message, mode: str, second: int, *, is_tcp: bool
) -> list[bytes]:
    """Return what an upstream in *mode* sends for *query*."""
    right = truth(query, second).to_wire(max_size=_MAX_OCTETS)
    is_small = len(right) <= 1232
    cut = dns.message.make_response(query, recursion_available=True)
    cut.flags |= dns.flags.TC
    if not is_tcp and (mode in ("truncating", "hanging_up") or not is_small):
        right = cut.to_wire()
    if mode in ("silent", "mute"):
        return []
    if mode == "lossy" and next(_COUNTED) % _LOSSY_EVERY == 0:
        return []
    if mode in ("failing", "refusing"):
        cut.flags &= ~dns.flags.TC
        rcode = dns.rcode.SERVFAIL if mode == "failing" else dns.rcode.REFUSED
        cut.set_rcode(rcode)
        return [cut.to_wire()]
    if mode == "bare":
        return [right[:2] + b"\x81\x82" + bytes(8)]
    if mode == "old" and query.edns >= 0:
        return [right[:2] + b"\x81\x81" + bytes(8)]
    if mode == "garbled":
        return [garbled(right, query)]
    if mode == "forging" and not is_tcp:  # who is not on the path cannot do it
        return [*forgeries(right), right]
    return [right]


def forgeries(right: bytes) -> list[bytes]:
    """Return what somebody else might send: wrong in id, in question, in kind."""
    other_id = (int.from_bytes(right[:2], "big") ^ 1).to_bytes(2, "big")
    bad = bytes(0xAA if x == 10 else x for x in right[12:])  # another address
    return [
        other_id + right[2:12] + bad,
        right[:12] + bytes((right[12], right[13] ^ 1)) + right[14:],
        right[:2] + bytes((right[2] & 0x7F,)) + right[3:],
        right[:11],
        b"",
    ]


def garbled(right: bytes, query: dns.message.Message) -> bytes:
    """Return *right* with its records spoilt, the question being whole."""
    end = len(dns.message.make_response(query).to_wire())
    return right[:end] + os.urandom(max(0, len(right) - end))


def truth(query: dns.message.Message, second: int) -> dns.message.Message:
    """Return the response of a good upstream in a second."""
    response = dns.message.make_response(query, recursion_available=True)
    question = query.question[0]
    name = question.name.to_text(omit_final_dot=True)
    kind, ttl = model.kind_of(name), model.ttl_of(name)
    if kind in ("nx", "nodata"):
        if kind == "nx":
            response.set_rcode(dns.rcode.NXDOMAIN)
        least = model.NEGATIVE_TTL_S
        soa = f"ns.up.test. hostmaster.up.test. {second} 1 1 1 {least}"
        response.authority.append(
            dns.rrset.from_text(question.name.parent(), least, "IN", "SOA", soa)
        )
        return response
    if kind == "big":
        records = [(question.name.to_text(), "TXT", model.big_text(name, second))]
    elif kind == "alias":
        target = model.target_of(name)
        ttl = model.ttl_of(target)
        records = [
            (question.name.to_text(), "CNAME", f"{target}."),
            (f"{target}.", "A", model.upstream_address(target, second)),
        ]
    else:
        records = [(question.name.to_text(), "A", model.upstream_address(name, second))]
    response.answer += [
        dns.rrset.from_text(owner, ttl, "IN", rdtype, data)
        for owner, rdtype, data in records
    ]
    return response
