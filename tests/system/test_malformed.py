"""Whatever octets come: each gets what the protocol asks, and no worker ends of it."""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import dns.message
import dns.rcode
import pytest

from tests.kern.queries import label, qname_of
from tests.system.clients import receive
from tests.system.front import DEMO_ZONE, FrontEnd
from tests.system.metrics import connected, responded, steered
from tests.system.streams import handed_over, stream_to

WWW: Final = qname_of("www.example.test") + b"\0"
A_IN: Final = b"\0\1\0\1"
QUESTION: Final = WWW + A_IN
MAX_DATAGRAM: Final = 65507  # 64 KiB less the headers of IPv4 and UDP


def header(
    flags: int = 0x0100,
    counts: tuple[int, int, int, int] = (1, 0, 0, 0),
    message_id: int = 7,
) -> bytes:
    return struct.pack(">6H", message_id, flags, *counts)


def opt(version: int = 0, options: bytes = b"", owner: bytes = b"\0") -> bytes:
    fixed = struct.pack(">HHBBHH", 41, 1232, 0, version, 0, len(options))
    return owner + fixed + options


@dataclass(frozen=True)
class Case:
    """Octets, what becomes of them, and how the program places them.

    *rcode* None is for silence, for the *reason* that is counted. *has_opt* tells that
    the response has an OPT record, *is_timed* that the query itself was in order and
    was refused for what it asks.
    """

    octets: bytes
    rcode: str | None = "FORMERR"
    reason: str = ""
    outcome: str = "primary"
    has_opt: bool = False
    is_timed: bool = False


UNPLACED: Final = "unparsed"
WITH_OPT: Final = header(counts=(1, 0, 0, 1))
CASES: Final = {
    # RFC 1035, 4.1.1: without a header there is nobody to answer to.
    "nothing": Case(b"", None, "short", UNPLACED),
    "one octet": Case(b"\0", None, "short", UNPLACED),
    "header cut short": Case(header()[:11], None, "short", UNPLACED),
    # Two servers that answer each other's responses would never stop.
    "a response": Case(header(0x8180) + QUESTION, None, "response", UNPLACED),
    "a response, malformed": Case(header(0x8180), None, "response", UNPLACED),
    # RFC 9619: one question, not more; RFC 7873 alone allows none.
    "no question": Case(header(counts=(0, 0, 0, 0)), outcome=UNPLACED),
    "no question but octets": Case(
        header(counts=(0, 0, 0, 0)) + QUESTION, outcome=UNPLACED
    ),
    "two questions": Case(header(counts=(2, 0, 0, 0)) + 2 * QUESTION, outcome=UNPLACED),
    "65,535 questions": Case(
        header(counts=(65535, 0, 0, 0)) + QUESTION, outcome=UNPLACED
    ),
    # RFC 9267: what parsers fall for.
    "header alone": Case(header(), outcome=UNPLACED),
    "pointer to itself": Case(header() + b"\xc0\x0c" + A_IN, outcome=UNPLACED),
    "pointers to each other": Case(
        header() + b"\xc0\x0e\xc0\x0c" + A_IN, outcome=UNPLACED
    ),
    "pointer forward": Case(header() + b"\xc0\xff" + A_IN, outcome=UNPLACED),
    "pointer behind a label": Case(
        header() + b"\3www\xc0\x0c" + A_IN, outcome=UNPLACED
    ),
    "reserved label type": Case(
        header() + b"\x41" + 65 * b"a" + A_IN, outcome=UNPLACED
    ),
    "label that overruns": Case(header() + b"\x3fwww" + A_IN, outcome=UNPLACED),
    "name of 256 octets": Case(
        header() + 3 * label(63 * b"a") + label(62 * b"b") + b"\0" + A_IN,
        outcome=UNPLACED,
    ),
    "name without an end": Case(header() + 4 * label(63 * b"a"), outcome=UNPLACED),
    "question without its class": Case(header() + QUESTION[:-2], outcome=UNPLACED),
    "trailing octet": Case(header() + QUESTION + b"\0"),
    "trailing octets": Case(header() + QUESTION + 20 * b"\xff"),
    "64 KiB of zeroes": Case(bytes(MAX_DATAGRAM), outcome=UNPLACED),
    "64 KiB behind a question": Case(
        (header() + QUESTION).ljust(MAX_DATAGRAM, b"\xff")
    ),
    "additional record missing": Case(WITH_OPT + QUESTION),
    "additional record cut short": Case(WITH_OPT + QUESTION + opt()[:-1], has_opt=True),
    "an answer in a query": Case(
        header(counts=(1, 1, 0, 0))
        + QUESTION
        + WWW
        + A_IN
        + bytes(4)
        + b"\0\4"
        + bytes(4)
    ),
    # RFC 6891, 6.1.1 and 6.1.3.
    "two OPT records": Case(
        header(counts=(1, 0, 0, 2)) + QUESTION + 2 * opt(), has_opt=True
    ),
    "OPT record not at the root": Case(WITH_OPT + QUESTION + opt(owner=b"\1a\0")),
    "option that overruns": Case(
        WITH_OPT + QUESTION + opt(options=b"\0\3\0\xff"), has_opt=True
    ),
    "option cut short": Case(
        WITH_OPT + QUESTION + opt(options=b"\0\3\0"), has_opt=True
    ),
    "EDNS version 1": Case(
        WITH_OPT + QUESTION + opt(version=1), "BADVERS", has_opt=True
    ),
    "EDNS version 255": Case(
        WITH_OPT + QUESTION + opt(version=255), "BADVERS", has_opt=True
    ),
    # RFC 8906, 3.1.4: an unknown opcode is told to be.
    "opcode IQUERY": Case(header(0x0800) + QUESTION, "NOTIMP"),
    "opcode STATUS": Case(header(0x1000) + QUESTION, "NOTIMP"),
    "opcode NOTIFY": Case(header(0x2000) + WWW + b"\0\6\0\1", "NOTIMP"),
    "opcode UPDATE": Case(header(0x2800) + WWW + b"\0\6\0\1", "NOTIMP"),
    "opcode 15": Case(header(0x7800) + QUESTION, "NOTIMP"),
    "opcode 15, no question": Case(
        header(0x7800, (0, 0, 0, 0)), "NOTIMP", outcome=UNPLACED
    ),
    "AXFR": Case(header() + WWW + b"\0\xfc\0\1", "REFUSED", is_timed=True),
    "IXFR": Case(header() + WWW + b"\0\xfb\0\1", "REFUSED", is_timed=True),
    "type OPT": Case(header() + WWW + b"\0\x29\0\1", "REFUSED", is_timed=True),
    "class CH": Case(header() + WWW + b"\0\1\0\3", "REFUSED", is_timed=True),
    "class 0": Case(header() + WWW + b"\0\1\0\0", "REFUSED", is_timed=True),
}


