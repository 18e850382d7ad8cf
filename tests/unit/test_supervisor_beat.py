"""Periodic work that wakes the supervisor up together."""

from __future__ import annotations

import asyncio

from dnsfront.supervisor.host.beat import next_beat


def test_beats_of_several_periods_come_in_one_round_of_the_loop() -> None:
    async def beats() -> tuple[float, float]:
        loop = asyncio.get_running_loop()

        async def beat(every_s: float) -> float:
            await next_beat(every_s)
            return loop.time()

        await next_beat(0.02)
        slow = asyncio.create_task(beat(0.04))
        fast = asyncio.create_task(beat(0.02))
        await fast
        if not slow.done():
            # The slow one has every second beat of the fast one.
            fast = asyncio.create_task(beat(0.02))
        return await slow, await fast

    slow_at, fast_at = asyncio.run(beats())

    # Whole multiples of both periods, as far as the machine let them be on time.
    assert abs(slow_at - fast_at) < 0.02


def test_no_period_gives_others_their_turn() -> None:
    async def beats() -> list[str]:
        said: list[str] = []

        async def other() -> None:
            said.append("other")

        task = asyncio.create_task(other())
        await next_beat(0)
        said.append("beat")
        await task
        return said

    assert asyncio.run(beats()) == ["other", "beat"]
