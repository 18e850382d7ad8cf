"""Why a process that `dnsfront restart` started ends before it serves.

Nobody sees what it prints but its log. So it logs what is wrong as all that runs does,
and leaves the same in a file in memory for the process that started it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from dnsfront.ipc import memory

#: The environment, since a version from before this takes no notice of it.
_VARIABLE: Final = "DNSFRONT_LAST_WORDS_FD"
#: What one response over the control socket has room for, many times over.
_MAX_OCTETS: Final = 1 << 16


class LastWords:
    """What a process says that is about to be started, read when it has ended."""

    def __init__(self) -> None:
        self.fd = memory.output("last words")

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment to start it with; it has to inherit `fd`."""
        return {**os.environ, _VARIABLE: str(self.fd)}

    def read(self) -> str:
        """Return what it said, nothing if it did not know why it ended."""
        return os.pread(self.fd, _MAX_OCTETS, 0).decode(errors="replace").strip()

    def close(self) -> None:
        """Give up the file."""
        os.close(self.fd)


def taken_fd() -> int | None:
    """Return where to say the last words, None if nobody wants to know.

    No process that is started from here on does so too.
    """
    text = os.environ.pop(_VARIABLE, None)
    if text is None:
        return None
    fd = int(text)
    os.set_inheritable(fd, False)  # noqa: FBT003 - its only form
    return fd


def say(fd: int, text: str) -> None:
    """Leave *text* for whoever started this process."""
    os.pwrite(fd, text.encode(), 0)
