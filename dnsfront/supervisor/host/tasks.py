"""The one way to start work that nobody waits for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

_LOG = logging.getLogger(__name__)


def watched(name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Return a task for *work* that does not fail unheard; serving goes on without.

    Whoever starts it keeps it: the loop itself would let go of it half done.
    """

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (exc := task.exception()):
            _LOG.error("task_failed task=%s", task.get_name(), exc_info=exc)

    task = asyncio.create_task(work, name=name)
    task.add_done_callback(ended)
    return task
