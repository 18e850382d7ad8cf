"""Which entries of a cache are to go: those of a name, of a zone, or outdated by zones.

Each function returns a test for :meth:`dnsfront.dns.cache.Cache.flushing`.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet

from dnsfront.dns import wire
from dnsfront.dns.chain import follow, may_lead_on
from dnsfront.dns.entry import ODD_RULED, ODD_ZONE, Entry
from dnsfront.dns.names import ancestors, is_under

#: Whether an entry is to go.
Test = Callable[[Entry], bool]


def everything(_entry: Entry) -> bool:
    """Take every entry."""
    return True


def named(qname: bytes) -> Test:
    """Take the entries of *qname*, in lower-case wire form."""
    return lambda entry: entry.key[:-4] == qname


def at_or_below(origin: bytes) -> Test:
    """Take the entries of *origin*, in lower-case wire form, and of all names below."""
    return lambda entry: is_under(entry.key[:-4], origin)


def led_to(is_wanted: Callable[[bytes], bool]) -> Test:
    """Take the entries of questions that *is_wanted* takes, and what leads there.

    A question has the name, type and class; aliases make others of it.
    """

    def is_led_to(entry: Entry) -> bool:
        if is_wanted(entry.canonical):
            return True
        if not may_lead_on(entry.body):
            return False
        chain = follow(entry.to_message(), wire.HEADER_OCTETS + len(entry.key))
        return any(is_wanted(name + entry.tail) for name in chain.names[1:])

    return is_led_to


def ruled(
    was_ruled: Callable[[bytes], bool], is_ruled: Callable[[bytes], bool]
) -> Test:
    """Take what rules made, and what leads to a question that they had or have."""
    is_touched = led_to(lambda canonical: was_ruled(canonical) or is_ruled(canonical))
    return lambda entry: bool(entry.odd & ODD_RULED) or is_touched(entry)


def outdated(
    origins: AbstractSet[bytes], is_local: Callable[[int, bytes], bool] | None
) -> Test:
    """Take what zones at *origins*, those of now and those before, have a say in.

    That is what was made from a zone, what one answers now, as *is_local* says of view
    and question, and what has aliases of names in one, or that lead to such a name.
    """

    def is_outdated(entry: Entry) -> bool:
        if entry.odd & ODD_ZONE or (
            is_local is not None and is_local(entry.view, entry.canonical)
        ):
            return True
        if not origins or not may_lead_on(entry.body):
            return False
        chain = follow(entry.to_message(), wire.HEADER_OCTETS + len(entry.key))
        return any(not origins.isdisjoint(ancestors(name)) for name in chain.names)

    return is_outdated
