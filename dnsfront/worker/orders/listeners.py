"""The orders about the listening sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dnsfront.ipc.channel import Message
from dnsfront.ipc.spec import Listener
from dnsfront.worker.answering.answering import Answering
from dnsfront.worker.orders.orders import Handler, Pieces
from dnsfront.worker.transports.listening import Listening

_NS: Final = 1_000_000_000
#: How often a listener that leaves is looked at.
_LOOK_EVERY_S: Final = 0.01


class ListenerOrders:
    """Opens, leaves and closes listeners, and pauses all of them.

    *catch_up* takes what peers handed over until now.
    """

    def __init__(
        self,
        *,
        listening: Listening,
        answering: Answering,
        catch_up: Callable[[], None],
    ) -> None:
        self._listening = listening
        self._answering = answering
        self._catch_up = catch_up
        self.handlers: dict[str, Handler] = {
            "listen": self._on_listen,
            "unlisten": self._on_unlisten,
            "close": self._on_close,
            "pause": self._on_pause,
            "resume": self._on_resume,
        }

    def _on_listen(self, order: Message, fds: list[int]) -> Message:
        """Know more listeners; they are read from the next `peers` on."""
        listeners = [Listener(**fields) for fields in order["listeners"]]
        self._listening.add(listeners, fds)
        return {"op": "listening"}

    def _on_unlisten(self, order: Message, _fds: list[int]) -> Pieces:
        """Leave listeners until nobody waits there, or the time is over."""
        deadline_ns = self._answering.clock.now_ns + round(order["within_s"] * _NS)
        self._listening.leave(order["numbers"])
        clock = self._answering.clock
        while not self._listening.has_left() and clock.now_ns < deadline_ns:
            yield _LOOK_EVERY_S
        return {"op": "unlistened"}

    def _on_close(self, _order: Message, _fds: list[int]) -> Message:
        """Close the listeners that all workers have left."""
        self._catch_up()
        self._listening.flush_udp()
        self._listening.close()
        return {"op": "closed"}

    def _on_pause(self, _order: Message, _fds: list[int]) -> Message:
        """Leave what arrives to whoever reads the same sockets."""
        self._listening.unwatch()
        return {"op": "paused"}

    def _on_resume(self, _order: Message, _fds: list[int]) -> None:
        self._listening.watch()
