"""Where questions go, by the end of their names.

Pure: what a destination is, is for the caller to know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from dnsfront.dns import wire
from dnsfront.dns.names import ancestors

_DS_IN: Final = (43).to_bytes(2, "big") + wire.CLASS_IN.to_bytes(2, "big")


class Destinations:
    """What `forward` says: a destination for a name and all below it.

    The longest suffix wins; questions that none fits go to *default*. The DS records of
    a suffix are its parent's to say (RFC 4035, 3.1.4.1): without the parent's proof
    that there are none, answers of a split horizon would be bogus to who validates.
    Only where the parent's destination is one of *refusing*, which tell nothing, the
    suffix's own is asked.
    """

    def __init__(
        self,
        rules: Mapping[bytes, str],
        *,
        default: str,
        refusing: frozenset[str],
    ) -> None:
        self.rules = dict(rules)
        self._default = default
        self._refusing = refusing
        #: Names that suffixes are below: they exist, whatever is said of them.
        self.above = frozenset(
            name for suffix in rules for name in ancestors(suffix) if name != suffix
        )

    def suffix_of(self, canonical: bytes) -> bytes:
        """Return the longest suffix of the question *canonical*, empty without any."""
        end = len(canonical) - 4
        suffix = self._longest(canonical, 0, end)
        if len(suffix) == end > 1 and canonical.endswith(_DS_IN):
            if self.rules[suffix] in self._refusing:
                return suffix
            parent = self._longest(canonical, canonical[0] + 1, end)
            if self._of_suffix(parent) not in self._refusing:
                return parent
        return suffix

    def _longest(self, octets: bytes, at: int, end: int) -> bytes:
        """Return the longest suffix of the name in *octets* from *at* to *end*."""
        rules = self.rules
        while True:
            name = octets[at:end]
            if name in rules:
                return name
            if not octets[at]:
                return b""
            at += octets[at] + 1

    def _of_suffix(self, suffix: bytes) -> str:
        return self.rules[suffix] if suffix else self._default

    def of(self, canonical: bytes) -> str:
        """Return the destination of the question *canonical*."""
        return self._of_suffix(self.suffix_of(canonical))


def moved(
    before: Destinations | None, after: Destinations | None, default: str
) -> Callable[[bytes], bool]:
    """Return whether a question goes elsewhere *after* than *before*.

    Without destinations all go to *default*. A suffix that is new is taken for another
    destination even if it names the one of before: zones give way to it.
    """

    def is_moved(canonical: bytes) -> bool:
        was = now = (b"", default)
        if before is not None:
            was = (before.suffix_of(canonical), before.of(canonical))
        if after is not None:
            now = (after.suffix_of(canonical), after.of(canonical))
        return was != now

    return is_moved
