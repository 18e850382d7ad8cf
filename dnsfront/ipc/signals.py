"""What signals mean to our processes, for those that do not mean the end.

SIGTERM and SIGINT stop the supervisor, SIGHUP has it reload; to workers a stop comes
over their channel. What is listed here would end a process by default, and is sent by
mistake: by a log rotation made for another server, or by a finger at the terminal.
"""

from __future__ import annotations

import signal
from typing import Final

#: SIGPIPE and SIGXFSZ are ignored by Python itself. What tells of a fault of ours, like
#: SIGSEGV or SIGABRT, ends the process, and so do SIGKILL and SIGXCPU.
WITHOUT_MEANING: Final = (
    *(
        getattr(signal, name)
        for name in (
            "SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGALRM", "SIGVTALRM", "SIGPROF",
            "SIGIO", "SIGPWR", "SIGSTKFLT",
        )
        if hasattr(signal, name)
    ),
    *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
)  # fmt: skip


def ignore(*more: signal.Signals) -> None:
    """Ignore all of these, and *more*; what is started from now on does so too."""
    for number in (*WITHOUT_MEANING, *more):
        signal.signal(number, signal.SIG_IGN)


def name_of(number: int) -> str:
    """Return the name of a signal as kill(1) has it, or its number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
