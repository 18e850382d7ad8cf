"""The command that shows the running server live, full screen."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from dnsfront.cli.live import socket_path, status_of
from dnsfront.cli.views import console, status_view
from dnsfront.errors import UsageError

_PERIOD_S: Final = 1.0


class Watch:
    """Turns one status after the other into views with rates."""

    def __init__(self) -> None:
        self._queries: dict[str, int] = {}
        self._seen_at = 0.0

    def view(self, status: Mapping[str, Any], *, now: float) -> RenderableType:
        """Return the view of *status*, with rates since the one before.

        *now* is in monotonic seconds. A worker seen for the first time has no rate.
        """
        passed_s = now - self._seen_at
        queries = {worker["name"]: worker["queries"] for worker in status["workers"]}
        rates = {
            name: (count - self._queries[name]) / passed_s
            for name, count in queries.items()
            if name in self._queries and passed_s > 0
        }
        self._queries, self._seen_at = queries, now
        return Group(status_view(status, rates), Text(), Text("q quits", style="dim"))


def top(arguments: argparse.Namespace) -> int:
    """Show the status every second, until q or Ctrl-C."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("top: want a terminal; programs use `dnsfront status --json`")
    path = socket_path(arguments)
    watch = Watch()
    first = watch.view(status_of(path), now=time.monotonic())
    with (
        _keys_at_once(),
        contextlib.suppress(KeyboardInterrupt),
        Live(first, console=console(), screen=True, auto_refresh=False) as live,
    ):
        while not _quits():
            view = watch.view(status_of(path), now=time.monotonic())
            live.update(view, refresh=True)
    return 0


def _quits() -> bool:
    """Wait one period, or less if a key is pressed; return whether to leave."""
    readable, _, _ = select.select([sys.stdin], [], [], _PERIOD_S)
    if not readable:
        return False
    typed = os.read(sys.stdin.fileno(), 64)
    return not typed or b"q" in typed.lower()


@contextlib.contextmanager
def _keys_at_once() -> Iterator[None]:
    """Have the terminal hand over each key, without echo and without Enter."""
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
