"""What systemd is told (sd_notify(3)): a datagram to the socket that it names."""

from __future__ import annotations

import logging
import os
import socket
from typing import Final

_LOG = logging.getLogger(__name__)

_VARIABLE: Final = "NOTIFY_SOCKET"

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"


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
