"""What is not for the kernel to answer passes on, untouched, and is counted."""

from __future__ import annotations

import socket
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from dnsfront.dns import wire
from tests.kern.answering import (
    EVERYWHERE,
    HEAD,
    LOOPBACK,
    MODES,
    OPT,
    RECORD,
    TTL_AT,
    UDP_SIZE,
    entry_for,
    message_for,
)
from tests.kern.lab import SLOTS
from tests.kern.packets import (
    CLIENTS,
    IP,
    IPV6,
    OURS,
    PORT,
    Packet,
    answer_to,
    payload_of,
)
from tests.kern.queries import qname_of
from tests.namespaces import OtherNetwork, ip

if TYPE_CHECKING:
    from collections.abc import Callable

    from dnsfront.kernel.hook import HookMode
    from tests.kern.answering import AnswerLab

QUESTION: Final = qname_of("www.Example.test") + b"\0\0\1\0\1"
PLAIN: Final = Packet(IP, message_for(QUESTION))
PLAIN6: Final = Packet(IPV6, message_for(QUESTION))
WITH_OPT: Final = message_for(QUESTION, opt=OPT)
DNSSEC_OK: Final = OPT[:7] + b"\x80" + OPT[8:]


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> HookMode:
    found: HookMode = request.param
    return found


@pytest.fixture(autouse=True)
def _answer(answering: AnswerLab) -> None:
    answering.keep(entry_for(QUESTION))


def test_plain_queries_are_answered(answering: AnswerLab, mode: HookMode) -> None:
    with answering.counting(answered=5):
        for packet in (
            PLAIN,
            PLAIN6,
            replace(PLAIN, payload=WITH_OPT),
            replace(PLAIN, fragment=0, hop_limit=1),
            replace(PLAIN, checksum="none"),
        ):
            assert answering.run(mode, packet.to_wire())


def test_nothing_is_answered_while_it_is_off(
    answering: AnswerLab, mode: HookMode
) -> None:
    answering.answers.configure(is_on=False, udp_size=UDP_SIZE)

    with answering.counting(not_ours=1):
        assert answering.run(mode, PLAIN.to_wire()) is None


def test_only_clients_of_the_list_are_answered(
    answering: AnswerLab, mode: HookMode
) -> None:
    broadcast = {(bytes((10, 1, 255, 255)), 32): 0}
    answering.serve(["10.1.0.0/16", "2001:db8::/32"], {**EVERYWHERE, **broadcast})
    answered = [
        replace(PLAIN, source="10.1.2.3"),
        replace(PLAIN6, source="2001:db8:1::9"),
    ]
    passed = [
        PLAIN,
        PLAIN6,
        replace(PLAIN, source="10.2.0.1"),
        replace(PLAIN, source="10.1.255.255"),
        replace(PLAIN6, source="2001:db9::1"),
    ]

    with answering.counting(answered=2, client=5):
        assert all(answering.run(mode, packet.to_wire()) for packet in answered)
        assert not any(answering.run(mode, packet.to_wire()) for packet in passed)

    answering.serve([])
    with answering.counting(client=7):
        for packet in (*answered, *passed):
            assert answering.run(mode, packet.to_wire()) is None


def test_client_to_whom_another_interface_leads_is_left_to_workers(
    answering: AnswerLab, mode: HookMode
) -> None:
    other = {(bytes((127, 0, 0, 0)), 24): LOOPBACK + 1}
    packet = replace(PLAIN, source="127.0.0.9").to_wire()
    with answering.counting(answered=1):
        assert answering.run(mode, packet)

    answering.serve(["0.0.0.0/0"], {**EVERYWHERE, **other})
    with answering.counting(client=1):
        assert answering.run(mode, packet) is None
    answering.serve(["0.0.0.0/0"], {})
    with answering.counting(client=1):
        assert answering.run(mode, packet) is None


def test_addresses_are_those_that_were_set_last(
    answering: AnswerLab, mode: HookMode
) -> None:
    answering.answers.set_addresses(
        {("127.0.0.2", 53, IP): False, ("127.0.0.1", 54, IP): False}
    )

    with answering.counting(answered=1, not_ours=2):
        assert answering.run(mode, PLAIN.to_wire()) is None
        assert answering.run(mode, PLAIN6.to_wire()) is None
        other = replace(PLAIN, target="127.0.0.2", port=53)
        assert answering.run(mode, other.to_wire())


