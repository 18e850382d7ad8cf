"""The worker's end of the control channel: takes orders, has them carried out, replies.

It knows no part of the worker. The files beside this one have a handler for each order,
and act on the few parts that they are given.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

from dnsfront.ipc import channel
from dnsfront.ipc.channel import Message

_LOG = logging.getLogger(__name__)

#: The longest reason, in characters, that is told to the supervisor.
MAX_REASON = 1000

#: Work of several rounds: a piece a round, and the reply at its end. Each piece tells
#: how many seconds the next one may wait, or None for not at all.
Pieces = Generator[float | None, None, Message]
#: Carries out an order with its descriptors, which it owns. It returns the reply, None
#: where none is wanted, or the pieces of what takes longer.
Handler = Callable[[Message, list[int]], Message | Pieces | None]


@dataclass(eq=False, slots=True)
class _Job:
    """An order of which there are *pieces* left."""

    order: Message
    pieces: Pieces
    wait_s: float = 0


class Orders:
    """Carries out what arrives, at once or, through :meth:`go_on`, a piece a round.

    *on_end* is called when the supervisor is gone; *on_fault* when a piece of work met
    a fault.
    """

    def __init__(
        self,
        control: socket.socket,
        *,
        on_end: Callable[[], None],
        on_fault: Callable[[str], None],
    ) -> None:
        control.setblocking(False)  # noqa: FBT003 - its signature
        self._control = control
        self._on_end = on_end
        self._on_fault = on_fault
        self._handlers: dict[str, Handler] = {}
        self._jobs: list[_Job] = []
        #: Whether :meth:`go_on` has something to do, looked at in every round.
        self.is_under_way = False

    def handle(self, handlers: Mapping[str, Handler]) -> None:
        """Have each order that is named carried out by its handler."""
        self._handlers.update(handlers)

    def fileno(self) -> int:
        """Return the descriptor of the channel, for the reactor."""
        return self._control.fileno()

    def tell(self, message: Message) -> None:
        """Send *message* to the supervisor, if it is still there."""
        try:
            channel.send(self._control, message)
        except OSError as exc:
            _LOG.warning("control_send_failed op=%s error=%s", message["op"], exc)

    def ready(self, _event: int) -> None:
        """Carry out what arrived, or begin to."""
        try:
            received = channel.receive(self._control)
        except BlockingIOError:
            return
        except ConnectionError:
            received = None
        except channel.CutMessageError as exc:
            self._fail(exc.message, exc)
            raise
        if received is None:
            # Without a supervisor nobody could replace this worker when it dies.
            self._on_end()
            return
        order, fds = received
        try:
            result = self._handlers[order["op"]](order, fds)
        except Exception as exc:
            self._fail(order, exc)
            raise
        if isinstance(result, Generator):
            self._jobs.append(_Job(order, result))
            self.is_under_way = True
        elif result is not None:
            self._reply(order, result)

    def _fail(self, order: Message, exc: Exception) -> None:
        """Have this worker replaced: nobody knows what of the order was done."""
        self._reply(order, {"op": "failed", "reason": repr(exc)[:MAX_REASON]})

    def _reply(self, order: Message, reply: Message) -> None:
        number = {"id": order["id"]} if "id" in order else {}
        self.tell({**reply, **number})

    def wait_s(self) -> float | None:
        """Return how long the next piece of work may wait; None if there is none."""
        return min((job.wait_s for job in self._jobs), default=None)

    def go_on(self) -> None:
        """Do a piece more of what takes several rounds."""
        for job in tuple(self._jobs):
            try:
                job.wait_s = next(job.pieces) or 0
            except StopIteration as end:
                self._jobs.remove(job)
                self._reply(job.order, end.value)
            except Exception as exc:  # noqa: BLE001 - who waits for its end is told
                self._jobs.remove(job)
                self._on_fault("order")
                self._fail(job.order, exc)
        self.is_under_way = bool(self._jobs)
