"""The config that every run begins with and comes back to."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from tests.soak import model
from tests.soak.clients import SERVICE
from tests.soak.jail import HOST
from tests.soak.resolvers import ADDRESSES
from tests.system.front import Address

#: Bounds are for a machine that has other things to do: see :meth:`World.within`.
ADMIN: Final = Address(HOST, 9353)


def home(folder: Path) -> dict[str, Any]:
    """Return the config that every run begins with and comes back to."""
    return {
        "listen": [str(SERVICE)],
        # As many slots as suit both methods, so that one may follow the other.
        "ring": {"workers": 4, "seed": "soak", "slots": 55440},
        "upstreams": {
            "policy": "chash",
            "servers": [{"address": str(address)} for address in ADDRESSES],
            "timeout": "400ms",
        },
        "zones": [
            {"origin": zone, "file": str(folder / f"{zone}.zone")}
            for zone in model.ZONES[:3]
        ],
        "cache": {"max_entries": 2000, "serve_stale": "60s"},
        "kernel_cache": {"mode": "auto", "max_size": "1MiB"},
        "access": {"allow": ["10.1.0.0/24", "127.0.0.0/8"]},
        "admin": {
            "listen": str(ADMIN),
            "socket": str(folder / "control.sock"),
            "allow": ["10.1.0.0/24"],
        },
    }
