"""A moderate load, from the generator that operators use: nothing is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.front import DEMO_ZONE, FrontEnd
from tests.system.processes import needed, output_of
from tests.waiting import eventually, tried_on_a_busy_machine

PER_SECOND = 1000
SECONDS = 2
NAMES = 500
CONNECTIONS = 4


@pytest.fixture
def front(tmp_path: Path) -> Iterator[FrontEnd]:
    with FrontEnd(tmp_path, zones=[DEMO_ZONE]) as made:
        yield made


@pytest.mark.parametrize("mode", ["udp", "tcp"])
@tried_on_a_busy_machine
def test_dnsperf_loses_nothing(front: FrontEnd, tmp_path: Path, mode: str) -> None:
    questions = tmp_path / "questions"
    questions.write_text(
        "".join(f"name{number}.wild.example.test A\n" for number in range(NAMES))
    )
    host, port = front.address

    printed = output_of(
        *(needed("dnsperf"), "-s", host, "-p", str(port), "-d", str(questions)),
        *("-Q", str(PER_SECOND), "-l", str(SECONDS), "-m", mode),
        *("-c", str(CONNECTIONS)),
    )

    sent, completed, lost = (
        int(re.search(rf"Queries {what}: +(\d+)", printed)[1])  # type: ignore[index]  # dnsperf prints each
        for what in ("sent", "completed", "lost")
    )
    # Over TCP dnsperf counts a query as sent while its connection is still being made,
    # and may never send it. What came here is counted here, and has its response.
    assert lost <= (CONNECTIONS if mode == "tcp" else 0), printed
    assert sent - lost == completed > PER_SECOND * SECONDS * 0.9
    assert f"NOERROR {completed} (100.00%)" in printed
    eventually(lambda: responses(front, mode) == {completed})


def responses(front: FrontEnd, mode: str) -> set[int]:
    """Return the queries over one transport, and the responses to them."""
    counts = front.metrics().counts()
    return {counts[f"queries {mode}"], counts["responses NOERROR"]}
