"""The shortest list of operations that still breaks the same invariant.

Pure: what breaks is told by a function. Delta debugging, begun at the end of the list,
where the cause mostly is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def shrink(items: Sequence[T], is_broken: Callable[[list[T]], bool]) -> list[T]:
    """Return a short part of *items*, in their order, for which *is_broken* holds.

    It is taken to hold for all of them. *is_broken* may end the search at any time by
    returning False from then on.
    """
    return _without_parts(_last(list(items), is_broken), is_broken)


def _last(items: list[T], is_broken: Callable[[list[T]], bool]) -> list[T]:
    """Return the last few of *items* that suffice."""
    count = 1
    while count < len(items):
        if is_broken(items[-count:]):
            return items[-count:]
        count *= 2
    return items


def _without_parts(items: list[T], is_broken: Callable[[list[T]], bool]) -> list[T]:
    """Return *items* without the parts, ever smaller ones, that are not needed."""
    size = max(1, len(items) // 2)
    while len(items) > 1:
        at = 0
        is_shorter = False
        while at < len(items):
            rest = items[:at] + items[at + size :]
            if rest and is_broken(rest):
                items, is_shorter = rest, True
            else:
                at += size
        if size == 1 and not is_shorter:
            return items
        size = max(1, size // 2)
    return items
