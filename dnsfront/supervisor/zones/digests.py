"""What zone files say in short: equal for files that say the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_CHUNK_OCTETS: Final = 1 << 20


def digest_of(digests: Sequence[str]) -> str:
    """Return one digest for those of a zone file and of what it includes, in order."""
    if len(digests) == 1:
        return digests[0]
    return hashlib.blake2b("".join(digests).encode(), digest_size=16).hexdigest()


def digest(paths: Sequence[Path]) -> str | None:
    """Return the digest of what the files at *paths* hold, None if one has none."""
    digests = [_digest(path) for path in paths]
    if None in digests:
        return None
    return digest_of([x for x in digests if x is not None])


def _digest(path: Path) -> str | None:
    """Return the digest of what the file at *path* holds, None if it has none."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        # Opening what became a FIFO must not wait, and what grows must come to an end.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:  # noqa: PTH123 - a descriptor
            left = os.fstat(fd).st_size
            while left >= 0 and (chunk := file.read(_CHUNK_OCTETS)):
                digest.update(chunk)
                left -= len(chunk)
    except OSError:
        return None
    return digest.hexdigest()
