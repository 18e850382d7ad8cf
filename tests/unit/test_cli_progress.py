from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import sys
import termios
import tty
from typing import Any

import pytest

from dnsfront.cli import progress
from dnsfront.cli.progress import progress_of, shown
from dnsfront.errors import ControlError
from tests.waiting import eventually

QUIET: dict[str, Any] = {"workers": [{"name": "w1", "draining_for_s": None}]}
MOVING: dict[str, Any] = {
    "change": {
        "step": "transferring entries",
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


def test_a_transfer_is_told_by_its_entries() -> None:
    assert progress_of(MOVING) == [
        "transferring entries for 0.8 s, 1200 of 3000 entries sent"
    ]


def test_a_drain_is_told_by_what_is_left() -> None:
    assert progress_of(DRAINING) == [
        "draining for 2.0 s: w2",
        "w2 drains for 2.0 s of 5 s: 3 queued, 2 pending, 1 connections",
    ]


def shown_at(
    monkeypatch: pytest.MonkeyPatch, columns: int, told: dict[str, Any]
) -> str:
    """Return what a terminal of so many *columns* gets, the server busy at first."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    tty.setraw(slave)
    asked = 0

    def status() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise ControlError("busy")
        return told

    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setattr(progress, "_LOOK_EVERY_S", 0.01)
        with shown(status):
            eventually(lambda: asked > 2)
    octets = b""
    with contextlib.suppress(OSError):  # what a terminal that is gone ends with
        while more := os.read(master, 4096):
            octets += more
    os.close(master)
    return octets.decode()


def test_a_terminal_shows_it_while_it_waits_and_is_clean_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = shown_at(monkeypatch, 100, MOVING)

    assert "transferring entries for 0.8 s, 1200 of 3000 entries sent" in text
    assert text.endswith("\r\x1b[K")


@pytest.mark.parametrize("columns", [2, 20, 80])
def test_what_is_shown_never_wraps(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    text = shown_at(monkeypatch, columns, DRAINING)

    shown_lines = text.split("\r\x1b[K")
    assert max(map(len, shown_lines)) == columns - 1
    assert not [line for line in shown_lines if "\n" in line]


def test_a_pipe_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(lambda: pytest.fail("nobody looks")):
        pass

    assert capsys.readouterr().err == ""
