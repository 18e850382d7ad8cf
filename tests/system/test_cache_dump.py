"""What is cached goes to a file, and comes back to who owns it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.system.clients import ask
from tests.system.front import FrontEnd
from tests.system.processes import DNSFRONT, output_of
from tests.system.upstream import FakeUpstream
from tests.waiting import eventually

NAMES: Final = [f"host{number}.example.com" for number in range(60)]


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream(lambda asked: [asked.address()]) as made:
        yield made


@pytest.fixture
def front(tmp_path: Path, upstream: FakeUpstream) -> Iterator[FrontEnd]:
    with FrontEnd(
        tmp_path,
        ring={"workers": 2},
        upstreams={"servers": [{"address": str(upstream.address)}]},
        cache={"prefetch": False, "dump_file": "cache.lines"},
    ) as made:
        yield made


def test_dump_is_loaded_by_who_owns_the_names(front: FrontEnd, tmp_path: Path) -> None:
    for name in NAMES:
        ask(front.address, name)

    def act(*words: str) -> str:
        return output_of(*DNSFRONT, *words, "-c", str(front.path))

    path = str(tmp_path / "dump")
    told = act("cache", "dump", path)
    act("flush", "--all")
    loaded = act("cache", "load", path)

    front.stop()
    front.launch()
    front.wait_ready()
    eventually(lambda: "cache_loaded" in front.log())

    assert f" kept={len(NAMES)} passed=0 damaged=0" in front.log()
    assert f"dumped {len(NAMES)} entries" in told
    assert f"loaded {len(NAMES)} entries; 0 " in loaded
    before = front.metrics().counts()
    for name in NAMES:
        ask(front.address, name)
    counts = front.metrics().counts()
    counts.subtract(before)
    asked = [x for x in counts if x.startswith("upstream_requests") and counts[x]]
    assert asked == []
