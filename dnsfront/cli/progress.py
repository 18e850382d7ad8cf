"""How far a change of the running server has come, as lines of text."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from dnsfront.errors import DnsfrontError

_LOOK_EVERY_S: Final = 0.2
#: Back to the start of the line, and clear it.
_ANEW: Final = "\r\033[K"

Status = Mapping[str, Any]


def progress_of(status: Status) -> list[str]:
    """Return what the change under way does, then a line a draining worker."""
    lines = []
    if change := status.get("change"):
        text = f"{change['step']} for {change['for_s']:.1f} s"
        if change["workers"]:
            text += f": {' '.join(change['workers'])}"
        if change["entries"]:
            text += f", {change['entries_sent']} of {change['entries']} entries sent"
        lines.append(text)
    lines += (
        f"{worker['name']} drains for {worker['draining_for_s']:.1f} s of "
        f"{worker['drain_within_s']:g} s: {worker['backlog']} queued, "
        f"{worker['pending']} pending, {worker['connections']} connections"
        for worker in status["workers"]
        if worker.get("draining_for_s") is not None
    )
    return lines


@contextlib.contextmanager
def shown(status: Callable[[], Status]) -> Iterator[None]:
    """Show on a terminal how far the server is while the body waits for it."""
    if not sys.stderr.isatty():
        yield
        return
    is_over = threading.Event()
    watching = threading.Thread(target=_show, args=(status, is_over), daemon=True)
    watching.start()
    try:
        yield
    finally:
        is_over.set()
        watching.join()


def one_line(lines: Sequence[str], columns: int) -> str:
    """Return *lines* as one that fits: what wraps could not be cleared again."""
    text = "; ".join(lines)
    return text if len(text) < columns else f"{text[: max(columns - 2, 0)]}…"


def _write(text: str) -> None:
    # Whoever closes the terminal does not want to know.
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _show(status: Callable[[], Status], is_over: threading.Event) -> None:
    has_written = False
    while not is_over.wait(_LOOK_EVERY_S):
        try:
            lines = progress_of(status())
        except DnsfrontError:
            continue  # whoever waits hears of it
        # Asked for each time: a window changes its size.
        columns = shutil.get_terminal_size().columns
        with contextlib.suppress(OSError):
            columns = os.get_terminal_size(sys.stderr.fileno()).columns or columns
        _write(_ANEW + one_line(lines, columns))
        has_written = True
    if has_written:
        _write(_ANEW)