@pytest.mark.parametrize(
    "message",
    [
        message_for(QUESTION, flags=0),
        message_for(QUESTION, flags=wire.RD | wire.CD),
        message_for(QUESTION, opt=DNSSEC_OK),
        message_for(QUESTION[:-3] + b"\x1c\0\1"),
        message_for(QUESTION[:-1] + b"\3"),
        message_for(b"\3v" + QUESTION[2:]),
        message_for(b"\1a" + QUESTION),
    ],
    ids=["no-rd", "cd", "do", "type", "class", "name", "longer-name"],
)
def test_another_question_or_view_is_absent(
    answering: AnswerLab, mode: HookMode, message: bytes
) -> None:
    with answering.counting(absent=1):
        assert answering.run(mode, replace(PLAIN, payload=message).to_wire()) is None


def test_from_its_second_on_an_answer_is_expired(
    answering: AnswerLab, mode: HookMode
) -> None:
    answering.keep(entry_for(QUESTION, lives_s=0))

    with answering.counting(expired=1):
        assert answering.run(mode, PLAIN.to_wire()) is None


def test_response_that_is_too_large_is_left_to_the_worker(
    answering: AnswerLab, mode: HookMode
) -> None:
    size = len(WITH_OPT) + len(RECORD)
    answering.answers.configure(is_on=True, udp_size=size - 1)
    with answering.counting(size=1):
        packet = replace(PLAIN, payload=WITH_OPT)
        assert answering.run(mode, packet.to_wire()) is None

    answering.answers.configure(is_on=True, udp_size=size)
    with answering.counting(answered=1):
        assert answering.run(mode, packet.to_wire())


def test_response_that_exceeds_the_link_is_left_to_the_worker(
    answering: AnswerLab, mode: HookMode
) -> None:
    packet = PLAIN.to_wire()
    octets = len(packet) - 14 + len(RECORD)
    with OtherNetwork() as other, other.inside():
        for mtu, answered in ((octets, 1), (octets - 1, 0)):
            ip("link", "set", "lo", "mtu", str(mtu))
            with answering.counting(answered=answered, size=1 - answered):
                answering.run(mode, packet)


