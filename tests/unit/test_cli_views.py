"""What commands show to people."""

from __future__ import annotations

import os
import pty
import select
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from dnsfront.cli.top import Watch, _keys_at_once, _quits
from dnsfront.cli.views import status_view
from tests.unit.cli_server import STATUS


def text_of(view: Any) -> str:  # noqa: ANN401 - whatever rich can print
    console = Console(width=160, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(view)
    return capture.get()


def test_status_tells_why_steering_is_degraded() -> None:
    kernel = {"steering": "userspace", "answers": "off", "reason": "no CAP_BPF"}

    assert "(no CAP_BPF)" in text_of(status_view({**STATUS, "kernel": kernel}))


def test_status_tells_that_the_query_path_is_not_compiled() -> None:
    remark = "query path not compiled (pure Python)"

    assert remark in text_of(status_view({**STATUS, "query_path": "pure"}))
    assert remark not in text_of(status_view({**STATUS, "query_path": "compiled"}))


def test_status_tells_what_is_not_ready() -> None:
    status = {**STATUS, "not_ready": ["worker w2 is down"]}

    assert "not ready: worker w2 is down" in text_of(status_view(status))


def test_status_without_upstreams_says_so() -> None:
    assert "no upstreams" in text_of(status_view({**STATUS, "upstreams": []}))


def test_top_shows_queries_a_second() -> None:
    watch = Watch()
    workers = [{**worker, "queries": 1500} for worker in STATUS["workers"]]

    first = text_of(watch.view(STATUS, now=10.0))
    second = text_of(watch.view({**STATUS, "workers": workers}, now=12.0))

    assert first.splitlines()[3].split()[-1] == "0"
    assert second.splitlines()[3].split()[-1] == "250"
    assert second.splitlines()[4].split()[-1] == "740"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Make a terminal of standard input; yield the end that a person types at."""
    ours, theirs = pty.openpty()
    with open(theirs, closefd=True) as stdin:  # noqa: PTH123 - a descriptor
        monkeypatch.setattr("sys.stdin", stdin)
        yield ours
    os.close(ours)


@pytest.mark.parametrize(
    ("typed", "quits"),
    [
        pytest.param(b"q", True, id="q"),
        pytest.param(b"xQ", True, id="q behind another key"),
        pytest.param(b"x", False, id="another key"),
    ],
)
def test_top_quits_at_q(terminal: int, typed: bytes, *, quits: bool) -> None:
    with _keys_at_once():
        os.write(terminal, typed)

        assert _quits() is quits

    # What is typed is not echoed over the picture.
    assert not select.select([terminal], [], [], 0)[0]
