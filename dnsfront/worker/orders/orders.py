"""The worker's end of the control channel: takes orders, has them carried out, replies.

It knows no part of the worker. The files beside this one have a handler for each order,
and act on the few parts that they are given.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from dnsfront.ipc import channel, packets, reading
from dnsfront.ipc.messages import Failed, Order, Said

_LOG = logging.getLogger(__name__)

#: The longest reason, in characters, that is told to the supervisor.
MAX_REASON = 1000

#: Work of several rounds: a piece a round, and the reply at its end. Each piece tells
#: how many seconds the next one may wait, or None for not at all.
Pieces = Generator[float | None, None, Said]
#: What comes of an order: the reply, None where none is wanted, or the pieces of what
#: takes longer.
OrderResult = Said | Pieces | None

OrderT = TypeVar("OrderT", bound=Order[Any])


@dataclass(eq=False, slots=True)
class _Job:
    """The order with this *number*, of which there are *pieces* left."""

    number: int | None
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
        self._handlers: dict[type[Order[Any]], Callable[[Any], OrderResult]] = {}
        self._jobs: list[_Job] = []

    def on(self, kind: type[OrderT], handler: Callable[[OrderT], OrderResult]) -> None:
        """Have *handler* carry out orders of *kind*; it owns their descriptors."""
        self._handlers[kind] = handler

    def fileno(self) -> int:
        """Return the descriptor of the channel, for the reactor."""
        return self._control.fileno()

    def tell(self, said: Said, number: int | None = None) -> None:
        """Say something to the supervisor, if it is still there.

        With a *number* it is the reply to the order that has this number.
        """
        plain, _none = packets.pack(said, number)
        try:
            channel.send(self._control, plain)
        except OSError as exc:
            _LOG.warning("control_send_failed op=%s error=%s", said.op, exc)

    def ready(self, _event: int) -> None:
        """Carry out what arrived, or begin to."""
        try:
            received = channel.receive(self._control)
        except BlockingIOError:
            return
        except ConnectionError:
            received = None
        except channel.CutMessageError as exc:
            self._fail(packets.number_in(exc.message), exc)
            raise
        if received is None:
            # Without a supervisor nobody could replace this worker when it dies.
            self._on_end()
            return
        plain, fds = received
        number = packets.number_in(plain)
        try:
            order = reading.order_in(plain, fds)
            result = self._handlers[type(order)](order)
        except Exception as exc:
            self._fail(number, exc)
            raise
        if isinstance(result, Generator):
            self._jobs.append(_Job(number, result))
        elif result is not None:
            self.tell(result, number)

    def _fail(self, number: int | None, exc: Exception) -> None:
        """Have this worker replaced: nobody knows what of the order was done."""
        self.tell(Failed(repr(exc)[:MAX_REASON]), number)

    def wait_s(self) -> float | None:
        """Return how long the next piece of work may wait; None if there is none."""
        return min(job.wait_s for job in self._jobs) if self._jobs else None

    def go_on(self) -> None:
        """Do a piece more of what takes several rounds."""
        for job in tuple(self._jobs):
            try:
                job.wait_s = next(job.pieces) or 0
            except StopIteration as end:
                self._jobs.remove(job)
                self.tell(end.value, job.number)
            except Exception as exc:  # noqa: BLE001 - who waits for its end is told
                self._jobs.remove(job)
                self._on_fault("order")
                self._fail(job.number, exc)