def test_cell_that_is_being_written_is_left_alone(
    answering: AnswerLab, mode: HookMode
) -> None:
    cell = answering.keep(entry_for(QUESTION))
    word = cell * (answering.book._cell_octets // 8)
    answering.book._words[word] += 1

    with answering.counting(torn=1):
        assert answering.run(mode, PLAIN.to_wire()) is None


def _wipe(answering: AnswerLab) -> None:
    answering.book.clear()


def _remove(answering: AnswerLab) -> None:
    answering.answers.remove_book(1)


def _die(answering: AnswerLab) -> None:
    answering.steering.set_live(1, is_live=False)


def _move(answering: AnswerLab) -> None:
    answering.steering.set_live(2, is_live=True)
    answering.steering.publish(bytes((2, 1, 0, 0)) * SLOTS)


def _renew(answering: AnswerLab) -> None:
    answering.new_book(1)


@pytest.mark.parametrize("change", [_wipe, _remove, _die, _move, _renew])
def test_only_the_book_of_the_owner_counts(
    answering: AnswerLab, mode: HookMode, change: Callable[[AnswerLab], None]
) -> None:
    with answering.counting(answered=1):
        assert answering.run(mode, PLAIN.to_wire())

    change(answering)

    before = answering.answers.passed()["absent"]
    assert answering.run(mode, PLAIN.to_wire()) is None
    assert answering.answers.passed()["absent"] == before + 1


def test_who_stands_in_answers_from_its_own_book(
    answering: AnswerLab, mode: HookMode
) -> None:
    other = answering.new_book(2, sets=3)
    entry = entry_for(QUESTION, body=RECORD[:-1] + b"\x77")
    answering.keep(entry, other)
    mine = answering.run(mode, PLAIN.to_wire())
    assert mine
    assert mine.endswith(RECORD[-1:])

    answering.steering.set_live(2, is_live=True)
    answering.steering.set_live(1, is_live=False)

    theirs = answering.run(mode, PLAIN.to_wire())
    assert theirs
    assert theirs.endswith(b"\x77")
    assert answering.answers.hits()[2, 0] >= 1
    answering.answers.remove_book(2)


@pytest.mark.parametrize("records", [473, 1000, 65535])
def test_cell_with_lengths_that_lie_gives_nothing_away(
    answering: AnswerLab, mode: HookMode, records: int
) -> None:
    cell = answering.keep(entry_for(QUESTION))
    at = cell * answering.book._cell_octets
    answering.book._octets[at + 30 : at + 32] = struct.pack("<H", records)

    with answering.counting(torn=1):
        assert answering.run(mode, PLAIN.to_wire()) is None


def test_hits_are_those_of_the_entry(answering: AnswerLab, mode: HookMode) -> None:
    cell = answering.keep(entry_for(QUESTION))
    other = answering.keep(entry_for(b"\1a" + QUESTION))
    answering.book.harvest(0, answering.book.cells)

    for _ in range(3):
        answering.run(mode, PLAIN.to_wire())

    assert answering.book.harvest(0, answering.book.cells) == [(cell, 3)]
    assert answering.book.hits(other) == 0


@pytest.mark.parametrize("family", [IP, IPV6], ids=["ipv4", "ipv6"])
def test_checksum_that_is_half_done_is_done_the_same_way(
    answering: AnswerLab, family: int
) -> None:
    packet = Packet(family, WITH_OPT, checksum="partial").to_wire()

    for mode in MODES:
        made = answering.run(mode, packet)
        assert made
        at = 40 if family == IP else 60
        back = Packet(
            family,
            made[at + 2 :],
            source="127.0.0.1" if family == IP else "::1",
            target="127.0.0.9" if family == IP else "::1",
            source_port=PORT,
            port=40053,
            checksum="true" if mode == "xdp" else "partial",
        )
        assert made[at : at + 2] == back.to_wire()[at : at + 2]


@pytest.mark.parametrize("family", [IP, IPV6], ids=["ipv4", "ipv6"])
def test_checksum_that_may_be_half_done_or_true_is_taken_for_true(
    answering: AnswerLab, family: int
) -> None:
    at = 40 if family == IP else 60

    def sum_of(checksum: str, message_id: int) -> int:
        message = message_for(QUESTION, message_id=message_id)
        wire_octets = Packet(family, message, checksum=checksum).to_wire()
        return int.from_bytes(wire_octets[at : at + 2], "big")

    half_done = sum_of("partial", 0)
    message_id = (sum_of("true", 0) - half_done) % 0xFFFF
    assert sum_of("true", message_id) == half_done
    query = Packet(family, message_for(QUESTION, message_id=message_id))

    for mode in MODES:
        made = answering.run(mode, query.to_wire())
        assert made
        assert made == answer_to(query, payload_of(made)).to_wire()


def test_aged_ttls_end_at_zero(answering: AnswerLab, mode: HookMode) -> None:
    answering.keep(entry_for(QUESTION, body=RECORD, head=HEAD, age_s=301))

    made = answering.run(mode, PLAIN.to_wire())

    assert made
    at = len(made) - len(RECORD) + TTL_AT
    assert made[at : at + 4] == bytes(4)


@pytest.mark.parametrize("packet", [PLAIN, PLAIN6], ids=["IPv4", "IPv6"])
def test_who_is_bound_to_the_very_address_gets_what_a_wildcard_does_not(
    answering: AnswerLab, mode: HookMode, packet: Packet
) -> None:
    own = OURS[packet.family]
    answering.answers.set_addresses({(own, packet.port, packet.family): True})

    with bound("0.0.0.0" if packet.family == IP else "::", packet) as ours:  # noqa: S104
        with answering.counting(answered=1):
            assert answering.run(mode, packet.to_wire())
        with bound(own, packet), answering.counting(not_ours=1):
            assert answering.run(mode, packet.to_wire()) is None
        with bound(own, packet) as other:
            other.close()
            assert answering.run(mode, packet.to_wire())
        client = CLIENTS[packet.family]
        with bound(own, packet) as other, answering.counting(not_ours=1):
            other.connect((client, packet.source_port))
            assert answering.run(mode, packet.to_wire()) is None
        ours.close()
        with answering.counting(not_ours=1):
            assert answering.run(mode, packet.to_wire()) is None


def bound(host: str, packet: Packet) -> socket.socket:
    """Return a socket on the packet's port that shares it with others."""
    made = socket.socket(packet.family, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if packet.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind((host, packet.port))
    return made
