"""Where workers stand: for every slot, which worker comes first, second and so on.

Pure: no socket, no clock, no randomness. Equal workers and an equal seed give equal
octets on every host, so two supervisors can never disagree.

Both methods give each slot a fixed order of all workers there could ever be, and keep
of it the workers there are. That is why a worker that leaves moves its own slots and
no other: everywhere else, the first of the order is still there.

Workers come in sorted by name and are numbered from 1; a slot's preference list is
four such numbers in four octets, best first, and 0 ends it.
"""

from __future__ import annotations

import hashlib
import re
import sys
from array import array
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, cycle
from math import comb, lcm
from typing import TYPE_CHECKING

from dnsfront.errors import RingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PREFERENCES = 4
"""Workers in a slot's preference list: what the kernel reads with one load."""

MAX_PLACES = 16
"""The most places of the exact method: beyond, shares would not be nearly equal."""

_ALWAYS_EXACT_PLACES = 12
_LEAST_EXACT_LEVELS = 3


@dataclass(frozen=True)
class Member:
    """A member of the ring: a worker, or an upstream server, as placement sees it.

    A standby member comes after all others in every preference list, and so owns
    slots only where no other member is. *place* matters to the exact method alone;
    without one, it is the number that the name ends in.
    """

    name: str
    weight: int = 1
    standby: bool = False
    place: int | None = None


def ring(members: Sequence[Member], *, slots: int, vnodes: int, seed: str) -> bytes:
    """Return the preference lists of a consistent-hash ring.

    Each member has *vnodes* points per unit of weight on a circle, hashed from its
    name. A slot belongs to the next point clockwise, and its list goes on clockwise
    over distinct members; standby members stand on a circle of their own.
    """
    columns: list[bytes] = []
    for is_standby in (False, True):
        points = bytearray()
        for number, member in enumerate(members, 1):
            if member.standby is is_standby:
                points += _points(member, number, vnodes, seed)
        if points and len(columns) < PREFERENCES:
            columns += _clockwise(_integers("Q", points), slots)
    return _interleave(columns)


def _points(member: Member, number: int, vnodes: int, seed: str) -> bytes:
    """Return the points of *member*, eight octets each, least significant first.

    The output of SHAKE is a prefix of any longer one, so more weight or more vnodes
    only add points. The lowest octet is the member's number: it names the owner, and
    breaks a tie by name.
    """
    count = vnodes * member.weight
    text = b"dnsfront-ring\0" + seed.encode() + b"\0" + member.name.encode()
    points = bytearray(hashlib.shake_128(text).digest(8 * count))
    points[0::8] = bytes((number,)) * count
    return bytes(points)


def _clockwise(points: array[int], slots: int) -> list[bytes]:
    """Return, for every slot, the number of the next member clockwise, the second, ...

    One walk against the clock: the list at a point is the list at the next point with
    the point's own member moved to the front. Cut to four, it stays exact.
    """
    ordered = sorted(points)
    nearest = _nearest(ordered)
    # The circle is closed: past the last point, the first points come next.
    first, second, third, fourth = (*nearest, 0, 0, 0)[:PREFERENCES]
    backwards = reversed(ordered)
    point = next(backwards)
    lists = []
    for slot in reversed(range(slots)):
        # Slots sit evenly, on the grid of the points' upper 56 bits, so that a
        # member's number never decides between a point and a slot.
        seat = (slot << 56) // slots << 8
        while point >= seat:
            member = point & 0xFF
            if member != first:
                if member == second:
                    second = first
                elif member == third:
                    third, second = second, first
                else:
                    fourth, third, second = third, second, first
                first = member
            point = next(backwards, -1)
        lists.append(first | second << 8 | third << 16 | fourth << 24)
    lists.reverse()
    octets = _octets(array("I", lists))
    return [octets[rank::PREFERENCES] for rank in range(len(nearest))]


def _nearest(ordered: Sequence[int]) -> list[int]:
    """Return the first distinct members from the top of the circle, at most four."""
    nearest: list[int] = []
    for point in ordered:
        member = point & 0xFF
        if member not in nearest:
            nearest.append(member)
            if len(nearest) == PREFERENCES:
                break
    return nearest


def exact(members: Sequence[Member], *, slots: int, places: int, seed: str) -> bytes:
    """Return the preference lists of the exact method, for `exact_slots` slots.

    Shares are equal for the members at hand, and would be for any of them alone.

    Raises:
        RingError: a member has no place, one outside *places* or one that is taken;
            or *slots* are too few.
    """
    slots = exact_slots(slots, places)
    taken = _places_taken(members, places)
    orders = _orders(places, slots, seed)
    columns: list[bytes] = []
    for is_standby in (False, True):
        numbers = {
            place: number
            for place, number in taken.items()
            if members[number - 1].standby is is_standby
        }
        if numbers:
            columns += _restricted(orders, numbers, places)
    return _interleave(columns)


