"""The start of a worker process: what it is told, ahead of its first round."""

from __future__ import annotations

import gc
import os
import signal
import socket
from typing import Final

from dnsfront.ipc import channel, memory, packets, reading, records, signals
from dnsfront.ipc.identity import Identity
from dnsfront.ipc.messages import MapImages, OtherCode, Start
from dnsfront.ipc.spec import WorkerSpec
from dnsfront.kernel.layouts import described
from dnsfront.worker.answering.images import Images
from dnsfront.worker.loop import WorkerLoop
from dnsfront.worker.process import privileges

#: Queries leave no cycles behind, so looking for them as often as Python does by
#: default would mostly walk the cache for nothing.
_GC_THRESHOLDS: Final = (50_000, 20, 100)


def main(control_fd: int) -> int:
    """Serve until the supervisor says so or is gone; return the exit code."""
    # A stop comes over the channel: who signals the whole group gets a drain too.
    signals.ignore(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    control = socket.socket(fileno=control_fd)
    received = channel.receive(control)
    if received is None:
        return os.EX_UNAVAILABLE
    ours = Identity.here(described())
    if Identity.told(received[0]) != ours:
        told, _none = packets.pack(OtherCode(ours.version, ours.layout))
        channel.send(control, told)
        control.close()
        return os.EX_SOFTWARE
    start = reading.order_in(*received)
    assert isinstance(start, Start), "the first order"
    spec = records.from_json(WorkerSpec, memory.content(start.spec_fd))
    os.close(start.spec_fd)
    images = Images()
    while images.are_missing(spec.packs):
        received = channel.receive(control)
        if received is None:
            return os.EX_UNAVAILABLE
        order = reading.order_in(*received)
        assert isinstance(order, MapImages), "what the first spec names"
        images.map(order.packs, order.memory_fds)
    worker = WorkerLoop(control, start, spec, images)
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    privileges.drop(start.user)
    worker.run()
    return os.EX_OK
