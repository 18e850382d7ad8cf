"""A server that a server started: its parent is gone, and it came to this process."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Final

from tests.system.processes import Program
from tests.waiting import eventually

_EXIT_WITHIN_S: Final = 15.0


class Foster(Program):
    """A process by its *pid*; it is a child of ours once its parent has ended."""

    def __init__(self, pid: int, log: Path) -> None:
        # Not the parent class's: that starts a process, and this one runs.
        self.pid = pid
        self._log = log
        self._status: int | None = None

    @property
    def exit_code(self) -> int | None:
        """The exit code, None while it runs."""
        if self._status is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                return None  # not ours yet
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is there."""
        if self.exit_code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, within_s: float = _EXIT_WITHIN_S) -> int:
        """Return its exit code, when it has one."""
        eventually(lambda: self.exit_code is not None, within_s)
        code = self.exit_code
        assert code is not None, "it was there a moment ago"
        return code

    def end(self) -> None:
        """Have it finish, and see to it that it is gone."""
        self.signal(signal.SIGTERM)
        try:
            self.wait()
        except AssertionError:
            self.signal(signal.SIGKILL)
            self.wait()
            raise
