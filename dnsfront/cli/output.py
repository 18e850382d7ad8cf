"""Where commands print to, which may be full, closed, or not there at all."""

# ruff: noqa: T201 - what a command has to say, it prints

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from collections.abc import Iterator
from typing import Final

from dnsfront.errors import OutputError

#: What writing to a full disk, a closed pipe or a closed descriptor ends with.
_ERRORS: Final = {
    errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EPIPE,
}  # fmt: skip


def tell(text: str) -> None:
    """Print *text* to standard error, where somebody may read it."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr)


def print_json(value: object) -> None:
    """Print *value* for programs."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def stand_in() -> bool:
    """Put the null device where standard files are closed; return whether output was.

    Whatever is opened next would get their numbers, and be written to by mistake.
    """
    was_closed = sys.stdout is None
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003 - its only form
            setattr(sys, name, os.fdopen(fd, mode, closefd=False))
    return was_closed


@contextlib.contextmanager
def written(*, was_closed: bool) -> Iterator[None]:
    """Make sure that what the body prints is written when it is over.

    Raises:
        OutputError: it is not.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as exc:
        if exc.filename is not None or exc.errno not in _ERRORS:
            raise
        with contextlib.suppress(OSError, ValueError):
            # Python would try again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(f"standard output: {exc.strerror or exc}") from exc
    if was_closed:
        raise OutputError("standard output: is closed")
