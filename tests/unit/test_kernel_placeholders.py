from __future__ import annotations

import struct
from pathlib import Path

import pytest

from dnsfront.errors import KernelError
from dnsfront.kernel.placeholders import Function, located, placeholders
from dnsfront.kernel.programs import Program

PROGRAM = Program(Path("test.bpf.c"), maps=("MAP_FD",), numbers=("KEY", "SIZE"))
EXIT = struct.pack("<BBhi", 0x95, 0, 0, 0)


def load(value: int, *, register: int = 1, kind: int = 0) -> bytes:
    """A load of 64 bits into a register."""
    low, high = value & 0xFFFFFFFF, value >> 32
    return struct.pack("<BBhIBBhI", 0x18, register | kind << 4, 0, low, 0, 0, 0, high)


def add(value: int) -> bytes:
    """A sum with 32 bits that stand in the instruction."""
    return struct.pack("<BBhI", 0x07, 1, 0, value & 0xFFFFFFFF)


def code(turn: int) -> bytes:
    """Byte code with every placeholder of a turn, and constants that only look so."""
    values = placeholders(PROGRAM, turn)
    return b"".join(
        (
            load(values["MAP_FD"], kind=1),
            load(placeholders(PROGRAM, 0)["SIZE"] ^ 1),
            load(values["KEY"]),
            add(7),
            load(values["SIZE"], register=3),
            load(values["KEY"], register=2),
            EXIT,
        )
    )


def test_every_placeholder_is_found_where_it_stands() -> None:
    function = located(PROGRAM, "f", code(0), code(1))

    assert function == Function(code(0), {"KEY": (4, 9), "MAP_FD": (0,), "SIZE": (7,)})


def test_values_take_the_place_of_placeholders_and_of_nothing_else() -> None:
    function = located(PROGRAM, "f", code(0), code(1))

    filled = function.filled_in({"MAP_FD": 9, "KEY": 2**64 - 2, "SIZE": 65536})

    assert filled == b"".join(
        (
            load(9, kind=1),
            load(placeholders(PROGRAM, 0)["SIZE"] ^ 1),
            load(2**64 - 2),
            add(7),
            load(65536, register=3),
            load(2**64 - 2, register=2),
            EXIT,
        )
    )


def test_placeholders_are_distinct_in_name_and_turn_and_half() -> None:
    values = [placeholders(PROGRAM, turn) for turn in (0, 1)]

    halves = {half for v in values for x in v.values() for half in (x >> 32, x % 2**32)}
    assert len(halves) == 2 * 2 * 2 + 2 + 1  # a map's upper half is 0
    assert all(0 < v["MAP_FD"] < 1 << 31 for v in values)


@pytest.mark.parametrize(
    "made_of",
    [
        lambda values: add(values["KEY"]),
        lambda values: load(values["KEY"] + 1),
        lambda values: load(values["KEY"] >> 32),
        lambda values: add(2 * values["MAP_FD"]),
    ],
    ids=["half of a number", "a sum", "a shifted number", "twice a descriptor"],
)
def test_value_that_was_reckoned_with_is_refused(made_of: object) -> None:
    assert callable(made_of)
    first, second = (made_of(placeholders(PROGRAM, turn)) + EXIT for turn in (0, 1))

    with pytest.raises(
        KernelError, match=r"^compile test.bpf.c: f: instruction 0 is made of MAP_FD, "
    ):
        located(PROGRAM, "f", first, second)


@pytest.mark.parametrize(("name", "kind"), [("KEY", 1), ("MAP_FD", 0)])
def test_number_for_a_map_is_refused_and_a_map_for_a_number(
    name: str, kind: int
) -> None:
    first, second = (
        load(placeholders(PROGRAM, turn)[name], kind=kind) for turn in (0, 1)
    )

    with pytest.raises(KernelError, match=f"instruction 0 takes {name} for another"):
        located(PROGRAM, "f", first, second)


def test_length_that_depends_on_a_value_is_refused() -> None:
    with pytest.raises(KernelError, match="f: its length depends on MAP_FD, KEY, SIZE"):
        located(PROGRAM, "f", code(0), code(1) + EXIT)


def test_map_of_somebody_else_is_refused() -> None:
    foreign = load(0xFFFFFFFF, kind=1)

    with pytest.raises(KernelError, match=r"instruction 0 has a map of bcc's own"):
        located(PROGRAM, "f", foreign, foreign)
