"""Answers that very many clients wait for: some of the clients are told in each round.

Ten thousand queries may wait for one answer of 64 KiB. To write it ten thousand times
in one go takes a third of a second, in which nobody else is served, and 640 MB.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from dnsfront.worker.clients.waiter import Waiter

#: So many waiters are told in one go; only more than that are a crowd.
AT_ONCE: Final = 8
#: Answers that all crowds are told in a round; a large answer counts for several.
ANSWERS_A_ROUND: Final = 128
#: Each of so many octets in an answer counts for one answer more.
_OCTETS_AN_ANSWER: Final = 4096
#: Octets that the answers of all crowds may hold together.
MAX_HELD_OCTETS: Final = 1 << 22

#: Tells some of those who wait.
Tell = Callable[[list[Waiter]], None]


class Crowd:
    """Those who are still to be told one answer of so many *octets*."""

    __slots__ = ("octets", "tell", "waiters")

    def __init__(self, waiters: list[Waiter], tell: Tell, octets: int) -> None:
        self.waiters = deque(waiters)
        self.tell = tell
        self.octets = octets


class Crowds:
    """All clients whose answer is there, and who are still to be told it.

    `waiting` is how many they are, `octets` what their answers hold.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self.octets = 0
        self._crowds: deque[Crowd] = deque()

    def has_room(self, octets: int) -> bool:
        """Return whether an answer of so many *octets* may be kept for a crowd."""
        return self.octets + octets <= MAX_HELD_OCTETS

    def add(self, waiters: list[Waiter], tell: Tell, octets: int) -> None:
        """Have *tell* called for all *waiters*, some at a time."""
        self.waiting += len(waiters)
        self.octets += octets
        self._crowds.append(Crowd(waiters, tell, octets))

    def go_on(self, lose: Tell) -> None:
        """Tell as many as one round allows; *lose* gets those whom a fault met.

        Crowds take turns, so that a small one need not wait for a large one.
        """
        left = ANSWERS_A_ROUND
        while left > 0 and self._crowds:
            crowd = self._crowds.popleft()
            waiters = crowd.waiters
            cost = 1 + crowd.octets // _OCTETS_AN_ANSWER
            count = min(AT_ONCE, len(waiters), max(1, left // cost))
            piece = [waiters.popleft() for _ in range(count)]
            self.waiting -= count
            if waiters:
                self._crowds.append(crowd)
            else:
                self.octets -= crowd.octets
            # A piece of which all clients are gone still costs something.
            piece = [waiter for waiter in piece if waiter.is_wanted()]
            left -= max(1, len(piece) * cost)
            if not piece:
                continue
            try:
                crowd.tell(piece)
            except Exception:  # noqa: BLE001 - the others are told
                lose(piece)
