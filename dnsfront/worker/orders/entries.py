"""The orders about what is cached: send it to its next owners, take it, forget it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from dnsfront.dns import wire
from dnsfront.dns.cache import Cache, is_under
from dnsfront.ipc import memory
from dnsfront.ipc.channel import Message
from dnsfront.ipc.stats import Counter
from dnsfront.worker.answering.answering import Answering
from dnsfront.worker.orders.orders import Handler, Pieces
from dnsfront.worker.peers.handover import Peers, Receivers
from dnsfront.worker.peers.ownership import Ownership, first_owner
from dnsfront.worker.peers.transfer import transfer
from dnsfront.worker.process.meter import Meter

_NS: Final = 1_000_000_000


class EntryOrders:
    """Transfers and flushes; *catch_up* takes what peers handed over until now."""

    def __init__(
        self,
        *,
        worker_id: int,
        cache: Cache,
        answering: Answering,
        ownership: Ownership,
        peers: Peers,
        meter: Meter,
        catch_up: Callable[[], None],
    ) -> None:
        self._worker_id = worker_id
        self._cache = cache
        self._answering = answering
        self._ownership = ownership
        self._peers = peers
        self._meter = meter
        self._catch_up = catch_up
        # Of a transfer that is under way when another is ordered the rest stays here.
        self._transfers = 0
        self.handlers: dict[str, Handler] = {
            "move": self._on_move,
            "settle": self._on_settle,
            "flush": self._on_flush,
        }

    def _on_move(self, order: Message, fds: list[int]) -> Pieces:
        """Send entries to the next owners of their names; late ones arrive cold."""
        self._transfers += 1
        number = self._transfers
        clock = self._answering.clock
        deadline_ns = clock.now_ns + round(order["within_s"] * _NS)
        table_fd, *peer_fds = fds
        table = memory.content(table_fd)
        os.close(table_fd)
        self._show(0, 0)
        begin = partial(transfer, self._cache.entries(), now_s=clock.now_s)
        with _receivers(order, peer_fds) as receivers:
            if receivers is None:
                steps = begin(
                    owner=partial(self._ownership.owner_under, table),
                    own_id=self._worker_id,
                    send=self._peers.pass_entries,
                )
            else:
                key = bytes.fromhex(order["hash_key_hex"])
                steps = begin(
                    owner=lambda name: first_owner(
                        table, name, key, receivers.__contains__
                    ),
                    own_id=0,
                    send=receivers.send,
                )
            entries = 0
            try:
                while clock.now_ns < deadline_ns:
                    self._show(*next(steps))
                    yield None
                    if self._transfers > number:
                        break
            except StopIteration as end:
                entries = end.value
                self._show(entries, entries)
            except Exception:  # noqa: BLE001 - a colder cache there, no worker lost here
                self._answering.faults.caught("move")
        return {"op": "moved", "entries": entries}

    def _show(self, sent: int, entries: int) -> None:
        """Tell whoever looks how many of so many entries are on their way."""
        self._meter.set_gauge(Counter.MOVE_ENTRIES, entries)
        self._meter.set_gauge(Counter.MOVE_SENT, sent)

    def _on_settle(self, _order: Message, _fds: list[int]) -> Message:
        self._catch_up()
        return {"op": "settled"}

    def _on_flush(self, order: Message, _fds: list[int]) -> Pieces:
        """Forget what *order* names, and tell how much it was."""
        is_wanted: Callable[[bytes], bool] = lambda _qname: True  # noqa: E731
        if "qname" in order:
            is_wanted = wire.qname_from_text(order["qname"]).__eq__
        elif "zone" in order:
            is_wanted = partial(is_under, origin=wire.qname_from_text(order["zone"]))
        entries = yield from self._cache.flushing(
            lambda entry: is_wanted(entry.key[:-4])
        )
        self._answering.failures.forget()
        return {"op": "flushed", "entries": entries}


@contextmanager
def _receivers(order: Message, fds: list[int]) -> Iterator[Receivers | None]:
    """Have the workers of another instance that *order* names; None without any."""
    if "ids" not in order:
        yield None
        return
    receivers = Receivers(order["ids"], fds)
    try:
        yield receivers
    finally:
        receivers.close()
