"""Names in a message, with their compression pointers.

A pointer is followed, and must lead backwards (RFC 1035, 4.1.4; RFC 9267, 2 tells what
happens to those who follow any).
"""

from __future__ import annotations

from typing import Final

from dnsfront.dns import wire
from dnsfront.dns.names import MAX_QNAME_OCTETS
from dnsfront.errors import TooManyRecordsError, WireError

#: Pointers of one name that every reader follows; dnspython goes no further.
_MAX_POINTERS: Final = 16
#: How long a name may be to be looked at without a memory of those before.
_SHORT_OCTETS: Final = 64


def short_end(octets: bytes, at: int, body_at: int) -> int:
    """Return where the name at *at* ends if it is good and short, else -1.

    Short is what nearly all names are: some labels, and maybe a pointer to others. The
    question's name, which ends four octets ahead of *body_at*, needs no second look,
    nor does the one above it. Of all that is not short, :class:`Names` has to tell what
    is wrong with it, or nothing.
    """
    start, size = at, len(octets)
    while at < size:
        label = octets[at]
        if label == 0:
            return at + 1 if at - start < _SHORT_OCTETS else -1
        if label > 63:
            break
        at += label + 1
    end = at + 2
    if end > size:
        return -1
    # Below zero where it is no pointer.
    target = (octets[at] << 8 | octets[at + 1]) - 0xC000
    if target == 12 or target == 13 + octets[12] < body_at - 4:
        length = at - start + body_at - 4 - target
        return end if length <= MAX_QNAME_OCTETS else -1
    if 12 <= target < start and _is_short(octets, target, start):
        return end if at - start < _SHORT_OCTETS else -1
    return -1


def _is_short(octets: bytes, at: int, limit: int) -> bool:
    """Return whether a good name begins at *at*, and ends ahead of *limit*.

    What a pointer leads to is ahead of where it is led from, and so is its end.
    """
    start = at
    is_last = False
    while at < limit:
        label = octets[at]
        if label == 0:
            return at - start < _SHORT_OCTETS
        if label < 64:
            at += label + 1
            continue
        if is_last or at + 2 > limit or at - start >= _SHORT_OCTETS:
            return False
        # The first pointer here is followed, too.
        is_last = True
        target = (label << 8 | octets[at + 1]) - 0xC000
        if not 12 <= target < start:
            return False
        limit, start, at = start, target, target
    return False


class Names:
    """The names in one message.

    What a pointer leads to is looked at once, so that all names of a message together
    cost no more than its octets, however they point at each other. After *most* looks
    there are no more.

    *is_odd* tells that there are names that readers refuse unless they are written in
    full, *is_compressed* that the name looked at last has a pointer.
    """

    __slots__ = ("_known", "_left", "_octets", "is_compressed", "is_odd")

    def __init__(self, octets: bytes, most: int = 1 << 20) -> None:
        self._octets = octets
        self._left = most
        self.is_compressed = False
        self.is_odd = False
        #: What is known to begin at an offset, in one number: octets in full, number of
        #: pointers, and where the first of them, or the root, ends.
        self._known: dict[int, int] = {}

    def end(self, at: int) -> int:  # noqa: C901, PLR0912 - a step is no function
        """Return where the name at *at* ends; a pointer ends it.

        Raises:
            WireError: it leaves the message, is over 255 octets, or a pointer of it
                leads to anything but a name ahead of it.
            TooManyRecordsError: there were too many looks.
        """
        self._left -= 1
        if self._left < 0:
            raise TooManyRecordsError("more names than are looked at one by one")
        octets, known = self._octets, self._known
        start, limit, end = at, len(octets), 0
        length = pointers = length_before = pointers_before = 0
        met: list[tuple[int, int, int, int]] = []
        while True:
            while at < limit and 0 < octets[at] < 64:
                at += octets[at] + 1
            if at >= limit:
                raise WireError("a name leaves the message, or runs into itself")
            label = octets[at]
            length += at - start
            at += 2 if label else 1
            if 0 < label < 0xC0 or at > limit:
                raise WireError("a name has a label of an unknown kind, or half a one")
            if end:
                met.append((start, length_before, pointers_before, at))
            else:
                end = at
            if label == 0:
                length += 1
                break
            target = (label & 0x3F) << 8 | octets[at - 1]
            if not wire.HEADER_OCTETS <= target < start:
                raise WireError("a compression pointer does not lead backwards")
            pointers += 1
            rest = known.get(target)
            if rest is not None:
                if rest >> 24 > start:
                    raise WireError("a compression pointer leads into its own name")
                length += rest & 255
                pointers += rest >> 8 & 0xFFFF
                break
            length_before, pointers_before = length, pointers
            limit, start, at = start, target, target
        if length > MAX_QNAME_OCTETS:
            raise WireError("a name is over 255 octets")
        for target, octets_before, count_before, part_end in met:
            rest = (pointers - count_before) << 8 | length - octets_before
            known[target] = part_end << 24 | rest
        self.is_compressed = pointers > 0
        if pointers > _MAX_POINTERS:
            self.is_odd = True
        return end

    def read(self, at: int) -> tuple[bytes, int]:
        """Return the name at *at* in full wire form, as spelled, and where it ends.

        Raises:
            WireError: as :meth:`end` does.
        """
        end = self.end(at)
        octets = self._octets
        name = b""
        while True:
            label = octets[at]
            if label >= 0xC0:
                at = (label & 0x3F) << 8 | octets[at + 1]
                continue
            name += octets[at : at + label + 1]
            if label == 0:
                return name, end
            at += label + 1
