"""Signed zones answer as nsd does, question by question, and validate."""

from __future__ import annotations

import itertools
import socket
import struct
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
import pytest

from dnsfront.dns.wire import CLASS_IN
from dnsfront.dns.zones.authority import Zone
from tests.system.nsd import Nsd
from tests.system.processes import needed
from tests.unit.asking import load_zone, question_of

ORIGIN: Final = "signed.test"
VECTORS: Final = Path(__file__).parents[1] / "vectors/zones"
NAMES: Final = (
    "", "www", "alias", "dangling", "x.wildalias", "any.wildalias", "a.wild",
    "b.a.wild",
    "*.wild", "wild", "own.wild", "a.own.wild", "sub.wild", "a.sub.wild", "empty",
    "er.empty", "deep.er.empty", "x.empty", "nowhere", "a.nowhere", "zzz", "0",
    "secure",
    "host.secure", "insecure", "host.insecure", "more", "below.more", "x.below.more",
    "x.more", "below", "_tcp", "_sip._tcp", "from", "a.from", "a.b.from", "own.from",
    "mixed", "*", "*.nowhere", "ns1", "a.ns1",
)  # fmt: skip
TYPES: Final = (
    "A", "AAAA", "TXT", "MX", "NS", "SOA", "DS", "CNAME", "DNAME", "DNSKEY", "NSEC",
    "NSEC3PARAM",
)  # fmt: skip
#: One question for each kind of answer and proof.
VALIDATED: Final = (
    ("www", "A"), ("www", "MX"), ("nowhere", "A"), ("a.wild", "A"), ("a.wild", "TXT"),
    ("empty", "A"), ("x.wildalias", "A"),
    ("secure", "DS"), ("dangling", "A"), ("a.sub.wild", "A"),
    ("*.wild", "TXT"),
)  # fmt: skip


@pytest.fixture(scope="module", params=["nsec", "nsec3", "optout"])
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Zone, Nsd]]:
    text = (VECTORS / f"{request.param}.zone").read_text("ascii")
    with Nsd(tmp_path_factory.mktemp("nsd"), ORIGIN, text) as nsd:
        yield load_zone(ORIGIN, text, "z"), nsd


def answer_of(
    zone: Zone, qname: str, rtype: str, *, is_dnssec_ok: bool
) -> dns.message.Message:
    name = dns.name.from_text(qname).to_wire() or b""
    qtype = dns.rdatatype.from_text(rtype)
    question = question_of(name, qtype)
    sections = zone.respond(
        name.lower(), qtype, CLASS_IN, question, is_dnssec_ok=is_dnssec_ok
    )
    flags = 0x8000 | sections.is_authoritative << 10 | sections.rcode
    counts = (1, sections.answers, sections.authorities, sections.additionals)
    header = struct.pack("!6H", 0, flags, *counts)
    return dns.message.from_wire(header + question + sections.octets)


def records(section: list[dns.rrset.RRset]) -> Counter[str]:
    """Return the records of a section, in lower case, since nsd folds its data."""
    return Counter(
        f"{rrset.name} {rrset.ttl} {rrset.rdtype} {rdata.to_text()}".lower()
        for rrset in section
        for rdata in rrset
    )


@pytest.mark.parametrize("is_dnssec_ok", [True, False], ids=["DO", "plain"])
def test_signed_zone_answers_as_nsd_does(
    both: tuple[Zone, Nsd], *, is_dnssec_ok: bool
) -> None:
    zone, nsd = both
    different = []

    for name, rtype in itertools.product(NAMES, TYPES):
        qname = f"{name}.{ORIGIN}".removeprefix(".")
        theirs = dns.message.from_wire(nsd.ask(qname, rtype, is_dnssec_ok=is_dnssec_ok))
        ours = answer_of(zone, qname, rtype, is_dnssec_ok=is_dnssec_ok)
        # Of names that DNAME makes and a wildcard has, nsd 4.6 proves another one; to a
        # wildcard's own name it adds a proof of the name above it, which RFC 5155,
        # 7.2.3 has not. What we say of a.wild and *.wild validates, below.
        is_odd = name in {"a.from", "a.b.from", "*.wild"}
        both_say = [
            (
                message.rcode(),
                message.flags & dns.flags.AA,
                records(message.answer),
                is_odd or records(message.authority),
            )
            for message in (ours, theirs)
        ]
        if both_say[0] != both_say[1]:
            different.append(f"{qname} {rtype}\n{ours}\n---\n{theirs}")

    assert different == [], f"{len(different)}\n" + "\n=====\n".join(different)[:6000]


class Server:
    """Answers from a zone, over UDP at 127.0.0.1, for as long as the context lasts."""

    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        while True:
            octets, sender = self._socket.recvfrom(65535)
            if not octets:
                return
            query = dns.message.from_wire(octets)
            [question] = query.question
            rtype = dns.rdatatype.to_text(question.rdtype)
            name = question.name.to_text()
            response = answer_of(self._zone, name, rtype, is_dnssec_ok=True)
            response.id = query.id
            response.use_edns(payload=4096)
            response.want_dnssec()
            self._socket.sendto(response.to_wire(max_size=65535), sender)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()


def test_delv_validates_what_a_signed_zone_says(
    both: tuple[Zone, Nsd], tmp_path: Path
) -> None:
    key = (VECTORS / "signed.test.key").read_text("ascii").partition(";")[0].split()
    flags, protocol, algorithm, octets = key[-4:]
    (tmp_path / "anchors").write_text(
        f"trust-anchors {{ {ORIGIN} static-key {flags} {protocol} {algorithm} "
        f'"{octets}"; }};'
    )
    proof = answer_of(both[0], f"nowhere.{ORIGIN}", "A", is_dnssec_ok=True)
    is_optout = " NSEC3 1 1 0 -" in proof.to_text()
    said = {}

    with Server(both[0]) as server:
        for name, rtype in VALIDATED:
            done = subprocess.run(
                [
                    needed("delv"), "@127.0.0.1", "-p", str(server.port), "-a",
                    str(tmp_path / "anchors"), f"+root={ORIGIN}", f"{name}.{ORIGIN}",
                    rtype,
                ],
                capture_output=True, check=False, text=True,
            )  # fmt: skip
            # RFC 5155, 12.2.1: behind an opt-out nobody can tell of a wildcard.
            is_open = is_optout and "unsigned answer" in done.stdout
            if "fully validated" not in done.stdout and not is_open:
                said[name, rtype] = done.stdout + done.stderr

    assert said == {}
