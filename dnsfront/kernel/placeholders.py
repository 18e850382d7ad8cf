"""Placeholders in byte code: how they are found, and how values take their place.

In BPF a number of 64 bits, and a map, is loaded by one instruction of two words (opcode
0x18, `kern/README.md`). A program is compiled twice, with other placeholders each time:
where the two differ, and nowhere else, a placeholder stands. Each difference must be
such a load of the same placeholder, or the compiler has reckoned with the value and the
byte code is good for that value only.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from dnsfront.errors import KernelError
from dnsfront.kernel.programs import Program

INSTRUCTION_OCTETS: Final = 8
_LOAD_64_BITS: Final = 0x18
#: Who the load's second register names: nobody, or a map's descriptor as the value.
_NUMBER, _MAP = 0, 1


@dataclass(frozen=True)
class Function:
    """The byte code of one function, and the instructions where each name stands."""

    instructions: bytes
    places: Mapping[str, tuple[int, ...]]

    def filled_in(self, values: Mapping[str, int]) -> bytes:
        """Return the byte code with *values*, of every name that stands in it."""
        octets = bytearray(self.instructions)
        for name, places in self.places.items():
            low, high = _halves(values[name])
            for place in places:
                at = place * INSTRUCTION_OCTETS
                struct.pack_into("<I", octets, at + 4, low)
                struct.pack_into("<I", octets, at + INSTRUCTION_OCTETS + 4, high)
        return bytes(octets)


def placeholders(program: Program, turn: int) -> dict[str, int]:
    """Return a value for every name of *program*, other ones in every *turn*.

    A map's is positive in 32 bits, as descriptors are: others mean maps of bcc's own.
    """
    maps = {name: _digest(name, turn) & 0x3FFFFFFF | 1 << 30 for name in program.maps}
    return maps | {name: _digest(name, turn) for name in program.numbers}


def located(program: Program, name: str, first: bytes, second: bytes) -> Function:
    """Return function *name* of *program* from the byte code of turn 0 and turn 1.

    Raises:
        KernelError: a value that the loader fills in is used in another way than as
            `MAP()` or `NUMBER()`, or a map is none of the program's.
    """
    what = f"compile {program.source.name}: {name}"
    names = [
        {value: known for known, value in placeholders(program, turn).items()}
        for turn in (0, 1)
    ]
    if len(first) != len(second):
        raise KernelError(f"{what}: its length depends on {_names(program)}")
    places: dict[str, list[int]] = {}
    for place, (one, other) in _differences(first, second):
        found = names[0].get(_loaded(one))
        if found is None or found != names[1].get(_loaded(other)):
            raise KernelError(
                f"{what}: instruction {place} is made of {_names(program)} in another"
                " way than by MAP() or NUMBER()"
            )
        kind = _MAP if found in program.maps else _NUMBER
        if one[1] >> 4 != kind or one[:4] != other[:4]:
            raise KernelError(f"{what}: instruction {place} takes {found} for another")
        places.setdefault(found, []).append(place)
    known = {place for found in places.values() for place in found}
    for place, words in loads(first):
        if words[1] >> 4 and place not in known:
            raise KernelError(f"{what}: instruction {place} has a map of bcc's own")
    return Function(first, {key: tuple(places[key]) for key in sorted(places)})


def loads(instructions: bytes) -> Iterator[tuple[int, bytes]]:
    """Iterate over the loads of 64 bits: which instruction, and its two words."""
    for place, words in _walk(instructions):
        if words[0] == _LOAD_64_BITS:
            yield place, words


def _walk(instructions: bytes) -> Iterator[tuple[int, bytes]]:
    """Iterate over instructions; one of two words comes as one."""
    at = 0
    while at < len(instructions):
        words = 2 if instructions[at] == _LOAD_64_BITS else 1
        end = at + words * INSTRUCTION_OCTETS
        yield at // INSTRUCTION_OCTETS, instructions[at:end]
        at = end


def _differences(
    first: bytes, second: bytes
) -> Iterator[tuple[int, tuple[bytes, bytes]]]:
    for (place, one), (_place, other) in zip(_walk(first), _walk(second), strict=False):
        if one != other:
            yield place, (one, other)


def _loaded(words: bytes) -> int:
    """Return what a load of 64 bits loads; -1 for any other instruction."""
    if words[0] != _LOAD_64_BITS or len(words) != 2 * INSTRUCTION_OCTETS:
        return -1
    low, high = struct.unpack("<4xI4xI", words)
    return int(low | high << 32)


def _halves(value: int) -> tuple[int, int]:
    return value & 0xFFFFFFFF, value >> 32


def _digest(name: str, turn: int) -> int:
    octets = hashlib.sha256(f"dnsfront {name} {turn}".encode()).digest()
    return int.from_bytes(octets[:8], "little")


def _names(program: Program) -> str:
    return ", ".join((*program.maps, *program.numbers))
