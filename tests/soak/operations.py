"""What a run does to the server: an operation, and which faults it excuses.

An operation holds all that was drawn for it, so that a list of them can be written down
and done again, whole or in parts: each must do something sensible in any state, nothing
if there is nothing to do.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

if TYPE_CHECKING:
    from tests.soak.world import World

WAYS: Final = ("save", "hangup", "command")
#: How often an operation comes up beside others.
OFTEN: Final = 20
SOMETIMES: Final = 10
RARELY: Final = 4

#: A `limits.pending` so low that random names of one client take all it may have.
FEW_PENDING: Final = 200


@dataclass(frozen=True)
class Operation:
    """One operation; it returns when what it did is in force.

    Faults of the kinds in *excuses* are excused while it lasts and *after_s* more, also
    for questions asked up to *before_s* earlier.
    """

    excuses: ClassVar[tuple[str, ...]] = ()
    before_s: ClassVar[float] = 0.0
    after_s: ClassVar[float] = 0.0
    share: ClassVar[int] = SOMETIMES
    kinds: ClassVar[dict[str, type[Operation]]] = {}

    def __init_subclass__(cls) -> None:
        Operation.kinds[cls.__name__] = cls

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        """Return one with everything that can be drawn."""
        raise NotImplementedError

    def apply(self, world: World) -> None:
        """Do it.

        Raises:
            BrokenError: what must be true after it is not.
        """
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Return what :func:`from_json` takes."""
        return {"op": type(self).__name__, **asdict(self)}


def from_json(fields: dict[str, Any]) -> Operation:
    """Return the operation that :meth:`Operation.to_json` wrote."""
    fields = dict(fields)
    return Operation.kinds[fields.pop("op")](**fields)


class Drawing:
    """Operations without end, the same ones for the same *seed*.

    Every so often one of *every* comes in between.
    """

    def __init__(self, seed: int, *, every: type[Operation], after: int) -> None:
        self._rng = random.Random(seed)
        self._every, self._after = every, after
        self._count = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Operation:
        self._count += 1
        if self._count % self._after == 0:
            return self._every.draw(self._rng)
        kinds: Sequence[type[Operation]] = [
            kind for kind in Operation.kinds.values() if kind is not self._every
        ]
        [kind] = self._rng.choices(kinds, [kind.share for kind in kinds])
        return kind.draw(self._rng)
