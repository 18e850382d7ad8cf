r"""$GENERATE: one line that stands for many records, as BIND has it.

``$GENERATE 1-127 host$ A 192.0.2.$`` are 127 lines: in owner and data, ``$`` becomes
the number, and ``${offset,width,base}`` the number plus *offset*, in *base* (d, o, x,
X, n or N, the last two nibbles in reverse order) and padded with zeros to *width*.
``\$`` and ``$$`` are a dollar sign.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

#: More records than this have one line are rather a mistake.
_MAX_LINES: Final = 1 << 20
_MAX_NUMBER: Final = 0x7FFFFFFF
_MAX_WIDTH: Final = 255
_RANGE: Final = re.compile(r"([0-9]{1,10})-([0-9]{1,10})(?:/([0-9]{1,10}))?", re.ASCII)
_NUMBER: Final = re.compile(
    r"\\(.) | \$\$ | \$ (?: \{ ([^{}]*) \} )?", re.VERBOSE | re.DOTALL
)
_FORM: Final = re.compile(
    r"([+-]?[0-9]{1,10})(?:,([0-9]{1,3})(?:,([doxXnN]))?)?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Generation:
    """The numbers of a $GENERATE, and the line with the places that they go to."""

    numbers: range
    line: str

    def lines(self) -> Iterator[str]:
        """Yield each line.

        Raises:
            ValueError: a number is less than nothing.
        """
        for number in self.numbers:
            yield _with_number(self.line, number)


def generation(values: Sequence[str]) -> Generation:
    """Return what the *values* behind $GENERATE say: range, owner, type and data.

    They are as they were written. TTL and class may stand ahead of the type.

    Raises:
        ValueError: what is wrong.
    """
    span, *words = values
    match = _RANGE.fullmatch(span)
    if match is None:
        raise ValueError(f"got {span!r}, want START-STOP or START-STOP/STEP")
    start, stop, step = int(match[1]), int(match[2]), int(match[3] or "1")
    if not start <= stop <= _MAX_NUMBER or not step:
        raise ValueError(
            f"got {span!r}, want a START up to STOP, a STOP up to {_MAX_NUMBER}, "
            "and a STEP over 0"
        )
    numbers = range(start, stop + 1, step)
    if len(numbers) > _MAX_LINES:
        raise ValueError(
            f"got {span!r}, {len(numbers)} records, want at most {_MAX_LINES}"
        )
    return Generation(numbers, " ".join(words) + "\n")


def _with_number(text: str, number: int) -> str:
    def replaced(match: re.Match[str]) -> str:
        if match[1] is not None:
            return "$" if match[1] == "$" else match[0]
        if match[0] == "$$":
            return "$"
        return _formatted(match[2], number) if match[2] is not None else str(number)

    return _NUMBER.sub(replaced, text)


def _formatted(form: str, number: int) -> str:
    match = _FORM.fullmatch(form)
    if match is None or int(match[2] or "0") > _MAX_WIDTH:
        raise ValueError(
            f"got ${{{form}}}, want ${{OFFSET,WIDTH,BASE}}: a width up to {_MAX_WIDTH} "
            "and as base d, o, x, X, n or N"
        )
    value, width, base = number + int(match[1]), int(match[2] or "0"), match[3] or "d"
    if value < 0:
        raise ValueError(f"got ${{{form}}}, which makes {value} of {number}, want 0 up")
    if base not in "nN":
        return f"{value:0{width}{base}}"
    digits = f"{value:{'x' if base == 'n' else 'X'}}"
    # BIND counts the dots in.
    digits = digits.zfill((width + 1) // 2)
    return ".".join(reversed(digits))
