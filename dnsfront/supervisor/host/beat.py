"""When periodic work is done: all of it at once, so that it costs few wake-ups."""

from __future__ import annotations

import asyncio
import math
from typing import Final

_EARLY_S: Final = 0.001


async def next_beat(every_s: float) -> None:
    """Wait for the next multiple of *every_s* on the loop's clock.

    Whoever waits for a beat that several periods have in common wakes up in the same
    round of the loop: waking a process that rests costs more than what it then does.
    """
    if every_s <= 0:
        await asyncio.sleep(0)
        return
    now = asyncio.get_running_loop().time()
    # A timer may come a trice early; that is the beat that was waited for.
    beat = math.floor((now + _EARLY_S) / every_s) + 1
    await asyncio.sleep(beat * every_s - now)
