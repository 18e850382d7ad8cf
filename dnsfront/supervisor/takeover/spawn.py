"""A new process of this program, to take over from this one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from dnsfront.errors import ControlError
from dnsfront.paths import PACKAGE_PARENT
from dnsfront.supervisor.host.last_words import LastWords


async def spawn(config_path: Path, done: asyncio.Event) -> int:
    """Start a process that takes over, and return its pid when *done* is set.

    Raises:
        ControlError: it ended before that; this front end goes on.
    """
    if os.getpid() == 1:
        raise ControlError(
            "restart: this is the first process of a container, which would end "
            "with it; replace the container"
        )
    last_words = LastWords()
    try:
        return await _spawn(config_path, done, last_words)
    finally:
        last_words.close()


async def _spawn(config_path: Path, done: asyncio.Event, last_words: LastWords) -> int:
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
    taken_over = asyncio.create_task(done.wait())
    await asyncio.wait({ended, taken_over}, return_when=asyncio.FIRST_COMPLETED)
    if not taken_over.done():
        taken_over.cancel()
        why = last_words.read()
        raise ControlError(
            f"restart: the new process ended with status {ended.result()} before "
            "it was ready, this one goes on; "
            + (f"it said:\n{why}" if why else "its log says why")
        )
    ended.cancel()
    return process.pid
