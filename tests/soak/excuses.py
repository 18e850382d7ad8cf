"""What operations excuse, for a time: pure book-keeping, and who is an upstream of use.

An excuse covers a fault if the two overlap in time, from when the question was asked to
when the fault was seen.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from tests.soak.model import FAILED, STALE, Fault, Question

_FOREVER: Final = float("inf")
#: After an upstream is back: its health is noticed (2 s), failures are remembered (5 s,
#: RFC 9520), and the machine has other things to do.
RECOVERY_S: Final = 9.0


@dataclass
class Excuse:
    """Faults of some *kinds*, up to *most* of them, are nobody's fault for a while."""

    kinds: frozenset[str]
    why: str
    since_s: float
    until_s: float = _FOREVER
    most: int = 1 << 30
    used: int = 0

    def covers(self, kind: str, sent_s: float, seen_s: float) -> bool:
        """Count and tell a fault that this excuses."""
        is_covered = (
            kind in self.kinds
            and sent_s <= self.until_s
            and seen_s >= self.since_s
            and self.used < self.most
        )
        self.used += is_covered
        return is_covered


class Usable:
    """Since when, and until when, each upstream is configured, there and good."""

    def __init__(self, names: Collection[str]) -> None:
        self._spans: dict[str, list[tuple[float, float]]] = {x: [] for x in names}
        self._configured: set[str] = set()

    def note(
        self, configured: Collection[str], good: Collection[str], now_s: float
    ) -> None:
        """Note who is configured now, and who is good."""
        self._configured = set(configured)
        for name, spans in self._spans.items():
            is_open = bool(spans) and spans[-1][1] == _FOREVER
            is_usable = name in configured and name in good
            if is_usable and not is_open:
                # At the start there is nothing to recover from.
                since_s = now_s + RECOVERY_S if now_s > 0 else -_FOREVER
                spans.append((since_s, _FOREVER))
            elif is_open and not is_usable:
                spans[-1] = (spans[-1][0], now_s)

    def covers(self, kind: str, sent_s: float, seen_s: float) -> bool:
        """Tell whether the upstreams were such that *kind* is no wonder."""
        of_use = {
            name
            for name, spans in self._spans.items()
            if any(since <= sent_s and until >= seen_s for since, until in spans)
        }
        if kind == FAILED:
            return not of_use
        return kind == STALE and not self._configured <= of_use


@dataclass
class Ledger:
    """All faults seen, and what became of each."""

    usable: Usable
    excuses: list[Excuse] = field(default_factory=list)
    excused: dict[str, int] = field(default_factory=dict)
    open: list[tuple[str, str]] = field(default_factory=list)

    def enter(
        self, question: Question, fault: Fault, seen_s: float, *, is_upstreams: bool
    ) -> None:
        """Take note of a fault; *is_upstreams* tells that upstreams may be asked."""
        sent_s = question.sent_s
        if is_upstreams and self.usable.covers(fault.kind, sent_s, seen_s):
            why = "upstreams"
        else:
            excuse = next(
                (x for x in self.excuses if x.covers(fault.kind, sent_s, seen_s)), None
            )
            if excuse is None:
                text = f"{fault.text} (asked at {sent_s:.2f}, seen at {seen_s:.2f})"
                self.open.append((fault.kind, text))
                return
            why = excuse.why
        key = f"{fault.kind}: {why}"
        self.excused[key] = self.excused.get(key, 0) + 1
