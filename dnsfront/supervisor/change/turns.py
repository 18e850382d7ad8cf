"""One change at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dnsfront.errors import ControlError
from dnsfront.supervisor.host import heap


class Turns:
    """Lets one change after the other be made, in the order in which they were asked.

    A take-over and a flush have their turn like any change of the config.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._current: asyncio.Task[Any] | None = None
        self._is_closed = False

    @property
    def is_taken(self) -> bool:
        """Whether a change is under way."""
        return self._lock.locked()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until no other change is under way, and be the one that is.

        Raises:
            ControlError: the server is stopping.
        """
        async with self._lock:
            if self._is_closed:
                raise ControlError("the server is stopping")
            self._current = asyncio.current_task()
            try:
                yield
            finally:
                self._current = None
                heap.give_back()

    def refuse_more(self) -> None:
        """Refuse the changes that wait for the one under way."""
        self._is_closed = True

    async def close(self) -> None:
        """Break off the change that is under way, and refuse those that wait."""
        self.refuse_more()
        if self._current is not None:
            self._current.cancel()
        async with self._lock:
            pass
