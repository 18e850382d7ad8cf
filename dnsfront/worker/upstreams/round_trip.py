"""How long one server takes to respond, and so when a query to it is repeated.

Pure: no socket, no clock; times are monotonic nanoseconds.
"""

from __future__ import annotations

from typing import Final

#: No repetition sooner: an upstream that has to ask others takes its time, and its
#: answers to what it has in its cache say little about that.
LEAST_NS: Final = 200_000_000
#: Before anything was measured.
_FIRST_NS: Final = 300_000_000
#: How much of a new duration goes into what is expected of a server.
_SHARE: Final = 8
#: Bounds of the time after which an answer is late, and how far it moves with each
#: answer: up by this share of it and down by a twentieth of that, so that one in twenty
#: comes later.
_LATE_LEAST_NS: Final = 5_000_000
_LATE_SHARE: Final = 20
_LATE_IN: Final = 19
#: After so many responses in a row that may belong to either of two queries, the way
#: has become longer: otherwise nothing would ever be measured again.
_AMBIGUOUS: Final = 3


class RoundTrip:
    """How long one server takes, and so when to ask it again (RFC 6298 in kind).

    `repeat_ns` is the time from a query to its repetition. It fits twice into the
    time-out, *most_ns*, unless the server's responses take longer than that: a client
    must not wait long for the second repetition because the first was lost too.

    `expected_ns` is what a question takes there, failures included; the time-out before
    anything was measured. `late_ns` is what one answer in twenty takes longer than.
    """

    __slots__ = (
        "_ambiguous",
        "_least_ns",
        "_most_ns",
        "_smoothed_ns",
        "_variation_ns",
        "expected_ns",
        "late_ns",
        "repeat_ns",
    )

    def __init__(self, most_ns: int) -> None:
        self._most_ns = most_ns
        self._least_ns = min(LEAST_NS, most_ns)
        self._smoothed_ns = 0
        self._variation_ns = 0
        self._ambiguous = 0
        self.expected_ns = most_ns
        self.late_ns = most_ns // 4
        self.repeat_ns = min(_FIRST_NS, max(most_ns // 2, self._least_ns))

    def took(self, duration_ns: int, *, is_repeated: bool) -> None:
        """Learn from a response, which came *duration_ns* after the first query.

        *is_repeated* tells that there was more than one, so that it may belong to
        another (Karn's rule).
        """
        self._expect(duration_ns)
        if is_repeated and self._smoothed_ns:
            self._ambiguous += 1
            if self._ambiguous < _AMBIGUOUS:
                return
        self._ambiguous = 0
        if self._smoothed_ns:
            off_ns = abs(self._smoothed_ns - duration_ns)
            self._variation_ns += (off_ns - self._variation_ns) // 4
            self._smoothed_ns += (duration_ns - self._smoothed_ns) // 8
        else:
            self._smoothed_ns = max(1, duration_ns)
            self._variation_ns = duration_ns // 2
        wanted_ns = self._smoothed_ns + 4 * self._variation_ns
        bound_ns = max(self._most_ns // 2, self._smoothed_ns + self._smoothed_ns // 4)
        wanted_ns = max(min(wanted_ns, bound_ns), self._least_ns)
        self.repeat_ns = min(wanted_ns, self._most_ns)

    def was_late(self, is_late: bool) -> None:  # noqa: FBT001 - there is nothing else
        """Learn whether an answer took longer than `late_ns`."""
        step_ns = max(_LATE_LEAST_NS, self.late_ns) // _LATE_SHARE
        late_ns = self.late_ns + (step_ns if is_late else -(step_ns // _LATE_IN))
        self.late_ns = max(_LATE_LEAST_NS, min(late_ns, self._most_ns // 2))

    def missed(self) -> None:
        """Learn that a question was asked there in vain."""
        self._expect(self._most_ns)

    def _expect(self, duration_ns: int) -> None:
        if self._smoothed_ns:
            self.expected_ns += (duration_ns - self.expected_ns) // _SHARE
        else:
            self.expected_ns = duration_ns

    def interval_ns(self, repeats: int) -> int:
        """Return how long to wait after so many repetitions: each time twice as long.

        But no longer than half a time-out, if the first wait was not.
        """
        return min(self.repeat_ns << repeats, max(self.repeat_ns, self._most_ns // 2))
