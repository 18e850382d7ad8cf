"""The programs in `kern/`: what each is made of, and what the loader fills in.

A program is compiled once, with placeholders for all that differs from start to start:
the descriptors of its maps, sizes, the hash key. So what the compiler made can be kept,
and a start needs no compiler.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dnsfront.kernel.sources import kern_directory


@dataclass(frozen=True)
class Program:
    """One C source, and the names in it that are no constants of the compiler.

    *maps* are used as `MAP(NAME)`, *numbers* as `NUMBER(NAME)`: the loader fills both
    in. *defines* are for the compiler, so that other ones want another object.
    """

    source: Path
    maps: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    defines: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the source is called, without all that follows the first dot."""
        return self.source.name.partition(".")[0]

    def made_from(self) -> dict[str, Any]:
        """Return all that decides about the byte code but the compiler, as plain data.

        Files stand with their SHA-256. All headers count, included or not: which ones
        are is the compiler's knowledge.

        Raises:
            OSError: a source cannot be read.
        """
        kern = kern_directory()
        headers = [*kern.glob("*.h"), *(kern / "uapi").rglob("*.h")]
        files = {path.relative_to(kern).as_posix(): path for path in sorted(headers)}
        files[self.source.name] = self.source
        return {
            "files": {name: _sha256(path) for name, path in files.items()},
            "maps": list(self.maps),
            "numbers": list(self.numbers),
            "defines": dict(self.defines),
        }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


STEER: Final = Program(
    kern_directory() / "steer.bpf.c",
    maps=("GROUPS_FD", "TABLES_FD", "LIVE_FD", "LOAD_FD", "COUNTERS_FD"),
    numbers=("RING_SLOTS", "KEY0", "KEY1"),
)
ANSWER: Final = Program(
    kern_directory() / "answer.bpf.c",
    maps=(
        "TABLES_FD",
        "LIVE_FD",
        "ADDRESSES_FD",
        "CLIENTS4_FD",
        "CLIENTS6_FD",
        "SETS_FD",
        "ANSWERS_FD",
        "ANSWERING_FD",
        "ANSWERED_FD",
        "PASSED_FD",
        "FRAMES_FD",
    ),
    numbers=("RING_SLOTS", "ROOM_OCTETS", "KEY0", "KEY1"),
)
#: What an object is shipped of: `make objects` makes them.
SHIPPED: Final = (STEER, ANSWER)
