"""The time of a round of the worker's loop, which all parts of it share."""

from __future__ import annotations

from typing import Final

_NS: Final = 1_000_000_000


class Clock:
    """What time it is, in monotonic nanoseconds and in whole seconds of them.

    It stands still during a round: the parts agree, and nobody asks the kernel.
    """

    __slots__ = ("now_ns", "now_s")

    def __init__(self, now_ns: int = 0) -> None:
        self.set(now_ns)

    def set(self, now_ns: int) -> None:
        """Have it *now_ns* from now on."""
        self.now_ns = now_ns
        self.now_s = now_ns // _NS
