"""What is simulated: queries in their order, each with its second and its client.

Pure: no socket, no clock. Equal files, options and seeds give equal traffic.
"""

from __future__ import annotations

import random
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import accumulate
from typing import Final, Self

from dnsfront.dns import wire
from dnsfront.dns.entry import view_of
from dnsfront.dns.response import Response

#: The header of a response with one answer, as entries keep it.
_ONE_ANSWER: Final = struct.pack("!4H", wire.QR | wire.RA, 1, 0, 0)
#: A record whose owner is the name of the question: pointer, then up to its data.
_OWNED_RECORD = struct.Struct("!HHHIH")
_OWNER: Final = 0xC000 | wire.HEADER_OCTETS
_TTL_AT: Final = 6
#: A query without OPT, with RD: what lists of names stand for.
_PLAIN_VIEW: Final = view_of(wire.RD, is_dnssec_ok=False)

CLIENT_BITS: Final = 32


class Key(bytes):
    """The key of a cache entry, with a hash that is the same in every process.

    The cache remembers whom it let go by a part of that hash, and the one of `bytes`
    is drawn anew for each process.
    """

    number: int

    def __new__(cls, octets: bytes) -> Self:
        """Hash *octets* once."""
        key = super().__new__(cls, octets)
        digest = blake2b(octets, digest_size=8).digest()
        key.number = int.from_bytes(digest, "big") >> 1
        return key

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return bytes.__eq__(self, other) if isinstance(other, bytes) else False


@dataclass(frozen=True, slots=True)
class AskedFor:
    """A question in one view, and the response to it.

    *limit* is the longest response that the kernel may give to whoever asks so, 0 where
    it leaves the query to a worker.
    """

    view: int
    key: Key
    tail: bytes
    limit: int
    response: Response


@dataclass(frozen=True)
class Traffic:
    """Queries: for each its number among *questions*, its second, and its client.

    Seconds never fall. A client is 32 bits of the hash over its address and port.
    """

    questions: Sequence[AskedFor]
    numbers: array[int]
    seconds: array[int]
    clients: array[int]
    #: Why queries of the file are not among them, and how many.
    left_out: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def lasts_s(self) -> int:
        """The seconds from the first query to the last."""
        return self.seconds[-1] - self.seconds[0] if len(self) else 0

    def drawn(self, count: int, zipf: float, rate: float, seed: str) -> Traffic:
        """Return *count* queries for the same questions, at *rate* a second.

        The one that came n-th is asked for in proportion to 1 / n to the power *zipf*.
        """
        ranks = range(1, len(self.questions) + 1)
        weights = [*accumulate(rank**-zipf for rank in ranks)]
        draw = random.Random(f"queries {seed}")
        numbers = draw.choices(range(len(weights)), cum_weights=weights, k=count)
        return replace(
            self,
            numbers=array("I", numbers),
            seconds=steady(count, rate),
            clients=strangers(count, seed),
        )


def steady(count: int, rate: float) -> array[int]:
    """Return the seconds of *count* queries at *rate* a second, from 1 on."""
    return array("I", (1 + int(number / rate) for number in range(count)))


def strangers(count: int, seed: str) -> array[int]:
    """Return *count* clients of which no two have anything in common."""
    draw = random.Random(f"clients {seed}")
    return array("I", (draw.getrandbits(CLIENT_BITS) for _ in range(count)))


def plain_question(qname: bytes, qtype: int, response: Response) -> AskedFor:
    """Return what a client without EDNS asks for; *qname* is lower-case wire form."""
    tail = struct.pack("!HH", qtype, wire.CLASS_IN)
    key = Key((qname + tail).lower())
    return AskedFor(_PLAIN_VIEW, key, tail, wire.PLAIN_UDP_OCTETS, response)


def made_up_response(question: bytes, *, ttl_s: int, size_octets: int) -> Response:
    """Return a response of one record that makes a message of *size_octets*.

    It is as short as it can be where *question* leaves no room for the record.
    """
    around = wire.HEADER_OCTETS + len(question) + _OWNED_RECORD.size
    data = bytes(max(0, size_octets - around))
    qtype, qclass = struct.unpack("!HH", question[-4:])
    record = _OWNED_RECORD.pack(_OWNER, qtype, qclass, ttl_s, len(data))
    return Response(
        wire.NOERROR,
        _ONE_ANSWER,
        record + data,
        (_TTL_AT,),
        ttl_s,
        ttl_s,
        ttl_s,
        True,  # noqa: FBT003 - there is an answer
        False,  # noqa: FBT003 - and no OPT record
    )
