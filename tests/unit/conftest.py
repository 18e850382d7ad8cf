"""Fixtures that tests of several parts of a worker share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.fake_upstream import FakeUpstream
from tests.unit.worker_rig import Rig


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    made = FakeUpstream()
    yield made
    made.close()


@pytest.fixture
def second() -> Iterator[FakeUpstream]:
    made = FakeUpstream(1)
    yield made
    made.close()


@pytest.fixture
def rig(upstream: FakeUpstream) -> Iterator[Rig]:
    with Rig(upstreams=[upstream]) as made:
        yield made


@pytest.fixture
def rig_of_two(upstream: FakeUpstream, second: FakeUpstream) -> Iterator[Rig]:
    with Rig(upstreams=[upstream, second]) as made:
        yield made
