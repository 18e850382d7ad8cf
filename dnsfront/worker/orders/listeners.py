"""The orders about the listening sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dnsfront.ipc.messages import (
    Close,
    Closed,
    Listen,
    Listened,
    Pause,
    Paused,
    Resume,
    Unlisten,
    Unlistened,
)
from dnsfront.worker.orders.orders import Orders, Pieces
from dnsfront.worker.process.clock import Clock
from dnsfront.worker.transports.listening import Listening

_NS: Final = 1_000_000_000
#: How often a listener that leaves is looked at.
_LOOK_EVERY_S: Final = 0.01


class ListenerOrders:
    """Opens, leaves and closes listeners, and pauses all of them.

    *catch_up* takes what peers handed over until now, and passes on what is theirs.
    """

    def __init__(
        self,
        orders: Orders,
        *,
        listening: Listening,
        clock: Clock,
        catch_up: Callable[[], None],
    ) -> None:
        self._listening = listening
        self._clock = clock
        self._catch_up = catch_up
        orders.on(Listen, self._on_listen)
        orders.on(Unlisten, self._on_unlisten)
        orders.on(Close, self._on_close)
        orders.on(Pause, self._on_pause)
        orders.on(Resume, self._on_resume)

    def _on_listen(self, order: Listen) -> Listened:
        """Know more listeners; they are read from the next `peers` on."""
        self._listening.add(order.listeners, order.socket_fds)
        return Listened()

    def _on_unlisten(self, order: Unlisten) -> Pieces:
        """Leave listeners until nobody waits there, or the time is over."""
        clock = self._clock
        deadline_ns = clock.now_ns + round(order.timeout_s * _NS)
        self._listening.leave(order.numbers)
        while not self._listening.has_left() and clock.now_ns < deadline_ns:
            yield _LOOK_EVERY_S
        self._catch_up()
        return Unlistened()

    def _on_close(self, _order: Close) -> Closed:
        """Close the listeners that all workers have left."""
        self._catch_up()
        self._listening.flush()
        self._listening.close()
        return Closed()

    def _on_pause(self, _order: Pause) -> Paused:
        """Leave what arrives to whoever reads the same sockets."""
        self._listening.pause()
        return Paused()

    def _on_resume(self, _order: Resume) -> None:
        self._listening.resume()
