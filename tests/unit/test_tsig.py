"""Signed queries, of which a server without keys has to say that it knows none."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import dns.tsig
import pytest

from dnsfront.dns import wire
from dnsfront.dns.query import error_response, parse_query
from dnsfront.errors import UnknownKeyError, WireError
from tests.unit.stub_client import query_for
from tests.unit.worker_rig import ZONE, Rig

KEY = dns.tsig.Key("Key.test.", b"0123456789abcdef" * 2)
PLAIN = query_for("www.example.test").to_wire()
OPT = query_for("www.example.test", payload=1232).to_wire()[len(PLAIN) :]


def signed(key: dns.tsig.Key = KEY, **edns: int) -> dns.message.Message:
    query = query_for("www.example.test", **edns)
    query.use_tsig(key)
    if not edns:
        query.use_edns(-1)  # which comes with the key
    return query


TSIG = signed().to_wire()[len(PLAIN) :]
HEAD = TSIG.index(b"\0\xfa\0\xff")


def with_records(*records: bytes, counts: str = "additional") -> bytes:
    """Return the plain query with *records* behind it."""
    count = len(records).to_bytes(2, "big")
    sections = bytes(4) + count if counts == "additional" else count + bytes(4)
    return PLAIN[:6] + sections + PLAIN[12:] + b"".join(records)


@pytest.mark.parametrize("edns", [{}, {"payload": 1232}], ids=["plain", "EDNS"])
def test_signed_query_is_told_that_its_key_is_not_known(edns: dict[str, int]) -> None:
    query = signed(**edns)

    with Rig(zone=ZONE) as rig:
        [octets] = rig.ask(query.to_wire())

        assert rig.counted() == {"QUERIES_UDP": 1, "NOTAUTH": 1}
    # RFC 8945, 5.2.1: an error about the key is not signed, and the client can tell.
    response = dns.message.from_wire(octets, keyring=False)
    assert response.rcode() == dns.rcode.NOTAUTH
    assert response.question == query.question
    assert (response.edns == 0) is bool(edns)
    assert response.tsig is not None
    assert response.tsig.name == KEY.name
    [said] = response.tsig
    assert (said.error, said.mac, said.other) == (dns.rcode.BADKEY, b"", b"")
    assert (said.algorithm, said.original_id) == (KEY.algorithm, query.id)
    with pytest.raises(dns.tsig.PeerBadKey):
        dns.message.from_wire(octets, keyring={KEY.name: KEY}, request_mac=query.mac)


@pytest.mark.parametrize(
    "octets",
    [
        with_records(TSIG, OPT),
        with_records(TSIG, TSIG),
        with_records(TSIG[:HEAD] + b"\0\xfa\0\1" + TSIG[HEAD + 4 :]),
        with_records(TSIG[: HEAD + 7] + b"\1" + TSIG[HEAD + 8 :]),
        with_records(TSIG[: HEAD + 8] + b"\0\2xx"),
        with_records(TSIG[: HEAD + 8] + b"\0\x0b" + bytes(11)),
        with_records(TSIG[:-2] + b"\0\1"),
        with_records(TSIG) + b"x",
        with_records(TSIG, counts="answer"),
        with_records(b"\xc0\xff" + TSIG[HEAD:]),
    ],
    ids=[
        "not the last",
        "two",
        "class IN",
        "a TTL",
        "no algorithm",
        "no MAC",
        "other data cut short",
        "octets behind it",
        "in the answer",
        "no name",
    ],
)
def test_signed_query_that_is_malformed_is_formerr(octets: bytes) -> None:
    with pytest.raises(WireError) as caught:
        parse_query(octets)

    assert caught.value.rcode == wire.FORMERR


def test_name_of_the_key_is_in_full_whatever_it_pointed_to() -> None:
    octets = with_records(OPT, b"\xc0\x0c" + TSIG[HEAD:])

    with pytest.raises(UnknownKeyError) as caught:
        parse_query(octets)

    assert caught.value.tsig.startswith(b"\3www\7example\4test\0\0\xfa\0\xff")


def test_name_too_long_for_a_plain_response_is_left_out() -> None:
    name = ".".join(["k" * 60] * 4)
    key = dns.tsig.Key(name, b"secret" * 6, "hmac-sha256")
    octets = query_for(".".join(["q" * 60] * 4))
    octets.use_tsig(key)

    with pytest.raises(UnknownKeyError) as caught:
        parse_query(octets.to_wire())

    response = error_response(
        octets.to_wire(), caught.value.rcode, tsig=caught.value.tsig
    )
    assert len(response) <= wire.PLAIN_UDP_OCTETS
    assert dns.message.from_wire(response).rcode() == dns.rcode.NOTAUTH
