"""Children that compile zones, and meet what the real one may meet."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from dnsfront.supervisor.zones import child as zone_child

_compile = zone_child._compile


def _die(path: Path, *rest: Any) -> dict[str, Any]:  # noqa: ANN401 - as it is
    if "bad" in path.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return _compile(path, *rest)


def _fail(path: Path, *rest: Any) -> dict[str, Any]:  # noqa: ANN401 - as it is
    if "bad" in path.name:
        raise ZeroDivisionError
    return _compile(path, *rest)


def _hang(path: Path, *rest: Any) -> dict[str, Any]:  # noqa: ANN401 - as it is
    if "bad" in path.name:
        time.sleep(1000)
    return _compile(path, *rest)


def _stop(path: Path, *rest: Any) -> dict[str, Any]:  # noqa: ANN401 - as it is
    if "bad" in path.name:
        os.kill(os.getpid(), signal.SIGSTOP)
    return _compile(path, *rest)


def _toil(path: Path, *rest: Any) -> dict[str, Any]:  # noqa: ANN401 - as it is
    until = time.process_time() + 1
    while time.process_time() < until:
        pass
    return _compile(path, *rest)


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
