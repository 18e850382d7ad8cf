"""A new process of this program, to take over from this one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from dnsfront.errors import ControlError
from dnsfront.paths import PACKAGE_PARENT
from dnsfront.supervisor.host.last_words import LastWords
from dnsfront.supervisor.takeover.successor import Succession

#: From its first instruction on: the config, large zones, and the take-over itself,
#: of which each step has a time-out of its own.
READY_TIMEOUT_S: Final = 300.0


async def spawn(config_path: Path, succession: Succession) -> int:
    """Start a process that takes over, and return its pid when it has.

    Raises:
        ControlError: it ended before that, or took too long and is ended; this front
            end goes on.
    """
    if os.getpid() == 1:
        raise ControlError(
            "restart: this is the first process of a container, which would end "
            "with it; replace the container"
        )
    last_words = LastWords()
    try:
        return await _spawn(config_path, succession, last_words)
    finally:
        last_words.close()


async def _spawn(
    config_path: Path, succession: Succession, last_words: LastWords
) -> int:
    # Not resolved: where a link leads may change, and what is relative to it.
    command = ("-m", "dnsfront", "run", "--takeover", "-c", str(config_path))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *command),
        stdin=subprocess.DEVNULL,
        cwd=PACKAGE_PARENT,
        env=last_words.environment,
        pass_fds=(last_words.fd,),
    )
    ended = asyncio.create_task(process.wait())
    taken_over = asyncio.create_task(succession.done.wait())
    await asyncio.wait(
        {ended, taken_over},
        timeout=READY_TIMEOUT_S,
        return_when=asyncio.FIRST_COMPLETED,
    )
    taken_over.cancel()
    # Whoever has been let go ahead may serve at any moment, and is waited for.
    async with succession.yielding:
        if succession.done.is_set():
            ended.cancel()
            return process.pid
        why = _why_not(process, last_words)
    await ended
    raise ControlError(why)


def _why_not(process: asyncio.subprocess.Process, last_words: LastWords) -> str:
    """Return why the new *process* did not take over; it ends if it has not yet."""
    if process.returncode is None:
        process.kill()
        return (
            f"restart: the new process was not ready within {READY_TIMEOUT_S:g} s and "
            "was ended, this one goes on; its log says how far it came"
        )
    said = last_words.read()
    return (
        f"restart: the new process ended with status {process.returncode} before it "
        "was ready, this one goes on; "
        + (f"it said:\n{said}" if said else "its log says why")
    )
