"""Packets and messages of every odd kind pass on, untouched, and are counted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from dnsfront.dns import wire
from tests.kern.answering import (
    MODES,
    OPT,
    entry_for,
    message_for,
)
from tests.kern.packets import IP, IPV6, PORT, Packet
from tests.kern.queries import label, qname_of

if TYPE_CHECKING:
    from tests.kern.answering import AnswerLab

QUESTION: Final = qname_of("www.Example.test") + b"\0\0\1\0\1"
PLAIN: Final = Packet(IP, message_for(QUESTION))
PLAIN6: Final = Packet(IPV6, message_for(QUESTION))
WITH_OPT: Final = message_for(QUESTION, opt=OPT)


def octets(message: bytes, at: int, replacement: bytes) -> bytes:
    """Return *message* with other octets at *at*."""
    return message[:at] + replacement + message[at + len(replacement) :]


NOT_OURS: Final = {
    "ip-options": replace(PLAIN, ip_options=b"\x01\x01\x01\x01"),
    "first-fragment": replace(PLAIN, fragment=0x2000),
    "later-fragment": replace(PLAIN, fragment=0x00B9),
    "reserved-fragment-bit": replace(PLAIN, fragment=0x8000),
    "bad-ip-checksum": replace(PLAIN, ip_checksum_error=0x100),
    "tcp": replace(PLAIN, protocol=6),
    "arp": replace(PLAIN, ethertype=0x0806),
    "vlan": replace(PLAIN, ethertype=0x8100),
    "padded": replace(PLAIN, padding=bytes(3)),
    "response": replace(PLAIN, payload=message_for(QUESTION, flags=wire.QR | wire.RD)),
    "other-port": replace(PLAIN, port=PORT + 1),
    "other-address": replace(PLAIN, target="127.0.0.2"),
    "from-multicast": replace(PLAIN, source="224.0.0.1"),
    "from-broadcast": replace(PLAIN, source="255.255.255.255"),
    "from-nowhere": replace(PLAIN, source="0.0.0.0"),  # noqa: S104 - a source
    "ipv6-hop-by-hop": replace(PLAIN6, protocol=0),
    "ipv6-fragment": replace(PLAIN6, protocol=44),
    "ipv6-destination-options": replace(PLAIN6, protocol=60),
    "ipv6-padded": replace(PLAIN6, padding=bytes(1)),
    "ipv6-other-address": replace(PLAIN6, target="2001:db8::1"),
    "ipv6-from-multicast": replace(PLAIN6, source="ff02::1"),
    "ipv6-from-nowhere": replace(PLAIN6, source="::"),
    "ipv6-from-mapped": replace(PLAIN6, source="::ffff:192.0.2.1"),
}
ODD_PACKETS: Final = {
    "to-multicast-link": replace(PLAIN, our_link=b"\x01\0\x5e\0\0\1"),
    "from-port-0": replace(PLAIN, source_port=0),
    "from-port-53": replace(PLAIN, source_port=53),
    "from-our-port": replace(PLAIN, source_port=PORT),
    "bad-checksum": replace(PLAIN, checksum=0x1234),
    "udp-too-long": replace(PLAIN, udp_length_error=1),
    "udp-too-short": replace(PLAIN, udp_length_error=-1),
    "ipv6-without-checksum": replace(PLAIN6, checksum="none"),
    "ipv6-bad-checksum": replace(PLAIN6, checksum=0x4321),
    "ipv6-from-port-0": replace(PLAIN6, source_port=0),
}
ODD_MESSAGES: Final = {
    "header-only": message_for(b""),
    "opcode": message_for(QUESTION, flags=0x2800),
    "truncated": message_for(QUESTION, flags=wire.TC),
    "authoritative": message_for(QUESTION, flags=wire.AA),
    "recursion-available": message_for(QUESTION, flags=wire.RA),
    "reserved-flag": message_for(QUESTION, flags=0x40),
    "rcode": message_for(QUESTION, flags=1),
    "no-question": octets(PLAIN.payload, 5, b"\0"),
    "two-questions": octets(PLAIN.payload, 5, b"\2"),
    "many-questions": octets(PLAIN.payload, 4, b"\1"),
    "an-answer": octets(PLAIN.payload, 7, b"\1"),
    "an-authority": octets(PLAIN.payload, 9, b"\1"),
    "opt-missing": octets(PLAIN.payload, 11, b"\1"),
    "two-additionals": octets(WITH_OPT, 11, b"\2"),
    "opt-not-counted": octets(WITH_OPT, 11, b"\0"),
    "octets-behind": PLAIN.payload + b"\0",
    "octets-behind-opt": WITH_OPT + b"\0",
    "question-cut-short": PLAIN.payload[:-1],
    "opt-cut-short": WITH_OPT[:-1],
    "pointer": message_for(b"\3www\xc0\x0c\0\1\0\1"),
    "label-of-64": message_for(b"\x40" + bytes(64) + b"\0\0\1\0\1"),
    "name-of-256": message_for(label(bytes(63)) * 3 + label(bytes(62)) + b"\0\0\1\0\1"),
    "name-cut-short": message_for(b"\x20" + bytes(12)),
    "opt-with-option": WITH_OPT[:-2] + b"\0\4\0\3\0\0",
    "opt-version-1": message_for(QUESTION, opt=octets(OPT, 6, b"\1")),
    "opt-rcode": message_for(QUESTION, opt=octets(OPT, 5, b"\1")),
    "opt-reserved-flags": message_for(QUESTION, opt=octets(OPT, 7, b"\x40")),
    "opt-low-flags": message_for(QUESTION, opt=octets(OPT, 8, b"\1")),
    "opt-length": message_for(QUESTION, opt=octets(OPT, 10, b"\1")),
    "opt-name": message_for(QUESTION, opt=octets(OPT, 0, b"\1")),
    "another-record": message_for(QUESTION, opt=octets(OPT, 2, b"\xfa")),
}


@pytest.fixture(scope="module")
def steady(_answering: AnswerLab) -> AnswerLab:
    """The answer is there for all tests of this file."""
    _answering.reset()
    _answering.keep(entry_for(QUESTION))
    return _answering


@pytest.mark.parametrize("packet", NOT_OURS.values(), ids=NOT_OURS)
def test_other_packets_are_not_ours(steady: AnswerLab, packet: Packet) -> None:
    with steady.counting(not_ours=len(MODES)):
        for mode in MODES:
            assert steady.run(mode, packet.to_wire()) is None


@pytest.mark.parametrize("packet", ODD_PACKETS.values(), ids=ODD_PACKETS)
def test_odd_packets_pass_on(steady: AnswerLab, packet: Packet) -> None:
    # What the kernel knows to be for others is none of TC's business.
    others = int(packet.our_link[0] & 1)
    with steady.counting(unusual=len(MODES) - others, not_ours=others):
        for mode in MODES:
            assert steady.run(mode, packet.to_wire()) is None


@pytest.mark.parametrize("message", ODD_MESSAGES.values(), ids=ODD_MESSAGES)
def test_odd_messages_pass_on(steady: AnswerLab, message: bytes) -> None:
    with steady.counting(unusual=2 * len(MODES)):
        for mode in MODES:
            for family in (IP, IPV6):
                assert steady.run(mode, Packet(family, message).to_wire()) is None


def test_the_plain_query_is_answered(steady: AnswerLab) -> None:
    with steady.counting(answered=2 * len(MODES)):
        for mode in MODES:
            assert steady.run(mode, PLAIN.to_wire())
            assert steady.run(mode, PLAIN6.to_wire())
