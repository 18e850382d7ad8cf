from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest

from tests.kern.answering import HEAD, MODES, OPT, entry_for, message_for
from tests.kern.packets import IP, Packet, payload_of
from tests.kern.queries import qname_of
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dnsfront.kernel.hook import HookMode
    from tests.kern.answering import AnswerLab

QUESTION: Final = qname_of("www.example.test") + b"\0\0\1\0\1"
PACKET: Final = Packet(IP, message_for(QUESTION, opt=OPT)).to_wire()
#: Answers of one octet each, and of different lengths.
BODIES: Final = [b"\xaa" * 440, b"\x55" * 300]
ROUNDS: Final = 2000


@contextmanager
def overwriting(write: Callable[[int], None]) -> Iterator[None]:
    """Have *write* called with 0, 1, 0, 1 by another process while the body runs."""
    pid = os.fork()
    if pid == 0:
        try:
            while os.getppid() != 1:
                write(0)
                write(1)
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("mode", MODES)
def test_answer_is_never_mixed_of_two(answering: AnswerLab, mode: HookMode) -> None:
    entries = [
        entry_for(QUESTION, body=body, head=HEAD[:7] + bytes([n]), ttl_offsets=())
        for n, body in enumerate(BODIES)
    ]
    answering.keep(entries[0])
    seen = set()

    def ask() -> bool:
        for _ in range(ROUNDS):
            made = answering.run(mode, PACKET)
            if made is not None:
                seen.add(payload_of(made))
        return len(seen) == len(BODIES)

    with overwriting(lambda n: answering.keep(entries[n])):
        eventually(ask, within_s=20)

    expected = {
        answering.response(payload_of(PACKET), entry, entry.aged_at)
        for entry in entries
    }
    assert seen == expected
