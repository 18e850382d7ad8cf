"""One line an event on standard error: `event key=value`, for people and journald.

The line is logfmt whatever the values hold: this is the one place that quotes them, so
callers write `"worker_late worker=%s reason=%s"` and pass values as they are.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: systemd sets this where standard error goes to the journal, which adds the time
#: itself and takes the priority from the first octets of a line, sd-daemon(3).
_JOURNAL: Final = "JOURNAL_STREAM"
_PRIORITIES: Final = (
    (logging.CRITICAL, "<2>"),
    (logging.ERROR, "<3>"),
    (logging.WARNING, "<4>"),
    (logging.INFO, "<6>"),
    (logging.DEBUG, "<7>"),
)
#: A conversion of printf style, with the quotes and the = that may stand around it.
_CONVERSION: Final = re.compile(
    r'(?P<equals>=?)(?P<quote>"?)'
    r"(?P<spec>%[-#0 +]*[0-9]*(?:\.[0-9]+)?(?P<kind>[a-zA-Z%]))(?P=quote)"
)
_BARE: Final = re.compile(r'[^\s"=\\]+')
_OURS: Final = __name__.partition(".")[0]


def set_up(level: str, process: str) -> None:
    """Log at *level* and above; *process* says whose line it is: `supervisor`, `w1`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Logfmt(process, is_journal=_JOURNAL in os.environ))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


def set_level(level: str) -> None:
    """Log at *level* and above from now on."""
    logging.getLogger().setLevel(level.upper())


@contextmanager
def held() -> Iterator[None]:
    """Keep what is logged until the body, which may set up where it goes, is over."""
    root, keeping = logging.getLogger(), _Keeping()
    level = root.level
    root.addHandler(keeping)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        if keeping in root.handlers:
            root.removeHandler(keeping)
            root.setLevel(level)
        for record in keeping.records:
            logger = logging.getLogger(record.name)
            if logger.isEnabledFor(record.levelno):
                logger.handle(record)


class _Keeping(logging.Handler):
    """Keeps every record that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def value_text(value: object) -> str:
    """Return *value* as logfmt has it: bare, or in quotes with JSON's escapes."""
    text = str(value)
    if not text.isprintable():
        return json.dumps(text)
    return text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)


class Logfmt(logging.Formatter):
    """Writes a record of ours as `event key=value ...`, and any other as a message."""

    def __init__(self, process: str, *, is_journal: bool) -> None:
        super().__init__()
        self._process = process
        self._is_journal = is_journal

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end; a traceback is one value of it."""
        text = f"{record.levelname} {self._process} {_event(record)}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            text += f" traceback={value_text(trace)}"
        if self._is_journal:
            return _priority(record.levelno) + text
        return f"{self.formatTime(record)} {text}"


def _priority(level: int) -> str:
    return next(text for least, text in _PRIORITIES if level >= least or least == 10)


def _event(record: logging.LogRecord) -> str:
    is_from_here = record.name.partition(".")[0] in {_OURS, "__main__"}
    if not is_from_here or not isinstance(record.args, tuple | None):
        return f"{record.name} message={value_text(record.getMessage())}"
    if not record.args:
        return str(record.msg)
    args = iter(record.args)
    return _CONVERSION.sub(lambda match: _converted(match, args), str(record.msg))


def _converted(match: re.Match[str], args: Iterator[object]) -> str:
    """Return what stands for one conversion; the value of a key is quoted."""
    if match["kind"] == "%":
        return "%"
    converted = match["spec"] % (next(args),)
    if match["equals"]:
        return f"={value_text(converted)}"
    if match["quote"]:
        return value_text(converted)
    # The event's name, or whole fields: made by us, of values that were looked at.
    return converted if converted.isprintable() else value_text(converted)
