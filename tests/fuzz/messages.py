"""DNS messages that are nearly right: the structure is drawn, then what is wrong."""

from __future__ import annotations

import struct
from typing import Final

from tests.fuzz.choices import Choices

_LABELS: Final = (
    *(b"www", b"a", b"test", b"example", b"WwW", b"*", b"_sip", b"x" * 63, b"\0", b"."),
    *(b"\xff\xc0", b"child", b"wild", b"large", b"[`", b"version"),
)
_ENDS: Final = (b"\7example\4test\0", b"\2up\4test\0", b"\0", b"\7EXAMPLE\4test\0")
QTYPES: Final = (1, 28, 5, 2, 6, 15, 16, 33, 12, 43, 65, 64, 255, 41, 0, 97, 252, 65280)
_QCLASSES: Final = (1, 1, 1, 1, 1, 3, 4, 255, 254, 0)
_OPTIONS: Final = (3, 8, 10, 12, 15, 5, 65001)
#: Types whose data are looked at, and one that nobody knows.
RTYPES: Final = (
    *(1, 28, 5, 2, 6, 15, 16, 33, 12, 39, 65280),
    *(17, 18, 21, 24, 26, 30, 35, 36, 46, 47, 50, 58, 64, 65, 66, 107),
    *(23, 45, 55, 62, 249, 250, 260),
)
_CLASSES: Final = (1,) * 12 + (3, 4, 255, 254, 0)
#: Octets that stand ahead of the names in data of other types.
_AHEAD: Final[dict[int, bytes]] = {
    15: b"\0\x0a",
    18: b"\0\1",
    21: b"\0\1",
    24: b"\0\1\x08\2" + bytes(14),
    26: b"\0\1",
    33: bytes(6),
    35: b"\0\1\0\1\1u\3sip\0",
    36: b"\0\1",
    45: b"\1\3\2",
    46: b"\0\1\x08\2" + bytes(14),
    55: b"\2\2\0\3hikey",
    64: b"\0\1",
    65: b"\0\1",
    66: b"\0\x3b\1\0\x35",
    107: b"\0\1",
    260: b"\1\3",
}
#: And those that follow.
_BEHIND: Final[dict[int, bytes]] = {
    24: b"signature",
    30: b"\x40\1",
    45: b"key",
    46: b"signature",
    47: b"\0\1\x40",
    64: b"\0\1\0\3\2h2",
    65: b"\0\3\0\2\1\xbb",
}
_TWO_NAMES: Final = frozenset((17, 26, 58))
_ONE_NAME: Final = frozenset((*_AHEAD, *_BEHIND, 23)) - _TWO_NAMES


def name(choices: Choices) -> bytes:
    """Return a name in wire form, mostly a good one."""
    labels = b""
    for _ in range(choices.number(4)):
        label = choices.pick(_LABELS)
        if choices.is_rare(8):
            label = choices.octets(choices.number(64)) or b"z"
        labels += bytes((len(label),)) + label
    if choices.is_rare(30):
        labels = b"\1a" * choices.number(130)
    return labels + choices.pick(_ENDS)


def option(choices: Choices) -> bytes:
    """Return an EDNS option."""
    code, octets = choices.pick(_OPTIONS), choices.octets(choices.number(24))
    length = len(octets)
    if choices.is_rare(10):
        length = choices.number(65536)
    return struct.pack("!HH", code, length) + octets


def opt(choices: Choices) -> bytes:
    """Return an OPT record."""
    options = b"".join(option(choices) for _ in range(choices.pick((0, 0, 0, 1, 3))))
    size = choices.pick((1232, 512, 4096, 0, 65535))
    version = choices.pick((0, 0, 0, 0, 1))
    flags = choices.pick((0, 0x8000, 0x7FFF))
    length = len(options)
    if choices.is_rare(16):
        length = choices.number(65536)
    owner = b"\0" if not choices.is_rare(16) else name(choices)
    fixed = struct.pack("!HHBBHH", 41, size, 0, version, flags, length)
    return owner + fixed + options


