"""Cache entries on their way to the next owner of their names.

They are sent before a new slot table is published, or to a successor. Then a name that
gets another owner is in that owner's cache already: its hit ratio does not dip, and
upstreams see no burst. The work is cut into pieces between which the worker serves.
Entries carry monotonic seconds, which mean the same to all processes of a host.
"""

from __future__ import annotations

import struct
from collections import Counter as Sums
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Final

from dnsfront.dns.cache import Cache
from dnsfront.dns.entry import ODD_ZONE, VIEWS, Entry
from dnsfront.ipc.stats import Counter
from dnsfront.worker.process.clock import Clock
from dnsfront.worker.process.meter import Meter

#: Entries that were sent, and that are to be sent as far as that is known.
TransferStep = tuple[int, int]

#: Entries looked at between two rounds of the worker's loop: about a millisecond.
_CHUNK: Final = 500
#: Octets of entries in one message: some thirty, so that a whole batch of messages
#: keeps its reader from queries for a few milliseconds only.
_PARCEL_OCTETS: Final = 4096
#: The longest message that is ever sent, and that its reader has room for: a parcel
#: that is nearly full, and the longest entry, 65535 octets with a TTL in every eleven.
MAX_PARCEL_OCTETS: Final = 96 << 10

#: The octets of all entries, which follow.
_HEAD = struct.Struct("=I")
#: View, odd, counts of TTL offsets and of octets of key, body and errors; lifetime_s,
#: stamp, aged_at and expires_at; head and tail. Offsets, key, body and errors follow.
_ENTRY = struct.Struct("=BBHHHHIqqq8s4s")
_TTL_OCTETS: Final = 4


def transfer(
    entries: Sequence[Entry],
    *,
    owner: Callable[[bytes], int],
    own_id: int,
    now_s: int,
    send: Callable[[int, bytes], bool],
) -> Generator[TransferStep, None, int]:
    """Send each of *entries* to the *owner* of its qname, those asked for last first.

    Yields after each piece of work and whenever *send* has no room; returns how many
    entries were sent. Those made from zones are left out, since every worker has the
    zones. So are those that no message can hold, which the next owner fetches anew.
    """
    leaving: list[tuple[Entry, int]] = []
    for number, entry in enumerate(entries, 1):
        if entry.expires_at > now_s and not entry.odd & ODD_ZONE:
            worker_id = owner(entry.key[:-4])
            if worker_id not in (0, own_id):
                leaving.append((entry, worker_id))
        if number % _CHUNK == 0:
            yield 0, len(leaving)
    leaving.sort(key=lambda pair: pair[0].stamp, reverse=True)
    sent = 0
    for worker_id, parcel, count in _parcels(leaving):
        while not send(worker_id, parcel):
            yield sent, len(leaving)
        sent += count
        yield sent, len(leaving)
    return sent


def _parcels(leaving: Sequence[tuple[Entry, int]]) -> Iterator[tuple[int, bytes, int]]:
    """Yield worker_id, parcel, and number of entries in it, till all *leaving* are in.

    The entries for each worker keep their order.
    """
    parcels: dict[int, list[bytes]] = {}
    sizes: Sums[int] = Sums()
    for entry, worker_id in leaving:
        octets = _pack(entry)
        if octets is None:
            continue
        parcel = parcels.setdefault(worker_id, [])
        parcel.append(octets)
        sizes[worker_id] += len(octets)
        if sizes.get(worker_id, 0) >= _PARCEL_OCTETS:
            yield worker_id, _seal(parcel), len(parcel)
            parcel.clear()
            sizes[worker_id] = 0
    for worker_id, parcel in parcels.items():
        if parcel:
            yield worker_id, _seal(parcel), len(parcel)


def _seal(entries: list[bytes]) -> bytes:
    return _HEAD.pack(sum(map(len, entries))) + b"".join(entries)


def _pack(entry: Entry) -> bytes | None:
    """Return *entry* in octets, or None where they would not fit a message."""
    offsets = entry.ttl_offsets
    size = _ENTRY.size + 2 * len(offsets) + len(entry.key) + len(entry.body)
    size += len(entry.errors)
    if size > MAX_PARCEL_OCTETS - _PARCEL_OCTETS or len(entry.body) > 0xFFFF:
        return None
    return b"".join(
        (
            _ENTRY.pack(
                entry.view,
                entry.odd,
                len(offsets),
                len(entry.key),
                len(entry.body),
                len(entry.errors),
                entry.lifetime_s,
                entry.stamp,
                entry.aged_at,
                entry.expires_at,
                entry.head,
                entry.tail,
            ),
            struct.pack(f"={len(offsets)}H", *offsets),
            entry.key,
            entry.body,
            entry.errors,
        )
    )


class Recipient:
    """Keeps the entries of names that this worker is about to own."""

    def __init__(self, cache: Cache, clock: Clock, meter: Meter) -> None:
        self._cache = cache
        self._clock = clock
        self._meter = meter

    def adopt(self, parcel: bytes) -> None:
        """Take those entries of *parcel* into the cache that are of use there.

        Raises:
            ValueError: it is not whole; then nothing of it is kept.
            struct.error: likewise.
        """
        now_s = self._clock.now_s
        entries = unpack(parcel)
        self._meter.count(Counter.TRANSFER_UNDERSTOOD, len(entries))
        adopted = sum(self._cache.adopt(entry, now_s) for entry in entries)
        self._meter.count(Counter.CACHE_ADOPTED, adopted)


def unpack(parcel: bytes) -> list[Entry]:
    """Return the entries of a parcel that :func:`transfer` sent.

    Raises:
        ValueError: it is not whole; then nothing of it is of use.
        struct.error: likewise.
    """
    [size] = _HEAD.unpack_from(parcel)
    if size != len(parcel) - _HEAD.size:
        raise ValueError(f"got a parcel of {len(parcel)} octets that wants {size}")
    entries = []
    at = _HEAD.size
    while at < len(parcel):
        entry, at = _unpack_one(parcel, at)
        entries.append(entry)
    return entries


def _unpack_one(parcel: bytes, at: int) -> tuple[Entry, int]:
    """Return the entry at *at*, and where the next one begins."""
    (
        view,
        odd,
        offsets,
        key_octets,
        body_octets,
        errors_octets,
        lifetime_s,
        stamp,
        aged_at,
        expires_at,
        head,
        tail,
    ) = _ENTRY.unpack_from(parcel, at)
    at += _ENTRY.size
    key_at = at + 2 * offsets
    body_at = key_at + key_octets
    errors_at = body_at + body_octets
    end = errors_at + errors_octets
    entry = Entry(view, parcel[key_at:body_at], tail)
    entry.ttl_offsets = struct.unpack_from(f"={offsets}H", parcel, at)
    last = max(entry.ttl_offsets, default=-_TTL_OCTETS)
    if end > len(parcel) or view >= VIEWS or last + _TTL_OCTETS > body_octets:
        raise ValueError("got a parcel with an entry that is not whole")
    entry.body = parcel[body_at:errors_at]
    entry.errors = parcel[errors_at:end]
    entry.head = head
    entry.odd = odd
    entry.lifetime_s = lifetime_s
    entry.stamp = stamp
    entry.aged_at = aged_at
    entry.expires_at = expires_at
    return entry, end
