"""What the bench reads of `perf stat`, and how it finds another commit."""

from __future__ import annotations

import pytest

from tests.bench.against import built
from tests.bench.counts import _count
from tests.bench.errors import BenchError

_SAID = """\
<not supported>;;cycles;0;100.00;;
12;;context-switches;501000;100.00;;
3400;;raw_syscalls:sys_enter;501000;100.00;;
77;;instructions:u;501000;100.00;;
"""


def test_counts_are_read_and_what_is_not_counted_is_none() -> None:
    events = (
        "context-switches",
        "raw_syscalls:sys_enter",
        "instructions",
        "cycles",
        "faults",
    )
    found = [_count(_SAID, event) for event in events]
    assert found == [12, 3400, 77, None, None]


def test_revision_that_is_none_is_told() -> None:
    with pytest.raises(BenchError, match="--against no-such"):
        built("no-such")