@pytest.fixture(scope="module")
def front(folder: Path) -> Iterator[FrontEnd]:
    with FrontEnd(folder, zones=[DEMO_ZONE]) as made:
        yield made


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        yield sock


@pytest.fixture(autouse=True)
def _nobody_ends(front: FrontEnd) -> Iterator[None]:
    pids = front.pids()
    yield
    assert front.pids() == pids
    assert sorted(pids) == ["w1", "w2", "w3", "w4"]


def counts_of(case: Case) -> Counter[str]:
    counts = steered(1, case.outcome)
    if case.rcode is None:
        return counts + Counter({f"ignored_datagrams {case.reason}": 1})
    if case.is_timed:
        return counts + responded(1, rcode=case.rcode)
    return counts + Counter({f"responses {case.rcode}": 1})


@pytest.mark.parametrize("name", [name for name, x in CASES.items() if x.rcode is None])
def test_datagram_that_is_no_query_gets_silence(
    front: FrontEnd, client: socket.socket, name: str
) -> None:
    case = CASES[name]
    in_order = header(message_id=8) + QUESTION

    with front.counting(counts_of(case) + steered(1) + responded(1, "zone")):
        client.sendto(case.octets, front.address)
        client.sendto(in_order, front.address)
        octets = receive(client)

    assert octets[:2] == in_order[:2]


@pytest.mark.parametrize("name", [name for name, x in CASES.items() if x.rcode])
def test_malformed_query_gets_what_the_protocol_asks(
    front: FrontEnd, client: socket.socket, name: str
) -> None:
    case = CASES[name]

    with front.counting(counts_of(case)):
        client.sendto(case.octets, front.address)
        octets = receive(client)

    response = dns.message.from_wire(octets)
    assert octets[:2] == case.octets[:2]
    assert dns.rcode.to_text(response.rcode()) == case.rcode
    assert response.opcode() == case.octets[2] >> 3 & 15
    assert response.edns == (0 if case.has_opt else -1)
    assert not response.answer


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"\0\0", "short"),
        (b"\0\1\0", "short"),
        (b"\0\x0b" + header()[:11], "short"),
        (b"\0\x0c" + header(0x8180), "response"),
    ],
    ids=["no octets", "one octet", "header cut short", "a response"],
)
def test_stream_with_what_is_no_query_is_closed(
    front: FrontEnd, octets: bytes, reason: str
) -> None:
    counts = connected(1, 0) + Counter({f"ignored_datagrams {reason}": 1})
    with front.counting(counts), stream_to(front) as (stream, _worker):
        stream.send_octets(octets)

        assert stream.receive() == b""


def test_stream_goes_on_after_a_malformed_query(front: FrontEnd) -> None:
    preferences = front.lookup(["www.example.test"])
    before = front.metrics().counts()

    with stream_to(front) as (stream, worker):
        stream.send(header() + QUESTION + b"\0", header(message_id=8) + QUESTION)
        rcodes = {x.id: dns.rcode.to_text(x.rcode()) for x in stream.responses(2)}

    assert rcodes == {7: "FORMERR", 8: "NOERROR"}
    front.expect(
        before,
        connected(1, 2)
        + Counter({"responses FORMERR": 1})
        + responded(1, "zone")
        + handed_over(preferences, ["www.example.test"], worker),
    )
