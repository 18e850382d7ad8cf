"""A response to all who wait for it: at once, or in pieces where they are many.

Every response that the fast path of `udp.py` does not write itself leaves here.
"""

from __future__ import annotations

from typing import Final

from dnsfront.dns import edns, wire
from dnsfront.dns.entry import ODD_ERRORS, ODD_ROTATES, ODD_RULED, Entry
from dnsfront.ipc.stats import Limit, Source
from dnsfront.worker.clients.crowds import AT_ONCE, Crowds, Tell
from dnsfront.worker.clients.waiter import Waiter
from dnsfront.worker.process.faults import Faults
from dnsfront.worker.process.meter import Meter

_NO_RECORDS: Final = bytes(6)


class Delivery:
    """Sends responses to those who wait; `crowds` are those still to be told."""

    def __init__(self, meter: Meter, faults: Faults) -> None:
        self.crowds = Crowds()
        self._meter = meter
        self._faults = faults

    def send(
        self,
        waiter: Waiter,
        entry: Entry,
        source: Source,
        *,
        is_counted: bool = False,
    ) -> None:
        """Send the cached *entry* to one client.

        Where a rule made it, that counts, unless it *is_counted*.
        """
        if entry.odd & ODD_RULED and not is_counted:
            self._meter.count_rule(entry.lifetime_s)
        self._meter.sent(entry.rcode, source, waiter.received_at_ns)
        shape = waiter.shape
        if entry.odd & ODD_ROTATES:
            entry.rotate()
        if entry.odd & ODD_ERRORS:
            size = len(waiter.question) + len(entry.body)
            shape = shape.with_errors(entry.errors, size)
        waiter.respond(
            shape.message(waiter.identity, waiter.question, entry.head, entry.body)
        )

    def send_rcode(self, waiter: Waiter, rcode: int) -> None:
        """Send a response without records to one client."""
        self._meter.sent(rcode, Source.MISS, waiter.received_at_ns)
        head = (wire.QR | wire.RA | rcode).to_bytes(2, "big") + _NO_RECORDS
        waiter.respond(
            waiter.shape.message(waiter.identity, waiter.question, head, b"")
        )

    def send_message(self, waiter: Waiter, head: bytes, body: bytes) -> None:
        """Send *head* and *body*, which no entry has, to one client."""
        self._meter.sent(head[1] & wire.RCODE_MASK, Source.MISS, waiter.received_at_ns)
        waiter.respond(
            waiter.shape.message(waiter.identity, waiter.question, head, body)
        )

    def send_all(
        self, waiters: list[Waiter], rcode: int, head: bytes, body: bytes, errors: bytes
    ) -> None:
        """Send an upstream's response to all *waiters*.

        *errors* are its Extended DNS Errors as EDNS options.
        """
        if len(waiters) > AT_ONCE:

            def tell(piece: list[Waiter]) -> None:
                # A piece is no crowd, so this comes back only once.
                self.send_all(piece, rcode, head, body, errors)

            self.tell(waiters, tell, len(body))
            return
        for waiter in waiters:
            if errors:
                size = len(waiter.question) + len(body)
                waiter.shape = waiter.shape.with_errors(errors, size)
            self._meter.sent(rcode, Source.MISS, waiter.received_at_ns)
            waiter.respond(
                waiter.shape.message(waiter.identity, waiter.question, head, body)
            )

    def send_failure(
        self, waiters: list[Waiter], rcode: int, error: int | None, errors: bytes = b""
    ) -> None:
        """Send *rcode* to all *waiters*.

        *error* is the Extended DNS Error for those who speak EDNS, *errors* are those
        of the upstream, as EDNS options.
        """
        if error is not None:
            errors = edns.error_option(error) + errors

        def tell(waiters: list[Waiter]) -> None:
            for waiter in waiters:
                if errors:
                    waiter.shape = waiter.shape.with_options(errors)
                self.send_rcode(waiter, rcode)

        self.tell(waiters, tell)

    def tell(self, waiters: list[Waiter], tell: Tell, octets: int = 0) -> None:
        """Have *tell* called for *waiters*: now, or some at a time if they are many.

        *octets* is what their answer holds meanwhile.
        """
        if len(waiters) <= AT_ONCE:
            tell(waiters)
        elif self.crowds.has_room(octets):
            self.crowds.add(waiters, tell, octets)
        else:
            self._meter.count(Limit.WAITERS)
            self.send_failure(waiters, wire.SERVFAIL, edns.EDE_NOT_READY)

    def go_on(self) -> None:
        """Tell some of those who wait in a crowd; once a round."""
        if self.crowds.waiting:
            self.crowds.go_on(self.lose)

    def lose(self, waiters: list[Waiter]) -> None:
        """Answer SERVFAIL to all *waiters*, for the exception at hand."""
        self._faults.caught("deliver")
        self.tell(waiters, self.send_servfail)

    def send_servfail(self, waiters: list[Waiter]) -> None:
        """Answer SERVFAIL to all who wait for what met a fault."""
        for waiter in waiters:
            try:
                self.send_rcode(waiter, wire.SERVFAIL)
            except Exception:  # noqa: BLE001 - the others are told
                self._faults.caught("response")
