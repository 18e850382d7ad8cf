"""The worker's readiness loop: epoll, callbacks by descriptor, work after a round.

A framework's loop costs more per datagram than the kernel's whole UDP path; this one
costs one epoll_wait a round, and a round moves whole batches. At low rates a round has
a datagram or two, so it touches nothing that did not change: a callback that has done
all that there is to do says so, and what comes after the round is spared.
"""

from __future__ import annotations

import math
import select
import time
from collections.abc import Callable
from typing import Final

from dnsfront.worker.process.calls import waiting
from dnsfront.worker.process.clock import Clock

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT

#: How often idle time-outs are looked at while something goes on.
_TICK_MS: Final = 250
_TICK_NS: Final = _TICK_MS * 1_000_000
#: The longest wait while nothing goes on. The supervisor asks for a sign of life more
#: often, so most of the time it is that which ends it.
_LONGEST_MS: Final = 6000
#: A callback that fails so often in a second will never read what woke it.
MAX_FAULTS: Final = 1000

#: Told the events of its descriptor, it returns True if the end of the round has
#: nothing to do for it.
Callback = Callable[[int], bool | None]


class Reactor:
    """Calls back those whose descriptors are ready, until it is told to stop.

    *clock* is set before the callbacks of a round, to what *now_ns* says. *on_tick* is
    told the time about four times a second, unless it returned False, for no need of
    that, and nothing happened since. *after_round* runs last, if anybody left
    something for it, waits for it, or time passed; it returns the longest wait in
    seconds until it has to run again, None for as long as it takes.

    What any of them raises is told to *on_fault*, with the name of the part, and the
    others are called all the same.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        now_ns: Callable[[], int] = time.monotonic_ns,
        after_round: Callable[[], float | None],
        on_tick: Callable[[int], bool],
        on_fault: Callable[[str], None],
    ) -> None:
        self._epoll = select.epoll()
        self._wait = waiting(self._epoll)
        self._callbacks: dict[int, Callback] = {}
        self._clock = clock
        self._now_ns = now_ns
        self._after_round = after_round
        self._on_tick = on_tick
        self._on_fault = on_fault
        self._is_running = False
        # By descriptor: the second of the last fault, and how many that second had.
        self._faults: dict[int, tuple[int, int]] = {}

    def watch(self, fd: int, callback: Callback, events: int = READ) -> None:
        """Call *callback* with the events whenever *fd* is ready for *events*."""
        if fd in self._callbacks:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def forget(self, fd: int) -> None:
        """Stop watching *fd*; call this before it is closed."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def stop(self) -> None:
        """Leave :meth:`run` after this round."""
        self._is_running = False

    def run(self) -> None:
        """Serve until :meth:`stop`."""
        self._is_running = True
        wait, callbacks, clock = self._wait, self._callbacks, self._clock
        read_ns = self._now_ns
        wait_ms = 0
        ticked_at_ns = -_TICK_NS
        # Whether somebody waits for the end of the next round, and for the next tick.
        is_awaited = is_ticking = True
        while self._is_running:
            events = wait(wait_ms)
            now_ns = read_ns()
            clock.set(now_ns)
            is_quiet = not is_awaited
            for fd, event in events:
                # An earlier callback of this round may have forgotten the descriptor.
                callback = callbacks.get(fd)
                if callback is not None:
                    try:
                        if not callback(event):
                            is_quiet = False
                    except Exception:  # noqa: BLE001 - one caller, not all
                        is_quiet = False
                        self._survive(fd, callback, now_ns)
            if now_ns - ticked_at_ns >= _TICK_NS:
                ticked_at_ns = now_ns
                is_quiet = False
                is_ticking = self._tick(now_ns)
            else:
                is_ticking = True
            if is_quiet:
                wait_ms = _TICK_MS
                continue
            try:
                wanted_s = self._after_round()
            except Exception:  # noqa: BLE001 - the next round comes
                self._on_fault("round")
                wanted_s = None
            is_awaited = wanted_s is not None
            wait_ms = _TICK_MS if is_ticking else _LONGEST_MS
            if wanted_s is not None and wanted_s * 1000 < wait_ms:
                # Not less: it would come back for nothing.
                wait_ms = math.ceil(wanted_s * 1000)

    def _tick(self, now_ns: int) -> bool:
        try:
            return self._on_tick(now_ns)
        except Exception:  # noqa: BLE001 - the next tick comes
            self._on_fault("tick")
            return True

    def _survive(self, fd: int, callback: Callback, now_ns: int) -> None:
        """Tell of a fault; give a descriptor up whose every event ends in one.

        Otherwise it would be ready for ever and take a whole CPU. If it was one of
        those that a worker lives by, the supervisor finds it hung, and replaces it.
        """
        self._on_fault(getattr(callback, "__qualname__", "callback"))
        second = now_ns // 1_000_000_000
        at, count = self._faults.get(fd, (second, 0))
        count = count + 1 if at == second else 1
        self._faults[fd] = (second, count)
        if count >= MAX_FAULTS:
            del self._faults[fd]
            self.forget(fd)
