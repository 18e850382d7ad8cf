"""A short run of every fuzzer, and of every input that once found something."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fuzz import engine, targets
from tests.fuzz.targets import TARGETS

#: Some seconds for all of them together.
INPUTS = {
    "queries": 1500,
    "upstream_udp": 600,
    "upstream_tcp": 300,
    "zone_text": 2500,
    "name_list": 1500,
    "config": 150,
}


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    targets.close()


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found_in_a_short_time(name: str) -> None:
    first = engine.kept(name)

    count, finding = engine.run(
        TARGETS[name],
        first,
        seed=1,
        seconds=30,
        most=len(first) + INPUTS[name],
    )

    assert finding is None, (finding.data.hex(), finding.error)
    assert count > len(first)


def test_hang_is_a_finding() -> None:
    def hang(data: bytes) -> None:
        if data:
            raise engine.HangError("more than 5 s")

    _, finding = engine.run(hang, [], seed=1, seconds=30, most=100)

    assert finding is not None
    assert len(finding.data) == 1


def test_inputs_are_the_same_for_the_same_seed() -> None:
    def some(seed: int) -> list[bytes]:
        return [x for x, _ in zip(engine.inputs(seed, []), range(50), strict=False)]

    assert some(1) == some(1) != some(2)
