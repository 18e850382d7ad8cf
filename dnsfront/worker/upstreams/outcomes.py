"""What becomes of fetches: whatever pools call up to, given by who answers clients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dnsfront.dns.entry import Entry
from dnsfront.dns.response import Response
from dnsfront.worker.clients.waiter import Waiter
from dnsfront.worker.upstreams.aliases import LocalMessage
from dnsfront.worker.upstreams.fetch import Fetch


@dataclass(slots=True)
class Outcomes:
    """What is done with the end of a fetch.

    *deliver* keeps a response and sends it to all who wait. *fail* sends them an rcode,
    with our Extended DNS Error and those of the upstream as EDNS options, or the
    expired entry if there is one that may still be used. *send_stale* sends the
    expired entry, and returns whether it may still be used. *remember_failure* takes
    view, canonical question, rcode and Extended DNS Errors, and keeps the same from
    being asked again for a while. *to_be_told* returns how many wait whose answer is
    there already. `local_message` is None where there are no zones of ours.

    `is_elsewhere` takes two questions, and returns whether the second is asked of
    another pool; `ask_elsewhere` has that pool go on with a fetch whose aliases lead to
    a name, and returns whether there is one. Both are None where all go to one pool.
    """

    deliver: Callable[[Fetch, Response], None]
    fail: Callable[[Entry | None, list[Waiter], int, int | None, bytes], None]
    send_stale: Callable[[Entry, list[Waiter]], bool]
    remember_failure: Callable[[int, bytes, int, bytes], None]
    to_be_told: Callable[[], int]
    local_message: LocalMessage | None = None

    def give_up(self, fetch: Fetch) -> None:
        """Answer all who wait with the failure of *fetch*, and remember it."""
        rcode, errors = fetch.failed_rcode, fetch.errors
        self.remember_failure(fetch.view, fetch.canonical, rcode, errors)
        self.fail(fetch.entry, fetch.waiters, rcode, fetch.error, errors)

    is_elsewhere: Callable[[bytes, bytes], bool] | None = None
    ask_elsewhere: Callable[[Fetch, bytes], bool] | None = None
