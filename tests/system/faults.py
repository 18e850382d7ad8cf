"""The end of a worker: killed, or stopped until the supervisor ends it."""

from __future__ import annotations

import os
import select
import signal
import time
from dataclasses import dataclass
from typing import Final

from tests.system.front import FrontEnd
from tests.waiting import eventually

#: A hang is seen after a second; a busy machine takes its time to end the process.
_REPLACED_WITHIN_S: Final = 10.0


@dataclass(frozen=True)
class Death:
    """One worker's end: between which instants it was ended, and its successor up."""

    worker: str
    signalled_ns: int
    gone_ns: int
    back_ns: int


def end(front: FrontEnd, worker: str, number: signal.Signals) -> Death:
    """Send *worker* a signal, and wait until another process is up in its place."""
    pid = front.pids()[worker]
    pidfd = os.pidfd_open(pid)
    try:
        signalled_ns = time.time_ns()
        os.kill(pid, number)
        assert select.select([pidfd], [], [], _REPLACED_WITHIN_S)[0], "still there"
        gone_ns = time.time_ns()
    finally:
        os.close(pidfd)

    def is_back() -> bool:
        status = front.worker(worker)
        return status["state"] == "up" and status["pid"] != pid

    eventually(is_back, _REPLACED_WITHIN_S)
    return Death(worker, signalled_ns, gone_ns, time.time_ns())
