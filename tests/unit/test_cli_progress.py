from __future__ import annotations

import os
import pty
import sys
from typing import Any

import pytest

from dnsfront.cli.progress import progress_of, shown
from dnsfront.errors import ControlError
from tests.waiting import eventually

QUIET: dict[str, Any] = {"workers": [{"name": "w1", "draining_for_s": None}]}
MOVING: dict[str, Any] = {
    "change": {
        "step": "moving caches",
        "for_s": 0.81,
        "workers": [],
        "entries": 3000,
        "entries_sent": 1200,
    },
    "workers": [],
}
DRAINING: dict[str, Any] = {
    "change": {
        "step": "draining",
        "for_s": 2.04,
        "workers": ["w2"],
        "entries": 0,
        "entries_sent": 0,
    },
    "workers": [
        {
            "name": "w2",
            "draining_for_s": 2.04,
            "drain_within_s": 5.0,
            "backlog": 3,
            "pending": 2,
            "connections": 1,
        }
    ],
}


def test_nothing_is_told_where_nothing_changes() -> None:
    assert progress_of(QUIET) == []


def test_a_move_is_told_by_its_entries() -> None:
    assert progress_of(MOVING) == ["moving caches for 0.8 s, 1200 of 3000 entries sent"]


def test_a_drain_is_told_by_what_is_left() -> None:
    assert progress_of(DRAINING) == [
        "draining for 2.0 s: w2",
        "w2 drains for 2.0 s of 5 s: 3 queued, 2 pending, 1 connections",
    ]


def test_a_terminal_shows_it_while_it_waits_and_is_clean_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    master, slave = pty.openpty()
    asked = 0

    def status() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise ControlError("busy")
        return MOVING

    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with shown(status):
            eventually(lambda: asked > 2)
    text = os.read(master, 4096).decode()
    os.close(master)

    assert "moving caches for 0.8 s, 1200 of 3000 entries sent" in text
    assert text.endswith("\r\x1b[K")


def test_a_pipe_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(lambda: pytest.fail("nobody looks")):
        pass

    assert capsys.readouterr().err == ""
