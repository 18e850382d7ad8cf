"""When a worker that died is started again. Pure: told the time, it never reads it."""

from __future__ import annotations

from collections import deque
from typing import Final

_FIRST_DELAY_S: Final = 0.1
_LONGEST_DELAY_S: Final = 5.0
#: After so long a life, a death says nothing about the next start.
_HEALTHY_LIFE_S: Final = 30.0
_LEAVE_OUT_DEATHS: Final = 5
_LEAVE_OUT_SPAN_S: Final = 60.0
LEFT_OUT_S: Final = 60.0


class RespawnPolicy:
    """The back-off of one worker: at once, then slower and slower, then once a minute.

    *is_left_out* tells that it died too often to count on it.
    """

    def __init__(self) -> None:
        self.is_left_out = False
        self._died_at: deque[float] = deque(maxlen=_LEAVE_OUT_DEATHS)
        self._deaths_in_a_row = 0

    def delay_after_death(self, *, now: float, lived_s: float) -> float:
        """Note a death at *now* and return the seconds until the next start."""
        if lived_s >= _HEALTHY_LIFE_S:
            self._died_at.clear()
            self._deaths_in_a_row = 0
            self.is_left_out = False
        self._died_at.append(now)
        self._deaths_in_a_row += 1
        if self.is_left_out or self._died_too_often(now):
            self.is_left_out = True
            return LEFT_OUT_S
        if self._deaths_in_a_row == 1:
            return 0.0
        # 2.0 ** 60 is far beyond the longest delay and still a float.
        doublings = min(self._deaths_in_a_row - 2, 60)
        return float(min(_FIRST_DELAY_S * 2.0**doublings, _LONGEST_DELAY_S))

    def _died_too_often(self, now: float) -> bool:
        return (
            len(self._died_at) == _LEAVE_OUT_DEATHS
            and now - self._died_at[0] <= _LEAVE_OUT_SPAN_S
        )
