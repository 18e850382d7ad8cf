"""Queries that are nearly right: the kernel answers as a worker does, or not at all."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import pytest

from dnsfront.dns import wire
from dnsfront.errors import WireError
from tests.kern.answering import MODES, OPT, entry_for, message_for, now_s
from tests.kern.packets import IP, IPV6, Packet, answer_to, payload_of
from tests.kern.queries import label, qname_of

if TYPE_CHECKING:
    from dnsfront.dns.entry import Entry
    from dnsfront.kernel.hook import HookMode
    from tests.kern.answering import AnswerLab

MUTATIONS: Final = 1500
QUESTIONS: Final = [
    qname + b"\0\0" + qtype + b"\0\1"
    for qname in (
        b"",
        qname_of("a"),
        qname_of("www.example.test"),
        label(b"@[`{AZaz\0\xff") * 6,
        label(b"b" * 63) * 3 + label(b"c" * 61),
    )
    for qtype in (b"\1", b"A", b"a")
]
#: Where one question ends another may begin, for a mistake to find it.
MESSAGES: Final = [
    message_for(question, flags=flags, opt=opt)
    for question in QUESTIONS
    for flags in (0, wire.RD, wire.RD | wire.CD | wire.AD)
    for opt in (b"", OPT, OPT[:7] + b"\x80" + OPT[8:])
]


def mutated(rng: random.Random, message: bytes) -> bytes:
    """Return *message* with a mistake or two; now and then with none."""
    octets = bytearray(message)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        at = rng.choice((rng.randrange(2, 12), rng.randrange(len(octets))))
        kind = rng.randrange(5)
        if kind == 0:
            octets[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            octets[at] = rng.choice((0, 1, 0x20, 0x3F, 0x40, 0xC0, 0xFF))
        elif kind == 2:
            del octets[at:]
        elif kind == 3:
            octets[at:at] = rng.randbytes(rng.randint(1, 12))
        else:
            octets[at : at + rng.randint(1, 4)] = b""
        if len(octets) < 13:
            break
    return bytes(octets)


def entry_of(
    answering: AnswerLab, message: bytes, entries: dict[tuple[int, bytes], Entry]
) -> Entry | None:
    """Return the entry by which the fast path of a worker answers, if it does."""
    if len(message) < 13:
        return None
    try:
        shape = answering.shape(message)
    except WireError:
        return None
    if shape is None:
        return None
    question = message[12:-11] if shape.opt else message[12:]
    return entries.get((shape.view, question[:-4].lower() + question[-4:]))


@pytest.mark.parametrize("mode", MODES)
def test_nearly_right_queries_get_a_workers_answer_or_none(
    answering: AnswerLab, mode: HookMode
) -> None:
    rng = random.Random(11)
    entries: dict[tuple[int, bytes], Entry] = {}
    for question in QUESTIONS:
        for view in range(8):
            entry = entry_for(question, view, age_s=1)
            entries[view, question[:-4].lower() + question[-4:]] = entry
            answering.keep(entry)
    answered = 0
    for _ in range(MUTATIONS):
        message = mutated(rng, rng.choice(MESSAGES))
        packet = Packet(rng.choice((IP, IPV6)), message)

        made = answering.run(mode, packet.to_wire())

        entry = entry_of(answering, message, entries)
        if entry is None or is_left_to_workers(message):
            assert made is None, message
            continue
        assert made is not None, message
        answered += 1
        expected = [
            answering.response(message, entry, at_s) for at_s in (now_s() - 1, now_s())
        ]
        assert payload_of(made) in expected, message
        assert made == answer_to(packet, payload_of(made)).to_wire()
    assert answered > MUTATIONS // 10


def is_left_to_workers(message: bytes) -> bool:
    """Return whether there is more in the OPT record than the program looks at."""
    has_opt = message[11] == 1
    opt = message[-11:]
    return has_opt and (opt[5:7] != b"\0\0" or opt[7] & 0x7F != 0 or opt[8] != 0)
