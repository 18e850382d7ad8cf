"""A server that commands talk to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

STATUS: dict[str, Any] = {
    "generation": 3,
    "workers": [
        {
            "name": "w1",
            "pid": 4711,
            "state": "up",
            "slots": 49152,
            "backlog": 0,
            "queries": 1000,
            "hit_ratio": 0.875,
        },
        {
            "name": "w2",
            "pid": None,
            "state": "down",
            "slots": 16384,
            "backlog": 7,
            "queries": 20,
            "hit_ratio": None,
        },
    ],
    "upstreams": [{"address": "[fe80::53]:53", "up": True}],
    "kernel": {"steering": "userspace", "answers": "off"},
}


#: Everything that any command is told.
DONE: dict[str, Any] = {
    "ok": True,
    "generation": 4,
    "slots_moved": 120,
    "added": ["w3"],
    "removed": [],
    "ended": [],
    "entries": 9,
    "seconds": 0.42,
}
MOVED = "generation 4, 120 slots moved, 9 cached entries handed over, 0.4 s, added w3"


class Server:
    """Stands in for the control socket: takes requests, gives one response."""

    def __init__(self) -> None:
        self.requests: list[tuple[Path, dict[str, Any]]] = []
        self.response: dict[str, Any] | Exception = DONE

    def ask(
        self,
        socket_path: Path,
        request: dict[str, Any],
        timeout_s: float,
        is_at_work: Callable[[], bool] = bool,
    ) -> dict[str, Any]:
        assert timeout_s > 0
        assert callable(is_at_work)
        self.requests.append((socket_path, request))
        if isinstance(self.response, Exception):
            raise self.response
        return self.response


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setattr("dnsfront.cli.live.ask", server.ask)
    return server
