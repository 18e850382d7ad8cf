"""Responses that have everything right but the id: somebody guesses (RFC 5452, 9).

Pure: no socket, no clock.
"""

from __future__ import annotations

from typing import Final

from dnsfront.dns import wire
from dnsfront.worker.upstreams.fetch import Fetch, Port

#: So many come to one question before it is taken for more than chance: a copy of a
#: response, or one to a query that was given up for a later one, comes late and once.
_MANY: Final = 8
#: Most questions whose near misses are counted; then it is begun anew.
_QUESTIONS: Final = 4096


class NearMisses:
    """Counts near misses for the questions that are *under_way*, by view.

    What is not pending is not counted, so guesses for names that nobody asks for cost
    nothing but a look.
    """

    def __init__(self, under_way: tuple[dict[bytes, Fetch], ...]) -> None:
        self._under_way = under_way
        self._counts: dict[Fetch, int] = {}

    def aim_of(self, port: Port, octets: bytes) -> Fetch | None:
        """Return the fetch that *octets*, which are no response to it, aim at.

        That is once it was aimed at too often, and is pending at that *port*.
        """
        end = octets.find(b"\0", wire.HEADER_OCTETS) + 1
        if not end or len(octets) < end + 4 or not octets[2] & 0x80:
            return None
        question = octets[wire.HEADER_OCTETS : end].lower() + octets[end : end + 4]
        for fetches in self._under_way:
            fetch = fetches.get(question)
            if fetch is None or all(x[0] is not port for x in fetch.sent):
                continue
            if len(self._counts) >= _QUESTIONS:
                self._counts.clear()
            count = self._counts[fetch] = self._counts.get(fetch, 0) + 1
            if count >= _MANY:
                del self._counts[fetch]
                return fetch
        return None
