"""Whether one upstream can be asked with EDNS, learnt from what it says and does not.

Servers from before EDNS say FORMERR, NOTIMP or nothing at all (RFC 6891, 7). Without
EDNS there is no DNSSEC, so it takes more than one forged or lost datagram to give it
up: several questions must have been silent with it and answered without it, and no OPT
record in between. Whoever owns a zone whose servers are silent could have everybody
else's answers come without signatures, were their silence held against the server: so
the first query of a question has an OPT record whatever befell others.
"""

from __future__ import annotations

from typing import Final

_NS: Final = 1_000_000_000
#: For so long a server is asked without EDNS before it is tried with it again.
PLAIN_FOR_S: Final = 900
#: How often one question is asked with it nonetheless, to see whether that was wrong.
PROBE_EVERY_S: Final = 10
#: Questions that must have failed with EDNS and been answered without it.
_FAILURES: Final = 3
#: Sends without a response after which every other send goes without EDNS.
_SILENCES: Final = 2
#: The same for a server that has been seen to know EDNS: that path may just be bad.
_SILENCES_IF_KNOWN: Final = 8
#: So long after its last OPT record no silence of a server is held against EDNS.
_TRUSTED_NS: Final = 60 * _NS


class EdnsMemory:
    """What is known of one server: `is_known` once it answered with an OPT record.

    `is_sure` while it does.
    """

    __slots__ = (
        "_failures",
        "_is_plain_next",
        "_last_opt_ns",
        "_next_probe_ns",
        "_plain_deadline_ns",
        "_silences",
        "is_known",
        "is_sure",
    )

    def __init__(self) -> None:
        self.is_sure = False
        self.is_known = False
        self._is_plain_next = False
        self._silences = 0
        self._failures = 0
        self._plain_deadline_ns = 0
        self._next_probe_ns = 0
        self._last_opt_ns = -_TRUSTED_NS

    def is_trusted(self, now_ns: int) -> bool:
        """Return whether an OPT record came lately."""
        return now_ns - self._last_opt_ns < _TRUSTED_NS

    def is_wanted(self, now_ns: int, *, is_first: bool) -> bool:
        """Return whether a query goes with an OPT record.

        *is_first* says that it is the first of its question to this server.
        """
        if self.is_trusted(now_ns):
            return True
        if self._plain_deadline_ns > now_ns:
            if is_first and now_ns >= self._next_probe_ns:
                self._next_probe_ns = now_ns + PROBE_EVERY_S * _NS
                return True
            return False
        limit = _SILENCES_IF_KNOWN if self.is_known else _SILENCES
        if is_first or self._silences < limit:
            return True
        self._is_plain_next = not self._is_plain_next
        return not self._is_plain_next

    def answered(self, now_ns: int, *, has_edns: bool, has_opt: bool) -> None:
        """Learn from a response that is no complaint about the query's form.

        *has_edns* is about the query, *has_opt* about the response.
        """
        if has_opt:
            self.is_sure = self.is_known = True
            self._last_opt_ns = now_ns
            self._silences = self._failures = self._plain_deadline_ns = 0
        elif has_edns:
            # It may not know EDNS, and minds it not: nothing to give up.
            self._silences = self._failures = 0
        elif self._plain_deadline_ns <= now_ns and not self.is_trusted(now_ns):
            self.is_sure = False
            self._failures += 1
            if self._failures >= _FAILURES:
                self._plain_deadline_ns = now_ns + PLAIN_FOR_S * _NS
                self._next_probe_ns = now_ns + PROBE_EVERY_S * _NS
                self._silences = self._failures = 0

    def was_silent(self, now_ns: int, *, has_edns: bool) -> None:
        """Learn that a query was not answered in time."""
        if not has_edns:
            return
        if self.is_sure:
            # Until now all that came had an OPT record, which was not noted each time.
            self.is_sure = False
            self._last_opt_ns = now_ns
        if not self.is_trusted(now_ns):
            self._silences += 1
