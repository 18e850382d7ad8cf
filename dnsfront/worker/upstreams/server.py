"""What is known of one upstream server: how it takes EDNS, how long it takes.

Pure: no socket, no clock.
"""

from __future__ import annotations

from dnsfront.ipc.spec import UpstreamServer
from dnsfront.worker.upstreams.edns import EdnsMemory
from dnsfront.worker.upstreams.marks import Marks
from dnsfront.worker.upstreams.round_trip import RoundTrip


class Server:
    """One server of a pool.

    *position* is where it stands among the servers of its pool, `index` what it is
    called in the shared counters and on the page of the health checks. `outstanding`
    is how many fetches ask it now, `chosen` the number of the choice that it was the
    first of last. Where questions are hedged, `heard_ns` is when it answered last.
    first of last. `marks` are on its queries where they are wanted.
    """

    __slots__ = (
        "chosen",
        "edns",
        "heard_ns",
        "index",
        "marks",
        "outstanding",
        "position",
        "round_trip",
        "spec",
    )

    def __init__(
        self, spec: UpstreamServer, position: int, round_trip: RoundTrip
    ) -> None:
        self.spec = spec
        self.position = position
        self.index = spec.index
        self.round_trip = round_trip
        self.edns = EdnsMemory()
        self.marks: Marks | None = None
        self.outstanding = 0
        self.chosen = 0
        self.heard_ns = 0
