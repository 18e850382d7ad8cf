"""What becomes of responses: the front end, as the side towards upstreams sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from dnsfront.dns.entry import Entry
    from dnsfront.dns.response import Response
    from dnsfront.worker.answering.crowds import Crowds
    from dnsfront.worker.clients.waiter import Waiter
    from dnsfront.worker.upstreams.fetch import Fetch


class Answers(Protocol):
    """The front end, as the resolver sees it."""

    now_ns: int
    #: Whether there are zones of ours, which aliases may lead to.
    has_zones: bool

    def local_message(self, exact: bytes) -> bytes | None:
        """Return what a zone of ours says to a question, None if none is asked."""
        ...

    def deliver(self, fetch: Fetch, response: Response) -> None:
        """Keep a response and send it to all who wait."""

    def fail(
        self,
        entry: Entry | None,
        waiters: list[Waiter],
        rcode: int,
        error: int | None,
        errors: bytes = b"",
    ) -> None:
        """Send a failure, or stale data, to all who wait."""

    def send_stale(self, entry: Entry, waiters: list[Waiter]) -> bool:
        """Send the expired *entry*; return whether it may still be used."""
        ...

    def remember_failure(
        self, view: int, exact: bytes, rcode: int, errors: bytes = b""
    ) -> None:
        """Do not ask the same again for a while."""

    @property
    def crowds(self) -> Crowds:
        """Those whose answer is there, and who are still to be told it."""
        ...

    def caught(self, part: str) -> None:
        """Take note of a fault of ours, the exception at hand."""
