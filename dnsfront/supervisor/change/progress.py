"""How far the change under way is, for whoever waits for it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """What a change does now, which *workers* that is about, and when it began.

    *since* is monotonic. A transfer is also told by how many entries were sent.
    """

    text: str
    since: float
    workers: tuple[str, ...]
    is_transfer: bool


class Progress:
    """The *step* of the change under way, None where there is no change."""

    def __init__(self) -> None:
        self.step: Stage | None = None

    @contextmanager
    def show(
        self, text: str, workers: Iterable[str] = (), *, is_transfer: bool = False
    ) -> Iterator[None]:
        """Show *text* as what the change does while the body runs."""
        self.step = Stage(text, time.monotonic(), tuple(workers), is_transfer)
        try:
            yield
        finally:
            self.step = None