def exact_slots(slots: int, places: int) -> int:
    """Return the slots that the exact method uses, the most that *slots* allows.

    Up to 12 places, a multiple of lcm(1..places), so that each level of `_orders`
    divides evenly and every set of live members has equal shares. Above, as many of
    the first levels as *slots* allows: equal shares while fewer places are vacant
    than levels are even, and within a hundredth otherwise.

    Raises:
        RingError: *places* is not 2 to 16, or *slots* are too few.
    """
    if not 2 <= places <= MAX_PLACES:
        raise RingError(f"got {places} places, want 2 to {MAX_PLACES}")
    # At level k, each set of k places is followed by each of the others equally often.
    evenly = (places * comb(places - 1, level) for level in range(places))
    units = list(accumulate(evenly, lcm))
    always = places <= _ALWAYS_EXACT_PLACES
    least = units[places - 1 if always else _LEAST_EXACT_LEVELS - 1]
    if slots < least:
        raise RingError(
            f"got {slots} slots, but method exact with {places} places needs {least}"
            " or more"
        )
    unit = max(unit for unit in units if unit <= slots)
    return slots // unit * unit


def _places_taken(members: Sequence[Member], places: int) -> dict[int, int]:
    """Return which member, by number, is in each place that is not vacant."""
    taken: dict[int, int] = {}
    for number, member in enumerate(members, 1):
        first = _first_place(member, places)
        last = first + member.weight - 1
        if first < 1 or last > places:
            found = f"place {first}" if first == last else f"places {first} to {last}"
            raise RingError(
                f"worker {member.name} would take {found}, want 1 to {places}"
            )
        for place in range(first, last + 1):
            if place in taken:
                other = members[taken[place] - 1].name
                raise RingError(
                    f"workers {other} and {member.name} both take place {place}"
                )
            taken[place] = number
    return taken


def _first_place(member: Member, places: int) -> int:
    if member.place is not None:
        return member.place
    ending = re.search(r"[0-9]+\Z", member.name)
    if ending is None:
        raise RingError(
            f"worker {member.name} has no place: give it one from 1 to {places},"
            " or a name that ends in it"
        )
    return int(ending[0])


@lru_cache(maxsize=2)  # a reload compares an old ring with a new one
def _orders(places: int, slots: int, seed: str) -> bytes:
    """Return an order of all places for every slot, *places* octets each, from 0.

    Slots start with nothing and take one place per level. The slots that have taken
    the same set of places are dealt, in shuffled order, to the places left, like
    cards. Where each deal comes out even, each place comes first among any set of
    live places equally often: an exactly min-wise independent family (Takei, Itoh,
    Shinozaki 2000).

    Nothing here depends on which places are vacant; half a second for 12 places.
    """
    orders = bytearray(places * slots)
    taken = [0] * slots
    for level in range(places):
        text = b"dnsfront-exact\0%d\0" % level + seed.encode()
        shuffle = _integers("I", hashlib.shake_128(text).digest(4 * slots))
        deals: dict[int, Iterator[int]] = {}
        for slot in sorted(range(slots), key=shuffle.__getitem__):
            members = taken[slot]
            deal = deals.get(members)
            if deal is None:
                left = [place for place in range(places) if not members >> place & 1]
                # A deal that does not come out even must favour no place.
                turn = shuffle[slot] % len(left)
                deal = deals[members] = cycle(left[turn:] + left[:turn])
            place = next(deal)
            orders[slot * places + level] = place
            taken[slot] = members | 1 << place
    return bytes(orders)


def _restricted(orders: bytes, numbers: Mapping[int, int], places: int) -> list[bytes]:
    """Return, for every slot, the first member among *numbers*, the second, ..."""
    members = bytearray(256)
    for place, number in numbers.items():
        members[place - 1] = number
    vacant = bytes(place for place in range(places) if not members[place])
    rows = orders.translate(members, vacant)
    width = len(numbers)
    distinct = len(set(numbers.values()))
    if distinct < width:  # a weight takes several places; the first of them counts
        rows = b"".join(
            bytes(dict.fromkeys(rows[at : at + width]))
            for at in range(0, len(rows), width)
        )
    return [rows[rank::distinct] for rank in range(min(distinct, PREFERENCES))]


def _interleave(columns: Sequence[bytes]) -> bytes:
    """Return the columns, best first, as preference lists; 0 fills what is missing."""
    lists = bytearray(PREFERENCES * len(columns[0]))
    for rank, column in enumerate(columns[:PREFERENCES]):
        lists[rank::PREFERENCES] = column
    return bytes(lists)


def _integers(typecode: str, octets: bytes | bytearray) -> array[int]:
    """Read little-endian integers, on any host."""
    integers: array[int] = array(typecode, bytes(octets))
    if sys.byteorder == "big":
        integers.byteswap()
    return integers


def _octets(integers: array[int]) -> bytes:
    """Write *integers* as little-endian octets, on any host; *integers* is used up."""
    if sys.byteorder == "big":
        integers.byteswap()
    return integers.tobytes()
