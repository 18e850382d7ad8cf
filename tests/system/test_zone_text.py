"""Zone text means here what it means to nsd: every octet that is served is compared."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import dns.name
import pytest

from dnsfront.dns.names import qname_from_text
from dnsfront.dns.wire import CLASS_IN
from dnsfront.errors import ZoneError
from tests.system.nsd import Nsd, refusal
from tests.system.zone_snippets import ONLY_NSD_TAKES, RIGHT, WRONG
from tests.unit.asking import HEAD, load_zone, question_of

ORIGIN = "example.test"
#: Types whose names may be compressed (RFC 3597, 4), and what stands before the name.
_NAME_AT = {2: 0, 5: 0, 12: 0, 15: 2}
_OWNERS = {f"n{number:03d}": record for number, record in enumerate(RIGHT)}
_TEXT = HEAD + "".join(f"{owner} {record}\n" for owner, record in _OWNERS.items())


class Answered(NamedTuple):
    """A record of an answer, its names written out and in lower case."""

    rtype: int
    ttl_s: int
    rdata: bytes


def answer_of(message: bytes) -> list[Answered]:
    """Return the answer section of *message*, octet for octet."""
    questions, answers = struct.unpack_from("!HH", message, 4)
    at = 12
    for _ in range(questions):
        at += dns.name.from_wire(message, at)[1] + 4
    found = []
    for _ in range(answers):
        at += dns.name.from_wire(message, at)[1]
        rtype, _rclass, ttl_s, size = struct.unpack_from("!HHIH", message, at)
        at += 10
        rdata = message[at : at + size]
        if rtype in _NAME_AT:
            start = at + _NAME_AT[rtype]
            name, octets = dns.name.from_wire(message, start)
            assert start + octets == at + size
            rdata = message[at:start] + (name.to_wire() or b"").lower()
        found.append(Answered(rtype, ttl_s, rdata))
        at += size
    return found


@pytest.fixture(scope="module")
def nsd(folder: Path) -> Iterator[Nsd]:
    with Nsd(folder, ORIGIN, _TEXT) as running:
        yield running


def test_at_least_a_hundred_snippets_are_compared() -> None:
    assert len(RIGHT) >= 100
    assert len(set(RIGHT)) == len(RIGHT)


def test_every_right_snippet_is_served_as_nsd_serves_it(nsd: Nsd) -> None:
    zone = load_zone(ORIGIN, _TEXT, "z")
    different = {}

    for owner, record in _OWNERS.items():
        theirs = answer_of(nsd.ask(f"{owner}.{ORIGIN}", "ANY"))
        assert theirs, (owner, record)
        rtype = theirs[0].rtype
        qname = qname_from_text(f"{owner}.{ORIGIN}")
        question = question_of(qname, rtype)
        sections = zone.respond(qname, rtype, CLASS_IN, question)
        counts = (1, sections.answers, 0, 0)
        header = struct.pack("!6H", 0, 0x8000, *counts)
        ours = answer_of(header + question + sections.octets)
        if ours != theirs:
            different[record] = (ours, theirs)

    assert different == {}


@pytest.mark.parametrize("record", WRONG)
def test_what_nsd_refuses_is_refused(record: str, tmp_path: Path) -> None:
    text = f"{HEAD}n {record}\n"

    with pytest.raises(ZoneError, match=r"^z:5: "):
        load_zone(ORIGIN, text, "z")
    assert refusal(tmp_path, ORIGIN, text)


@pytest.mark.parametrize("record", ONLY_NSD_TAKES)
def test_what_nsd_makes_something_else_of_is_refused(
    record: str, tmp_path: Path
) -> None:
    text = f"{HEAD}n {record}\n"

    with pytest.raises(ZoneError, match=r"^z:5: "):
        load_zone(ORIGIN, text, "z")
    assert refusal(tmp_path, ORIGIN, text) is None
