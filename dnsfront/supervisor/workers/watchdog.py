"""Which workers hang: alive, but taking nothing while their queues fill, or silent.

Pure: told the time and the signs of life, it reads neither a clock nor a page.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

#: How long a worker may take nothing while more and more waits for it.
HUNG_AFTER_S: Final = 1.0
#: How long a worker may leave a ping unanswered that others answered.
SILENT_AFTER_S: Final = 3.0
#: The same where nobody answers: the whole machine may stand still.
ALL_SILENT_AFTER_S: Final = 10.0

_Who = TypeVar("_Who", bound=Hashable)


@dataclass(frozen=True)
class Vitals:
    """The signs of life of one process; *taken* and *backlog* are datagrams.

    *should_take* says whether nothing but a fault keeps it from taking datagrams.
    *answers* counts its answers to pings; *is_answer_due* says that one is missing.
    """

    pid: int
    taken: int
    backlog: int
    should_take: bool
    is_answer_due: bool
    answers: int


@dataclass(frozen=True)
class _Seen:
    """When something was last in order, and what the signs were then.

    *answers* are those of the last time that none was missing; *last* are the signs at
    the last look, whatever they were.
    """

    vitals: Vitals
    took_at: float
    answers: int
    answered_at: float
    last: Vitals
    is_calm: bool = False


class Watchdog:
    """Remembers of each worker since when more waits than it takes, or it is silent.

    `is_calm` says that nothing came to any since the look before, and nobody is late:
    then nobody can be found to hang at a look that comes soon.
    """

    def __init__(self) -> None:
        self._seen: dict[Hashable, _Seen] = {}
        self.is_calm = False

    def hung(self, vitals: Mapping[_Who, Vitals], now: float) -> list[_Who]:
        """Return who has hung for too long; *now* is monotonic seconds.

        A process that is new here, or missing once, gets its whole time again.
        """
        self._seen = {who: self._look(who, signs, now) for who, signs in vitals.items()}
        self.is_calm = all(seen.is_calm for seen in self._seen.values())
        return [who for who in vitals if self._is_hung(who, now)]

    def _look(self, who: Hashable, signs: Vitals, now: float) -> _Seen:
        seen = self._seen.get(who)
        if seen is None or seen.vitals.pid != signs.pid:
            return _Seen(signs, now, signs.answers, now, signs)
        # Looked at often, so without dataclasses.replace(), which costs the most here.
        before, took_at = seen.vitals, seen.took_at
        answers, answered_at = seen.answers, seen.answered_at
        # A backlog that does not grow says nothing: a process that died may have left
        # it.
        if (
            not signs.should_take
            or signs.taken != before.taken
            or signs.backlog <= before.backlog
        ):
            before, took_at = signs, now
        if not signs.is_answer_due or signs.answers != answers:
            answers, answered_at = signs.answers, now
        is_calm = _is_calm(seen.last, signs)
        return _Seen(before, took_at, answers, answered_at, signs, is_calm)

    def _is_hung(self, who: Hashable, now: float) -> bool:
        seen = self._seen[who]
        if now - seen.took_at >= HUNG_AFTER_S:
            return True
        silent_s = now - seen.answered_at
        if silent_s < SILENT_AFTER_S:
            return False
        return silent_s >= ALL_SILENT_AFTER_S or any(
            other.answered_at > seen.answered_at + SILENT_AFTER_S / 2
            for other in self._seen.values()
        )


def _is_calm(before: Vitals, signs: Vitals) -> bool:
    is_late = before.is_answer_due and signs.answers == before.answers
    return signs.taken == before.taken and not signs.backlog and not is_late
