"""Processes of a namespace whose first process this is."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Collection
from pathlib import Path

from tests.waiting import eventually


def is_running(pid: int) -> bool:
    """Return whether a process runs; one that nobody has reaped does not."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def end_all() -> None:
    """Kill what is left in this namespace, whose first process this is."""
    assert os.getpid() == 1, "there would be others"
    for path in Path("/proc").glob("[0-9]*"):
        pid = int(path.name)
        if pid != 1:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    eventually(lambda: not reap([]), 5)


def reap(known: Collection[int]) -> int:
    """Reap the orphans that came to this process, the first of its namespace.

    Returns how many children are left.
    """
    left = 0
    for child in Path("/proc/self/task").glob("*/children"):
        for pid in map(int, child.read_text().split()):
            left += 1
            if pid not in known and not is_running(pid):
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
    return left
