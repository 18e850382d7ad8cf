"""The orders about what is cached: send it to its next owners, take it, forget it."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from functools import partial
from typing import Final

from dnsfront.dns.cache import Cache
from dnsfront.dns.forgetting import Test, at_or_below, everything, named
from dnsfront.dns.names import qname_from_text
from dnsfront.ipc import memory
from dnsfront.ipc.messages import (
    CatchUp,
    CaughtUp,
    Flush,
    Flushed,
    Transfer,
    Transferred,
    TransferToSuccessor,
)
from dnsfront.ipc.packets import Descriptor
from dnsfront.ipc.stats import Counter
from dnsfront.worker.answering.failures import Failures
from dnsfront.worker.orders.orders import Orders, Pieces
from dnsfront.worker.peers.handover import Peers, Receivers
from dnsfront.worker.peers.ownership import Ownership, first_owner
from dnsfront.worker.peers.transfer import TransferStep, transfer
from dnsfront.worker.process.faults import Faults
from dnsfront.worker.process.meter import Meter

_NS: Final = 1_000_000_000


class EntryOrders:
    """Transfers and flushes; *catch_up* is the inbox's."""

    def __init__(
        self,
        orders: Orders,
        *,
        worker_id: int,
        cache: Cache,
        failures: Failures,
        ownership: Ownership,
        peers: Peers,
        meter: Meter,
        faults: Faults,
        catch_up: Callable[[], None],
    ) -> None:
        self._worker_id = worker_id
        self._cache = cache
        self._failures = failures
        self._ownership = ownership
        self._peers = peers
        self._meter = meter
        self._clock = meter.clock
        self._faults = faults
        self._catch_up = catch_up
        # How many were ordered: the next one ends the one under way.
        self._transfers = 0
        orders.on(Transfer, self._on_transfer)
        orders.on(TransferToSuccessor, self._on_transfer_to_successor)
        orders.on(CatchUp, self._on_catch_up)
        orders.on(Flush, self._on_flush)

    def _on_transfer(self, order: Transfer) -> Pieces:
        """Send entries to the next owners of their names."""
        table = _content(order.table_fd)
        steps = transfer(
            self._cache.entries(),
            owner=partial(self._ownership.owner_under, table),
            own_id=self._worker_id,
            now_s=self._clock.now_s,
            send=self._peers.pass_parcel,
        )
        entries = yield from self._in_time(steps, order.timeout_s)
        return Transferred(entries)

    def _on_transfer_to_successor(self, order: TransferToSuccessor) -> Pieces:
        """Send all entries to the workers of another instance."""
        table, key = _content(order.table_fd), bytes.fromhex(order.hash_key_hex)
        receivers = Receivers(order.ids, order.socket_fds)
        steps = transfer(
            self._cache.entries(),
            owner=lambda name: first_owner(table, name, key, receivers.__contains__),
            own_id=0,
            now_s=self._clock.now_s,
            send=receivers.send,
        )
        try:
            entries = yield from self._in_time(steps, order.timeout_s)
        finally:
            receivers.close()
        return Transferred(entries)

    def _in_time(
        self, steps: Generator[TransferStep, None, int], timeout_s: float
    ) -> Generator[None, None, int]:
        """Go through *steps*; past the time the rest stays here, and arrives cold."""
        clock = self._clock
        deadline_ns = clock.now_ns + round(timeout_s * _NS)
        self._transfers += 1
        number = self._transfers
        self._show(0, 0)
        try:
            while clock.now_ns < deadline_ns and number == self._transfers:
                self._show(*next(steps))
                yield
        except StopIteration as end:
            entries: int = end.value
            self._show(entries, entries)
            return entries
        except Exception:  # noqa: BLE001 - a colder cache there, no worker lost here
            self._faults.caught("transfer")
        return 0

    def _show(self, sent: int, entries: int) -> None:
        """Tell whoever looks how many of so many entries are on their way."""
        self._meter.set_gauge(Counter.TRANSFER_ENTRIES, entries)
        self._meter.set_gauge(Counter.TRANSFER_SENT, sent)

    def _on_catch_up(self, _order: CatchUp) -> CaughtUp:
        self._catch_up()
        return CaughtUp()

    def _on_flush(self, order: Flush) -> Pieces:
        """Forget what *order* names, and tell how much it was."""
        test: Test = everything
        if order.name is not None:
            qname = qname_from_text(order.name)
            test = at_or_below(qname) if order.is_suffix else named(qname)
        entries = yield from self._cache.flushing(test)
        self._failures.forget()
        return Flushed(entries)


def _content(fd: Descriptor) -> bytes:
    """Return what is in the memory *fd*, which is closed."""
    octets = memory.content(fd)
    os.close(fd)
    return octets
