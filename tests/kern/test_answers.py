from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import pytest

from dnsfront.dns import wire
from dnsfront.dns.entry import view_of
from tests.kern.answering import (
    MODES,
    entry_for,
    message_for,
    now_s,
    random_records,
)
from tests.kern.packets import IP, IPV6, Packet, answer_to, payload_of
from tests.kern.queries import QNAME_OCTETS_MAX, random_qname

if TYPE_CHECKING:
    from dnsfront.kernel.hook import HookMode
    from tests.kern.answering import AnswerLab

QUESTIONS: Final = 5000
FLAGS: Final = [
    rd | ad | cd for rd in (0, wire.RD) for ad in (0, wire.AD) for cd in (0, wire.CD)
]


def opt(udp_size: int, *, is_dnssec_ok: bool) -> bytes:
    flags = b"\x80\0" if is_dnssec_ok else b"\0\0"
    return b"\0\0\x29" + udp_size.to_bytes(2, "big") + b"\0\0" + flags + b"\0\0"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", [IP, IPV6], ids=["ipv4", "ipv6"])
def test_kernel_says_what_the_worker_says(
    answering: AnswerLab, mode: HookMode, family: int
) -> None:
    rng = random.Random(9)
    answered = 0
    for number in range(QUESTIONS // len(MODES) // 2 + 1):
        octets = rng.choice((None, number % (QNAME_OCTETS_MAX + 1)))
        qname = random_qname(rng, octets)
        tail = bytes(
            (0, rng.choice((1, 28, 65, 97, 16, 2, 255)), 0, rng.choice((1, 3)))
        )
        question = qname + b"\0" + tail
        flags = rng.choice(FLAGS)
        is_dnssec_ok = rng.random() < 0.5
        has_opt = is_dnssec_ok or rng.random() < 0.5
        size = rng.choice((0, 511, 512, 1232, 4096, 65535))
        record = opt(size, is_dnssec_ok=is_dnssec_ok) if has_opt else b""
        message = message_for(
            question, flags=flags, opt=record, message_id=rng.getrandbits(16)
        )
        room = 488 - len(question) - -len(question) % 8
        body, offsets, head = random_records(rng, room)
        entry = entry_for(
            question,
            view_of(flags, is_dnssec_ok=is_dnssec_ok),
            body=body,
            head=head,
            ttl_offsets=offsets,
            age_s=min(rng.choice((0, 1, 255, 256, 299, 70000)), now_s()),
        )
        answering.keep(entry)
        packet = Packet(
            family, message, checksum="true", source_port=rng.randint(1024, 65535)
        )

        before_s = now_s() - 1  # the program's clock is some milliseconds late
        made = answering.run(mode, packet.to_wire())
        seconds = range(before_s, now_s() + 1)

        expected = [answering.response(message, entry, at_s) for at_s in seconds]
        if made is None:
            assert None in expected
            continue
        answered += 1
        assert payload_of(made) in expected
        assert made == answer_to(packet, payload_of(made)).to_wire()
    assert answered > QUESTIONS // len(MODES) // 2 * 0.8
