"""Octets as a source of choices: what a fuzzer varies becomes a structured input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Draws from *data*; at its end every choice is the first one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to draw from."""
        return self._at >= len(self._data)

    def number(self, below: int) -> int:
        """Return a number from 0 on, less than *below*."""
        width = max(1, (below - 1).bit_length() + 7 >> 3)
        return int.from_bytes(self.octets(width).ljust(width, b"\0"), "big") % below

    def octets(self, count: int) -> bytes:
        """Return at most *count* octets as they are."""
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def pick(self, values: Sequence[T]) -> T:
        """Return one of *values*."""
        return values[self.number(len(values))]

    def is_rare(self, one_in: int) -> bool:
        """Return True about once in so many times, and not when nothing is left."""
        return self.number(one_in) == one_in - 1
