"""What is told about a worker: what it does, and what it left unfinished."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What a worker does, as `status` tells it."""

    STARTING = "starting"
    UP = "up"
    DRAINING = "draining"
    DOWN = "down"  # between a death and its respawn
    FAILED = "failed"  # died too often; tried again once a minute


@dataclass(frozen=True)
class Ended:
    """A worker that was ended with queries pending and connections open."""

    worker: str
    pending: int
    connections: int
