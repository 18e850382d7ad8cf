"""What the kernel has of one front end."""

from __future__ import annotations

from dataclasses import dataclass

from dnsfront.kernel.steering import Steering
from dnsfront.supervisor.sockets.groups import SocketGroups
from dnsfront.supervisor.sockets.tables import Publisher


@dataclass(frozen=True)
class Datapath:
    """The way of a datagram to its worker: program, sockets, and table.

    *degraded* tells what the lack of a right costs, None where nothing lacks.
    """

    steering: Steering
    degraded: str | None
    groups: SocketGroups
    publisher: Publisher
