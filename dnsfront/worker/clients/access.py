"""Which clients are allowed (RFC 5358: a resolver for everybody is a weapon)."""

from __future__ import annotations

import socket
from bisect import bisect_right
from collections.abc import Iterable, Sequence


class AccessList:
    """Which client addresses are allowed, by the networks of the config.

    Each look costs a binary search, whatever the answer: of a million networks, twenty
    comparisons.
    """

    def __init__(self, networks: Sequence[str]) -> None:
        self.replace(networks)

    def replace(self, networks: Sequence[str]) -> None:
        """Allow the clients of these networks from now on, and nobody else.

        Each has its prefix behind a slash, and no bits behind that.
        """
        self._first4, self._last4 = _ranges(x for x in networks if ":" not in x)
        self._first6, self._last6 = _ranges(x for x in networks if ":" in x)

    def allows(self, packed: bytes) -> bool:
        """Return whether the client at *packed*, 4 or 16 octets, is allowed."""
        is_short = len(packed) == 4
        first = self._first4 if is_short else self._first6
        last = self._last4 if is_short else self._last6
        at = bisect_right(first, packed) - 1
        return at >= 0 and packed <= last[at]


def _ranges(networks: Iterable[str]) -> tuple[list[bytes], list[bytes]]:
    """Return the first and the last address of each range that *networks* cover.

    The ranges are sorted and do not overlap, so the one that may hold an address is the
    last that does not begin after it.
    """
    pairs = sorted(map(_range, networks))
    first: list[bytes] = []
    last: list[bytes] = []
    for low, high in pairs:
        if last and low <= last[-1]:
            # One network holds the other, or they are equal: prefixes do not cross.
            last[-1] = max(last[-1], high)
            continue
        first.append(low)
        last.append(high)
    return first, last


def _range(network: str) -> tuple[bytes, bytes]:
    address, _, prefix = network.partition("/")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    low = socket.inet_pton(family, address)
    host_bits = 8 * len(low) - int(prefix)
    high = int.from_bytes(low, "big") | ((1 << host_bits) - 1)
    return low, high.to_bytes(len(low), "big")
