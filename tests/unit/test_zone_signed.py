"""Signed zones: who gets signatures, and what is refused of them."""

from __future__ import annotations

from pathlib import Path

import dns.flags
import dns.message
import pytest

from dnsfront.dns.zones.zone_set import ZoneSet
from dnsfront.errors import ZoneError
from tests.unit.asking import HEAD, ask, load_zone
from tests.unit.stub_client import query_for
from tests.unit.worker_rig import Rig

VECTORS = Path(__file__).parents[1] / "vectors/zones"
SIGNATURE = "13 2 60 20500101000000 20200101000000 1 example.test. AAAA"


def said(name: str, rtype: str = "A", *, is_dnssec_ok: bool) -> list[int]:
    """Return the types of the records of a worker's response, from left to right."""
    text = (VECTORS / "nsec3.zone").read_text("ascii")
    with Rig() as rig:
        rig.answering.serve(ZoneSet([load_zone("signed.test", text, "z")]))
        query = dns.message.make_query(name, rtype, want_dnssec=is_dnssec_ok)

        first, second = rig.ask_for(query), rig.ask_for(query)

        assert (first.answer, first.authority) == (second.answer, second.authority)
        assert not first.flags & dns.flags.AD
        return [x.rdtype for section in first.sections[1:3] for x in section]


@pytest.mark.parametrize(
    ("name", "with_signatures", "without"),
    [
        ("www.signed.test", [1, 46], [1]),
        ("alias.signed.test", [5, 46, 1, 46], [5, 1]),
        ("a.from.signed.test", [39, 46, 5, 1, 46, 50, 46], [39, 5, 1]),
        ("nowhere.signed.test", [6, 46] + 3 * [50, 46], [6]),
        ("host.insecure.signed.test", [2, 50, 46], [2]),
        ("host.secure.signed.test", [2, 43, 46], [2]),
    ],
)
def test_signatures_and_proofs_are_for_who_wants_them(
    name: str, with_signatures: list[int], without: list[int]
) -> None:
    assert said(name, is_dnssec_ok=True) == with_signatures
    assert said(name, is_dnssec_ok=False) == without


@pytest.mark.parametrize(
    ("name", "rtype"), [("", "DNSKEY"), ("", "NSEC3PARAM"), ("alias.", "RRSIG")]
)
def test_records_of_the_signer_can_be_asked_for(name: str, rtype: str) -> None:
    assert len(said(f"{name}signed.test", rtype, is_dnssec_ok=False)) == 1


def test_owner_of_an_nsec3_record_is_no_name() -> None:
    text = (VECTORS / "nsec3.zone").read_text("ascii")
    [owner, *_] = [x.split()[0] for x in text.splitlines() if "\tNSEC3\t" in x]
    zone = load_zone("signed.test", text, "z")

    response = ask(zone, owner, "NSEC3")

    assert response.rcode() == 3
    assert len(response.authority) == 1


def test_signatures_have_the_ttl_of_what_they_cover() -> None:
    zone = load_zone(
        "example.test",
        f"{HEAD}a 60 A 192.0.2.1\na 60 RRSIG A {SIGNATURE}\n"
        f"a 9 TXT x\na 9 RRSIG TXT {SIGNATURE}\n",
        "z",
    )

    found = ask(zone, "a.example.test", "RRSIG").answer

    assert [rrset.ttl for rrset in found] == [9, 9]
    assert len(found) == 2


def test_an_alias_may_be_signed() -> None:
    text = f"{HEAD}a RRSIG CNAME {SIGNATURE}\na NSEC b CNAME\na CNAME b\n"
    zone = load_zone("example.test", text, "z")

    assert len(ask(zone, "a.example.test", "CNAME").answer) == 1


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("@ NSEC3PARAM 1 0 151 -", "151 iterations, want at most 150"),
        (f"a.b NSEC3 1 0 0 - {32 * '0'} A", "not a hash and the origin"),
    ],
)
def test_what_cannot_be_used_is_refused(record: str, reason: str) -> None:
    with pytest.raises(ZoneError, match=reason):
        load_zone("example.test", f"{HEAD}{record}\n", "z")


def test_query_without_edns_gets_no_signatures() -> None:
    text = (VECTORS / "nsec.zone").read_text("ascii")
    with Rig() as rig:
        rig.answering.serve(ZoneSet([load_zone("signed.test", text, "z")]))

        assert len(rig.ask_for(query_for("www.signed.test")).answer) == 1
