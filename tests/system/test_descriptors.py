"""A low limit of descriptors: clients over TCP get fewer, those who ask get answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import dns.rcode
import pytest

from tests.system.clients import ask
from tests.system.front import FrontEnd
from tests.system.streams import Stream
from tests.system.upstream import FakeUpstream
from tests.waiting import eventually

#: Enough for a worker and its ports, far from enough for its default of connections.
_DESCRIPTORS = 128
_CLIENTS = 300


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as made:
        yield made


def test_connections_take_no_descriptor_that_a_miss_needs(
    folder: Path, upstream: FakeUpstream
) -> None:
    front = FrontEnd(
        folder,
        # setpriv ends where the first of them begins, and runs the rest.
        rights=("--", "prlimit", f"--nofile={_DESCRIPTORS}:{_DESCRIPTORS}"),
        ring={"workers": 1},
        upstreams={"servers": [{"address": str(upstream.address)}]},
    )
    with ExitStack() as stack:
        stack.enter_context(front)
        for _ in range(_CLIENTS):
            stack.callback(Stream(front.address).close)

        def are_bounded() -> bool:
            return front.metrics().value("limit_reached_total", limit="descriptors") > 0

        eventually(are_bounded)
        for number in range(200):
            response = ask(front.address, f"name{number}.test")
            assert response.rcode() == dns.rcode.NOERROR

    assert "descriptors_low" in front.log()
