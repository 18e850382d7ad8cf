"""The slot table: the owner of every slot and who follows it, as the kernel reads it.

Pure, like the placement it is built from: a table depends on the workers, the method
and the seed, never on the tables before it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from math import lcm
from typing import TYPE_CHECKING, Any

from dnsfront.errors import RingError
from dnsfront.ring import placement
from dnsfront.ring.placement import PREFERENCES, Member

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MAX_WORKERS = 64
MAX_SLOTS = 1 << 20
MAX_POINTS = 1 << 22
"""Points on the circle, over all workers: what is sorted in seconds, not minutes."""

MAX_WORKER_ID = 127  # as in kern/maps.h: the live bitmap has two words


@dataclass(frozen=True)
class SlotTable:
    """Every slot's preference list, four octets a slot.

    An octet is the number, from 1, of a worker in *workers*, which is sorted by name;
    best first, 0 ends the list.
    """

    method: str
    slots: int
    workers: tuple[Member, ...]
    preferences: bytes = field(repr=False)

    def owner(self, slot: int) -> str:
        """Return the name of the worker that *slot* belongs to."""
        return self.workers[self.preferences[PREFERENCES * slot] - 1].name

    def preference(self, slot: int) -> tuple[str, ...]:
        """Return the names of the workers of *slot*, its owner first."""
        numbers = self.preferences[PREFERENCES * slot : PREFERENCES * (slot + 1)]
        return tuple(self.workers[number - 1].name for number in numbers if number)

    def slots_of(self) -> dict[str, int]:
        """Return how many slots each worker owns, by name; standby workers too."""
        owners = self.owners()
        return {
            worker.name: owners.count(number)
            for number, worker in enumerate(self.workers, 1)
        }

    def owners(self) -> bytes:
        """Return the owner of every slot, an octet each, numbered like *workers*."""
        return self.preferences[::PREFERENCES]

    @property
    def max_over_mean(self) -> float:
        """The largest share, in units of what its worker's weight entitles it to.

        Standby workers count only where there are no others.
        """
        sharing = [worker for worker in self.workers if not worker.standby]
        sharing = sharing or list(self.workers)
        weights = sum(worker.weight for worker in sharing)
        owned = self.slots_of()
        return max(
            owned[worker.name] * weights / (worker.weight * self.slots)
            for worker in sharing
        )

    def summary(self, order: Iterable[Member]) -> dict[str, Any]:
        """Return the shares as `dnsfront ring --json` and `/ring.json` show them.

        Workers stand in the *order* of the config; those that the table lacks are left
        out.
        """
        owned = self.slots_of()
        return {
            "method": self.method,
            "slots": self.slots,
            "max_over_mean": self.max_over_mean,
            "workers": [
                {
                    "name": worker.name,
                    "weight": worker.weight,
                    "standby": worker.standby,
                    "slots": owned[worker.name],
                    "share": owned[worker.name] / self.slots,
                }
                for worker in order
                if worker.name in owned
            ],
        }

    def with_worker_ids(self, ids: Mapping[str, int]) -> bytes:
        """Return the preference lists in worker ids, as the kernel's table wants them.

        Raises:
            RingError: a worker has no id in *ids*, or one outside 1 to 127.
        """
        numbered = bytearray(256)
        for number, worker in enumerate(self.workers, 1):
            worker_id = ids.get(worker.name, 0)
            if not 1 <= worker_id <= MAX_WORKER_ID:
                raise RingError(
                    f"worker {worker.name} has worker_id {worker_id},"
                    f" want 1 to {MAX_WORKER_ID}"
                )
            numbered[number] = worker_id
        return self.preferences.translate(numbered)


def build(
    workers: Sequence[Member],
    *,
    method: str = "ring",
    slots: int = 65536,
    vnodes: int = 1024,
    seed: str = "",
    places: int = 12,
) -> SlotTable:
    """Return the slot table of *workers*, in whatever order they are listed.

    *vnodes* matters to method ring alone, *places* to method exact alone, which may
    use fewer slots than *slots*. A ring of standby workers only is served by them.

    Raises:
        RingError: no table can be made of this; the text is one sentence.
    """
    ordered = tuple(sorted(workers, key=lambda worker: worker.name))
    _check_workers(ordered)
    if not 1 <= slots <= MAX_SLOTS:
        raise RingError(f"got {slots} slots, want 1 to {MAX_SLOTS}")
    if method == "ring":
        _check_points(ordered, vnodes)
        preferences = placement.ring(ordered, slots=slots, vnodes=vnodes, seed=seed)
    elif method == "exact":
        preferences = placement.exact(ordered, slots=slots, places=places, seed=seed)
    else:
        raise RingError(f'got method "{method}", want ring or exact')
    return SlotTable(method, len(preferences) // PREFERENCES, ordered, preferences)


def _check_workers(ordered: Sequence[Member]) -> None:
    if not ordered:
        raise RingError("the ring has no workers, want 1 or more")
    if len(ordered) > MAX_WORKERS:
        raise RingError(f"got {len(ordered)} workers, want {MAX_WORKERS} or fewer")
    for worker, other in pairwise(ordered):
        if worker.name == other.name:
            raise RingError(f"two workers are called {worker.name}")
    for worker in ordered:
        if worker.weight < 1:
            raise RingError(
                f"worker {worker.name} has weight {worker.weight}, want 1 or more"
            )


def _check_points(ordered: Sequence[Member], vnodes: int) -> None:
    if vnodes < 1:
        raise RingError(f"got {vnodes} vnodes, want 1 or more")
    points = vnodes * sum(worker.weight for worker in ordered)
    if points > MAX_POINTS:
        raise RingError(
            f"got {points} points (vnodes times all weights), want {MAX_POINTS} or"
            " fewer"
        )


@dataclass(frozen=True)
class WorkerMoves:
    """What one worker owns before and after, and what comes and goes, in slots."""

    name: str
    before: int
    after: int
    gained: int
    lost: int


@dataclass(frozen=True)
class Moves:
    """What changing one table into another moves.

    *least_possible* is what any placement must move to bring each worker from its
    slots before to its slots after: the sum of what the growing ones grow by. It never
    exceeds *slots_moved*, and equals it for a plain removal or addition.
    """

    slots_moved: int
    percent: float
    least_possible: int
    workers: tuple[WorkerMoves, ...]


def moves(before: SlotTable, after: SlotTable) -> Moves:
    """Return what publishing *after* in place of *before* moves, and between whom.

    Everything is counted in slots of *after*. Where the two tables differ in their
    number of slots, the hash space is compared exactly, on the grid of both, and each
    figure is rounded to whole slots; *percent* is not rounded.
    """
    flows, size = _flows(before, after)
    moved = sum(count for (old, new), count in flows.items() if old != new)
    names = sorted({worker.name for worker in before.workers + after.workers})
    owned = dict.fromkeys(names, 0)
    owns = dict.fromkeys(names, 0)
    kept = dict.fromkeys(names, 0)
    for (old, new), count in flows.items():
        owned[old] += count
        owns[new] += count
        if old == new:
            kept[old] += count
    grown = sum(max(0, owns[name] - owned[name]) for name in names)

    def in_slots(count: int) -> int:
        return round(count * after.slots / size)

    return Moves(
        slots_moved=in_slots(moved),
        percent=100 * moved / size,
        least_possible=in_slots(grown),
        workers=tuple(
            WorkerMoves(
                name=name,
                before=in_slots(owned[name]),
                after=in_slots(owns[name]),
                gained=in_slots(owns[name] - kept[name]),
                lost=in_slots(owned[name] - kept[name]),
            )
            for name in names
        ),
    )


def _flows(
    before: SlotTable, after: SlotTable
) -> tuple[dict[tuple[str, str], int], int]:
    """Return how much goes from which owner to which, and the size of the whole."""
    old, new = before.owners(), after.owners()
    size = lcm(before.slots, after.slots)
    flows: Counter[tuple[int, int]] = Counter()
    if before.slots == after.slots:
        flows.update(zip(old, new, strict=True))
    else:
        old_width, new_width = size // before.slots, size // after.slots
        at = 0
        while at < size:
            old_slot, new_slot = at // old_width, at // new_width
            end = min((old_slot + 1) * old_width, (new_slot + 1) * new_width)
            flows[old[old_slot], new[new_slot]] += end - at
            at = end
    named = {
        (before.workers[giver - 1].name, after.workers[taker - 1].name): count
        for (giver, taker), count in flows.items()
    }
    return named, size