def query(choices: Choices) -> bytes:
    """Return a query, or something that a client would send in its place."""
    flags = choices.pick((0x0100, 0x0000, 0x0110, 0x0120, 0x8100, 0x2900, 0x0130))
    if choices.is_rare(8):
        flags = choices.number(65536)
    question = name(choices)
    question += struct.pack("!HH", choices.pick(QTYPES), choices.pick(_QCLASSES))
    counts = [1, 0, 0, 0]
    rest = b""
    for _ in range(choices.pick((0, 1, 1, 1, 2))):
        rest += opt(choices)
        counts[3] += 1
    if choices.is_rare(10):
        counts[choices.number(4)] = choices.number(65536)
    octets = choices.octets(2).ljust(2, b"\1")
    octets += struct.pack("!5H", flags, *counts) + question + rest
    return spoilt(choices, octets)


def record(choices: Choices, qname_at: int, at: int) -> bytes:
    """Return a record that is to stand at offset *at* of a message."""
    owner = choices.pick((b"\xc0\x0c", b"\xc0\x0c", b"\xc0\x0c", b"", b"\xc0"))
    if owner == b"":
        owner = name(choices)
    elif owner == b"\xc0":
        pointer = choices.pick((qname_at, at, at + 2, at + 12, choices.number(0x3FFF)))
        owner = struct.pack("!H", 0xC000 | pointer & 0x3FFF)
    rtype = choices.pick(RTYPES)
    ttl = choices.pick((300, 0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 5))
    data = rdata(choices, rtype)
    length = len(data)
    if choices.is_rare(16):
        length = choices.number(65536)
    return (
        owner + struct.pack("!HHIH", rtype, choices.pick(_CLASSES), ttl, length) + data
    )


def rdata(choices: Choices, rtype: int) -> bytes:  # noqa: PLR0911 - a case each
    """Return the data of a type, mostly right."""
    if choices.is_rare(8):
        return choices.octets(choices.number(32))
    target = choices.pick((b"\xc0\x0c", b"")) or name(choices)
    match rtype:
        case 1:
            return bytes((192, 0, 2, choices.number(256)))
        case 28:
            return bytes(15) + b"\1"
        case 2 | 5 | 12 | 39:
            return target
        case 6:
            return target + name(choices) + struct.pack("!5I", 1, 2, 3, 4, 5)
        case 16:
            strings = [choices.octets(choices.number(60)) for _ in range(2)]
            return b"".join(bytes((len(x),)) + x for x in strings)
        case _ if rtype in _ONE_NAME:
            return _AHEAD.get(rtype, b"") + target + _BEHIND.get(rtype, b"")
        case _ if rtype in _TWO_NAMES:
            return _AHEAD.get(rtype, b"") + target + target
        case _:
            return choices.octets(choices.number(40))


def response(choices: Choices, query_octets: bytes, question: bytes) -> bytes:
    """Return what an upstream might say to a query, right or wrong."""
    flags = choices.pick((0x8180, 0x8180, 0x8180, 0x81A0, 0x8580, 0x8000))
    flags |= choices.pick((0, 0, 0, 0, 2, 3, 5, 1, 4))
    if choices.is_rare(12):
        flags = choices.number(65536)
    counts = [1, choices.pick((1, 0, 2, 3, 6)), choices.pick((0, 0, 1, 2)), 0]
    octets = bytearray(question)
    if choices.is_rare(12):
        counts[0], octets = 0, bytearray()
    for _ in range(counts[1] + counts[2]):
        octets += record(choices, 12, 12 + len(octets))
    if not choices.is_rare(4):
        octets += opt(choices)
        counts[3] = 1
    if choices.is_rare(12):
        counts[choices.number(4)] = choices.number(65536)
    identity = query_octets[:2] if not choices.is_rare(30) else choices.octets(2)
    head = identity.ljust(2, b"\0") + struct.pack("!5H", flags, *counts)
    return spoilt(choices, head + octets)


def spoilt(choices: Choices, octets: bytes) -> bytes:
    """Return *octets*, now and then cut, lengthened or with some of them changed."""
    match choices.pick((0,) * 12 + (1, 2, 3, 4)):
        case 1:
            return octets[: choices.number(len(octets) + 1)]
        case 2:
            return octets + choices.octets(choices.number(600))
        case 3 if octets:
            changed = bytearray(octets)
            for _ in range(1 + choices.number(4)):
                changed[choices.number(len(changed))] = choices.number(256)
            return bytes(changed)
        case 4:
            at = choices.number(len(octets) + 1)
            return octets[:at] + choices.octets(choices.number(9)) + octets[at:]
        case _:
            return octets
