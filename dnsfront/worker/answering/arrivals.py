"""What comes of fetches: responses are kept, and sent to all who wait."""

from __future__ import annotations

from dnsfront.dns.cache import Cache
from dnsfront.dns.response import NEVER_KEPT, Response
from dnsfront.worker.answering.delivery import Delivery
from dnsfront.worker.answering.failures import Failures
from dnsfront.worker.answering.local import Local
from dnsfront.worker.answering.stale import Stale
from dnsfront.worker.process.clock import Clock
from dnsfront.worker.upstreams.fetch import Fetch
from dnsfront.worker.upstreams.outcomes import Outcomes


class Arrivals:
    """Takes the responses of upstreams; it knows neither pools nor queries."""

    def __init__(
        self, cache: Cache, clock: Clock, local: Local, delivery: Delivery
    ) -> None:
        self._cache = cache
        self._clock = clock
        self._local = local
        self._delivery = delivery

    def deliver(self, fetch: Fetch, response: Response) -> None:
        """Keep an upstream's response and send it to all who wait for it."""
        try:
            ruling = self._local.ruling
            if ruling.has_general:
                if ruling.forbids_keeping(fetch.canonical):
                    response.ttl_s = NEVER_KEPT
                response.errors = ruling.errors_of(fetch.canonical) + response.errors
            entry = self._cache.put(
                fetch.view,
                fetch.key,
                fetch.canonical[-4:],
                response,
                self._clock.now_s,
            )
            if entry is None:
                self._local.answer_all(fetch.canonical, fetch.key, fetch.waiters)
                return
            self._delivery.send_all(
                fetch.waiters, response.rcode, entry.head, entry.body, response.errors
            )
        except Exception:  # noqa: BLE001 - no response takes others with it
            self._delivery.lose(fetch.waiters)

    def outcomes(self, stale: Stale, failures: Failures) -> Outcomes:
        """Return what pools are to do with the end of a fetch."""
        return Outcomes(
            deliver=self.deliver,
            fail=stale.fail,
            send_stale=stale.send,
            remember_failure=failures.remember,
            to_be_told=self._to_be_told,
        )

    def _to_be_told(self) -> int:
        return self._delivery.crowds.waiting
