"""Children that compile zones, and meet what the real one may meet."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from dnsfront.supervisor.zones import child as zone_child

_compile = zone_child._compile


def _die(files: Any, *rest: Any) -> dict[str, Any]:  # noqa: ANN401
    if "bad" in files.path.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return _compile(files, *rest)


def _fail(files: Any, *rest: Any) -> dict[str, Any]:  # noqa: ANN401
    if "bad" in files.path.name:
        raise ZeroDivisionError
    return _compile(files, *rest)


def _hang(files: Any, *rest: Any) -> dict[str, Any]:  # noqa: ANN401
    if "bad" in files.path.name:
        time.sleep(1000)
    return _compile(files, *rest)


def _stop(files: Any, *rest: Any) -> dict[str, Any]:  # noqa: ANN401
    if "bad" in files.path.name:
        os.kill(os.getpid(), signal.SIGSTOP)
    return _compile(files, *rest)


def _toil(files: Any, *rest: Any) -> dict[str, Any]:  # noqa: ANN401
    until = time.process_time() + 1
    while time.process_time() < until:
        pass
    return _compile(files, *rest)


if __name__ == "__main__":
    kind = os.environ["CHILD"]
    if kind == "short of memory":
        zone_child.MEMORY_OCTETS = 1 << 20  # type: ignore[misc]
        zone_child._MEMORY_PER_OCTET = 0  # type: ignore[misc]
    else:
        played = {
            "dies": _die,
            "fails": _fail,
            "hangs": _hang,
            "stops": _stop,
            "is busy": _toil,
        }[kind]
        zone_child._compile = played
    sys.exit(zone_child.main())
