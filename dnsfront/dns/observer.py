"""Who wants to know what is in a cache, and is told as it happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dnsfront.dns.entry import Entry


def _ignore(_entry: Entry) -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class Observer:
    """What is called when an entry *came*, has another response (*changed*), or *went*.

    The entry that went still has its response. Neither the ageing of its TTLs nor
    another order of its addresses is a change, and an expired entry is in the cache
    until it goes: `expires_at` says how long it may be used. *asked_again* is called
    for an entry that may be sent and was hit in an earlier second too, at most once a
    second; :meth:`Cache.note_asked` is the way back, for hits elsewhere.
    """

    came: Callable[[Entry], None]
    changed: Callable[[Entry], None]
    went: Callable[[Entry], None]
    asked_again: Callable[[Entry], None] = _ignore
