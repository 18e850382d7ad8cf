"""What to think of one upstream, from probes and from what the workers count.

Pure: no socket, no clock. An upstream that answers queries is up, whatever it thinks of
the probe. One that fails nearly all of them is passed over, whether it refuses or says
nothing, and whatever it answers to probes. An upstream that is down gets a trial now
and then: about one query a second, which another upstream answers if the trial fails.
One that goes up and down has to answer more probes each time. While no queries are
sent, what earlier ones showed fades, and then probes decide.
"""

from __future__ import annotations

import math
from typing import Final

from dnsfront.ipc.stats import HELD_OF, Health

#: Seconds between two looks at what was counted.
LOOK_EVERY_S: Final = 1.0
#: What was counted loses this share of its weight with each look.
_FADE: Final = 0.2
#: So many must have failed lately, and such a share of all, for a verdict by queries.
_BAD_FOR_DOWN: Final = 10.0
_BAD_SHARE: Final = 0.98
#: Failures that have faded to less than this say nothing any more. No more than the
#: second number is kept at a fall, so that fading takes some twenty seconds at most.
_FADED: Final = 1.0
_BAD_AT_MOST: Final = 100.0
#: For so long an answer counts against silent probes: until the next look and a half.
_GOOD_FOR_S: Final = 1.5 * LOOK_EVERY_S
#: Failures that end a trial, and the seconds until the first and the last trials.
_BAD_FOR_TRIAL: Final = 2
_FIRST_TRIAL_S: Final = 2.0
_LAST_TRIAL_S: Final = 64.0
#: One that falls again within so many seconds has to answer twice as many probes in a
#: row each time, up to so many doublings.
_FLAPPING_S: Final = 60.0
_MOST_DOUBLINGS: Final = 4


class Judgement:
    """The opinion of one upstream, presumed to be up.

    *rise* probes must be answered in a row for up, *fall* be missed for down. The first
    silence of one that never answered counts at once. `reason` is what made `health`
    what it is: probes or queries.
    """

    def __init__(self, *, rise: int, fall: int) -> None:
        self.health = Health.UP
        self.reason = "probes"
        self._rise = rise
        self._fall = fall
        self._answered = 0
        self._missed = fall - 1
        self._good = self._bad = 0.0
        self._good_until_s = self._now_s = 0.0
        self._trial_good = self._trial_bad = 0
        self._trial_at_s = 0.0
        self._pause_s = _FIRST_TRIAL_S
        self._falls = 0
        self._fell_at_s = 0.0
        self._rose_at_s: float | None = None

    def presume(self, *, is_up: bool) -> None:
        """Begin from what was thought of it so far."""
        self.health = Health.UP if is_up else Health.DOWN

    @property
    def is_heard(self) -> bool:
        """Whether it said anything lately, useful or not."""
        return self._answered > 0 or self._answers_queries

    @property
    def _answers_queries(self) -> bool:
        return self._now_s < self._good_until_s

    def probed(self, now_s: float, *, is_answered: bool) -> None:
        """Take note of a probe."""
        self._now_s = now_s
        if is_answered:
            self._answered += 1
            self._missed = 0
        else:
            self._answered = 0
            self._missed += 1
        if self.health == Health.UP:
            if self._missed >= self._fall and not self._answers_queries:
                self._fell(now_s, "probes")
        elif self._answered >= self._rise << self._doublings and (
            self.reason == "probes" or self._is_forgotten()
        ):
            self._rose("probes")

    @property
    def _doublings(self) -> int:
        return min(max(0, self._falls - 1), _MOST_DOUBLINGS)

    def held(self, slow_start_s: float) -> int:
        """Return how many of `HELD_OF` names others are still asked for.

        That is for so many seconds after it was down.
        """
        if self._rose_at_s is None or self.health != Health.UP:
            return 0
        left = 1 - (self._now_s - self._rose_at_s) / (slow_start_s or 1)
        if slow_start_s == 0 or left <= 0:
            self._rose_at_s = None
            return 0
        return min(HELD_OF - 1, math.ceil(left * (HELD_OF - 1)))

    def counted(self, now_s: float, good: int, bad: int) -> None:
        """Take note of queries answered well, and badly, since the last look."""
        self._now_s = now_s
        if good:
            self._good_until_s = now_s + _GOOD_FOR_S
        self._good = self._good * (1 - _FADE) + good
        self._bad = self._bad * (1 - _FADE) + bad
        if self.health == Health.UP:
            if self._bad >= _BAD_FOR_DOWN and self._is_bad():
                self._fell(now_s, "queries")
            elif good > bad:
                self._pause_s = _FIRST_TRIAL_S
        elif self.health == Health.TRIAL:
            self._trial_good += good
            self._trial_bad += bad
            if self._trial_good > self._trial_bad:
                self._rose("queries")
            elif self._trial_bad >= _BAD_FOR_TRIAL:
                self._fell(now_s, self.reason)
        elif good > bad and not self._is_bad():
            # All are down, so each is asked; this one answers.
            self._rose("queries")
        elif now_s >= self._trial_at_s:
            self.health = Health.TRIAL
            self._trial_good = self._trial_bad = 0

    def _is_forgotten(self) -> bool:
        """Return whether what queries came to has faded, and a trial adds nothing."""
        return (
            self.health == Health.TRIAL and self._bad < _FADED and not self._trial_bad
        )

    def _is_bad(self) -> bool:
        return self._bad > (self._good + self._bad) * _BAD_SHARE

    def _fell(self, now_s: float, reason: str) -> None:
        if self.health == Health.UP:
            is_again = self._falls and now_s - self._fell_at_s < _FLAPPING_S
            self._falls = self._falls + 1 if is_again else 1
            self._fell_at_s = now_s
        self.health, self.reason = Health.DOWN, reason
        excess = max(1.0, self._bad / _BAD_AT_MOST)
        self._good, self._bad = self._good / excess, self._bad / excess
        self._trial_at_s = now_s + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LAST_TRIAL_S)

    def _rose(self, reason: str) -> None:
        if reason == "queries" or self.reason == "probes":
            self._pause_s = _FIRST_TRIAL_S
        self.health, self.reason = Health.UP, reason
        self._rose_at_s = self._now_s
        self._bad = 0.0
