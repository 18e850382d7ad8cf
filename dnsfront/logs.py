"""One line an event on standard error: `event key=value`, for people and journald."""

from __future__ import annotations

import logging
import os
import sys
from typing import Final

#: systemd sets this when standard error is the journal, which adds the time itself.
_JOURNAL: Final = "JOURNAL_STREAM"


def set_up(level: str, process: str) -> None:
    """Log at *level* and above; *process* says whose line it is: `supervisor`, `w1`."""
    stamp = "" if _JOURNAL in os.environ else "%(asctime)s "
    logging.basicConfig(
        stream=sys.stderr,
        format=f"{stamp}%(levelname)s {process} %(message)s",
        level=level.upper(),
        force=True,
    )


def set_level(level: str) -> None:
    """Log at *level* and above from now on."""
    logging.getLogger().setLevel(level.upper())
