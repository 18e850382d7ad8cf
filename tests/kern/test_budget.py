from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import pytest

from dnsfront.kernel.book import room_octets_for
from dnsfront.kernel.sources import kern_directory
from tests.kern.answering import MODES, OPT, AnswerLab, entry_for, message_for
from tests.kern.bpf import cost
from tests.kern.packets import Packet, payload_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dnsfront.kernel.steering import BpfSteering
    from tests.kern.lab import Lab


def test_verifier_walks_no_more_than_the_budget_allows(lab: Lab) -> None:
    readme = (kern_directory() / "README.md").read_text(encoding="utf-8")
    row = re.search(r"\| verified instructions \| [\d,]+ \| ([\d,]+) \|\n", readme)
    assert row

    verified = cost(lab.steering._program_fd).verified_insns

    assert 0 < verified <= int(row[1].replace(",", ""))


@pytest.fixture(scope="module")
def largest(_steering: BpfSteering) -> Iterator[AnswerLab]:
    """The programs for the largest `max_answer` of the config."""
    made = AnswerLab(_steering, room_octets=room_octets_for(1232))
    yield made
    made.close()


def test_programs_that_answer_stay_within_their_budget(
    answering: AnswerLab, largest: AnswerLab
) -> None:
    readme = (kern_directory() / "README.md").read_text(encoding="utf-8")
    row = re.search(
        r"\| verified instructions \|(?: [\d,]+ \|){3} ([\d,]+) \|\n", readme
    )
    assert row

    verified = [
        cost(lab.answers.program_fd(mode)).verified_insns
        for lab in (answering, largest)
        for mode in MODES
    ]

    assert 0 < max(verified) <= int(row[1].replace(",", ""))


def test_largest_answer_is_given_whole(lab: Lab, largest: AnswerLab) -> None:
    del lab  # which takes worker 1 out when the test ends
    largest.reset()
    question = b"\x0aof16octets\0\0\x10\0\1"
    message = message_for(question, opt=OPT)
    body = bytes(range(256)) * 5
    entry = entry_for(
        question, body=body[: room_octets_for(1232) - len(question)], ttl_offsets=()
    )
    largest.keep(entry)

    for mode in MODES:
        made = largest.run(mode, Packet(socket.AF_INET, message).to_wire())
        assert made
        assert payload_of(made) == largest.response(message, entry, entry.aged_at)
        assert len(payload_of(made)) == 1231  # words are whole
