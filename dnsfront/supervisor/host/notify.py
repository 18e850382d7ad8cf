"""What systemd is told (sd_notify(3)): a datagram to the socket that it names."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

_LOG = logging.getLogger(__name__)

_VARIABLE: Final = "NOTIFY_SOCKET"

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
_EXTEND: Final = "EXTEND_TIMEOUT_USEC=30000000"
_EXTEND_EVERY_S: Final = 5.0

_T = TypeVar("_T")


def notify(state: str) -> None:
    """Tell the service manager *state*; without one, nothing happens.

    A manager that does not listen any more is logged and costs no more than that.
    """
    address = os.environ.get(_VARIABLE, "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(state.encode(), address)
    except OSError as exc:
        _LOG.warning("notify_failed state=%s error=%s", state, exc)


async def at_work(work: Coroutine[Any, Any, _T]) -> _T:
    """Return what *work* does; while it lasts, have the manager wait for us."""
    task = asyncio.create_task(work)
    try:
        while not (await asyncio.wait({task}, timeout=_EXTEND_EVERY_S))[0]:
            notify(_EXTEND)
        return task.result()
    finally:
        task.cancel()
