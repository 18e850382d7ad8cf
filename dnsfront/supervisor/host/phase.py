"""Where in its life this process is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Phase(Enum):
    """What the process does, as `status` tells it."""

    STARTING = "starting"
    SERVING = "serving"
    HANDING_OVER = "handing over"
    STOPPING = "stopping"


@dataclass
class Life:
    """The *phase* of now: whoever begins one sets it, whoever reports reads it."""

    phase: Phase = Phase.STARTING
