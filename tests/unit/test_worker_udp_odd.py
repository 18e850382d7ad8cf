"""Everything that clients send in datagrams, and what they get for it."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnsfront.dns import wire
from tests.unit.datagrams import OPT, QUESTION, message, padded, said, with_opt, www
from tests.unit.worker_rig import ZONE, Rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig(zone=ZONE) as made:
        yield made


SILENCE = None
ODD = {
    "nothing": (b"", SILENCE, {"IGNORED_SHORT": 1}),
    "one octet": (b"\0", SILENCE, {"IGNORED_SHORT": 1}),
    "half a header": (message()[:11], SILENCE, {"IGNORED_SHORT": 1}),
    "a response": (message(flags=wire.QR), SILENCE, {"IGNORED_RESPONSE": 1}),
    "header alone": (message(rest=b""), "FORMERR", {"FORMERR": 1}),
    "no question": (message(counts=(0, 0, 0, 0), rest=b""), "FORMERR", {"FORMERR": 1}),
    "two questions": (
        message(counts=(2, 0, 0, 0), rest=2 * QUESTION),
        "FORMERR",
        {"FORMERR": 1},
    ),
    "an answer": (message(counts=(1, 1, 0, 0)), "FORMERR", {"FORMERR": 1}),
    "pointer loop": (message(rest=b"\xc0\x0c\0\1\0\1"), "FORMERR", {"FORMERR": 1}),
    "label overrun": (message(rest=b"\x3fwww\0\0\1\0\1"), "FORMERR", {"FORMERR": 1}),
    "name too long": (
        message(rest=5 * (b"\x3f" + b"x" * 63) + b"\0\0\1\0\1"),
        "FORMERR",
        {"FORMERR": 1},
    ),
    "name too long with OPT": (
        with_opt(question=4 * (b"\x3f" + b"x" * 63) + b"\0\0\1\0\1"),
        "FORMERR",
        {"FORMERR": 1},
    ),
    "no type": (message(rest=b"\3www\0"), "FORMERR", {"FORMERR": 1}),
    "trailing octet": (message(rest=QUESTION + b"\0"), "FORMERR", {"FORMERR": 1}),
    "trailing octet with OPT": (with_opt(OPT + b"\0"), "FORMERR", {"FORMERR": 1}),
    "octet between question and OPT": (
        with_opt(b"\0" + OPT),
        "FORMERR",
        {"FORMERR": 1},
    ),
    "OPT not counted": (message(rest=QUESTION + OPT), "FORMERR", {"FORMERR": 1}),
    "OPT missing": (message(counts=(1, 0, 0, 1)), "FORMERR", {"FORMERR": 1}),
    "header alone, which counts an OPT record": (
        message(counts=(1, 0, 0, 1), rest=b""),
        "FORMERR",
        {"FORMERR": 1},
    ),
    "half an OPT record": (
        message(counts=(1, 0, 0, 1), rest=OPT[:6]),
        "FORMERR",
        {"FORMERR": 1},
    ),
    "OPT and no question": (
        message(counts=(1, 0, 0, 1), rest=OPT),
        "FORMERR",
        {"FORMERR": 1},
    ),
    "two OPT records": (
        message(counts=(1, 0, 0, 2), rest=QUESTION + 2 * OPT),
        "FORMERR",
        {"FORMERR": 1},
    ),
    "OPT not at the root": (with_opt(b"\1a" + OPT), "FORMERR", {"FORMERR": 1}),
    "option overrun": (
        with_opt(OPT[:9] + b"\0\4\0\3\0\1"),
        "FORMERR",
        {"FORMERR": 1},
    ),
    "NOTIFY": (message(flags=4 << 11), "NOTIMP", {"NOTIMP": 1}),
    "UPDATE": (message(flags=5 << 11), "NOTIMP", {"NOTIMP": 1}),
    "EDNS of version 1": (
        with_opt(OPT[:6] + b"\1" + OPT[7:]),
        "BADVERS",
        {"BADVERS": 1},
    ),
    "EDNS of version 255 and more": (
        with_opt(OPT[:6] + b"\xff" + OPT[7:9] + b"\0\4\0\3\0\0"),
        "BADVERS",
        {"BADVERS": 1},
    ),
    "class CH": (message(rest=QUESTION[:-1] + b"\3"), "REFUSED", {"REFUSED": 1}),
    "class ANY": (message(rest=QUESTION[:-2] + b"\0\xff"), "REFUSED", {"REFUSED": 1}),
    "AXFR": (message(rest=QUESTION[:-4] + b"\0\xfc\0\1"), "REFUSED", {"REFUSED": 1}),
    "IXFR": (message(rest=QUESTION[:-4] + b"\0\xfb\0\1"), "REFUSED", {"REFUSED": 1}),
    "question for OPT": (
        message(rest=QUESTION[:-4] + b"\0\x29\0\1"),
        "REFUSED",
        {"REFUSED": 1},
    ),
    "name of nobody": (
        message(rest=b"\7example\3com\0\0\1\0\1"),
        "REFUSED",
        {"REFUSED": 1},
    ),
    "plain": (message(), "NOERROR", {"NOERROR": 1}),
    "plain with OPT": (with_opt(), "NOERROR", {"NOERROR": 1}),
    "TC, AA, RA and Z set": (
        message(flags=wire.TC | wire.AA | wire.RA | 0x40),
        "NOERROR",
        {"NOERROR": 1},
    ),
    "octets of an OPT record in an option": (
        with_opt(OPT[:9] + struct.pack("!HHH", 15, 65001, 11) + OPT),
        "NOERROR",
        {"NOERROR": 1},
    ),
    "319 octets": (padded(319), "NOERROR", {"NOERROR": 1}),
    "320 octets": (padded(320), "NOERROR", {"NOERROR": 1}),
    "321 octets": (padded(321), "NOERROR", {"NOERROR": 1}),
    "65507 octets": (padded(65507), "NOERROR", {"NOERROR": 1}),
    "65507 octets of noise": (
        message(rest=bytes(65495)),
        "FORMERR",
        {"FORMERR": 1},
    ),
}


@pytest.mark.parametrize(("octets", "verdict", "counters"), ODD.values(), ids=list(ODD))
@pytest.mark.parametrize("is_warm", [False, True], ids=["first", "later"])
def test_client_gets_what_the_protocol_asks(
    *,
    rig: Rig,
    octets: bytes,
    verdict: str | None,
    counters: dict[str, int],
    is_warm: bool,
) -> None:
    if is_warm:
        for known in (message(), with_opt(), octets):
            rig.ask(known)
    before = rig.counted()

    responses = rig.ask(octets)

    assert [said(response) for response in responses] == ([verdict] if verdict else [])
    assert all(response[:2] == b"\x12\x34" for response in responses)
    after = rig.counted()
    delta = {
        name: count - before.get(name, 0)
        for name, count in after.items()
        if count != before.get(name, 0)
    }
    assert delta == {"QUERIES_UDP": 1, **counters}
    assert rig.ask_for(www()).rcode() == dns.rcode.NOERROR


def test_all_of_it_in_one_batch_gets_the_same(rig: Rig) -> None:
    client = rig.client()
    sent = list(ODD.values())
    for octets, _verdict, _counters in sent:
        client.send(octets)

    rig.round()

    found = sorted(said(octets) for octets in client.receive())
    assert found == sorted(verdict for _octets, verdict, _counters in sent if verdict)
    expected: dict[str, int] = {"QUERIES_UDP": len(sent)}
    for _octets, _verdict, counters in sent:
        for name, count in counters.items():
            expected[name] = expected.get(name, 0) + count
    assert rig.counted() == expected


def test_query_whose_option_ends_like_a_learned_opt_record_is_answered(
    rig: Rig,
) -> None:
    rig.ask(with_opt())
    tricky = ODD["octets of an OPT record in an option"][0]

    [response] = rig.ask(tricky)

    assert said(response) == "NOERROR"
    assert len(dns.message.from_wire(response).answer) == 1


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400), st.booleans())
def test_no_octets_harm_a_worker(rig: Rig, octets: bytes, has_header: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    before = rig.counted()
    if has_header:
        octets = message(counts=(1, 0, 0, 1), rest=octets)

    responses = rig.ask(octets)

    assert len(responses) <= 1
    for response in responses:
        said(response)
    after = rig.counted()
    assert "EXCEPTIONS" not in after
    names = set(after) - {"QUERIES_UDP"}
    assert sum(after[x] - before.get(x, 0) for x in names) == 1
