"""The structs that the kernel programs share with user space, read from `kern/maps.h`.

C owns the layouts. This reader knows only what that header promises: structs of
unsigned integers and arrays of them, one field a line.
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from functools import cache

from dnsfront.kernel.sources import kern_directory

_C_TYPES = {
    "u8": ctypes.c_uint8,
    "u16": ctypes.c_uint16,
    "u32": ctypes.c_uint32,
    "u64": ctypes.c_uint64,
}
_STRUCT = re.compile(r"^struct (\w+) \{\n(.*?)^\};", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(
    r"^\s*(u8|u16|u32|u64) (\w+)(?:\[(\d+)\])?;\s*(?:/\*\s*(.*?)\s*\*/)?\s*$"
)


@dataclass(frozen=True)
class Layout:
    """One struct: its ctypes class, and the comment of each field."""

    name: str
    ctype: type[ctypes.Structure]
    comments: dict[str, str]

    @property
    def size_octets(self) -> int:
        """The size of the struct, padding included."""
        return ctypes.sizeof(self.ctype)

    def word_at(self, field: str) -> int:
        """Return the index of *field* in the struct seen as 64-bit words."""
        offset: int = getattr(self.ctype, field).offset
        return offset // 8

    @property
    def fields(self) -> tuple[str, ...]:
        """The field names in the order of the declaration."""
        return tuple(self.comments)


@cache
def layouts() -> dict[str, Layout]:
    """Return every struct of `kern/maps.h` by its name."""
    text = (kern_directory() / "maps.h").read_text(encoding="ascii")
    return {name: _layout(name, body) for name, body in _STRUCT.findall(text)}


def layout(name: str) -> Layout:
    """Return the struct *name*; a name that the header lacks is a programming error."""
    return layouts()[name]


def described() -> str:
    """Return names, offsets and sizes of all structs as text, comments left out."""
    return repr(
        [
            (
                found.name,
                found.size_octets,
                [(field, getattr(found.ctype, field).offset) for field in found.fields],
            )
            for found in layouts().values()
        ]
    )


def constant(name: str) -> int:
    """Return the number that `kern/maps.h` defines as *name*."""
    text = (kern_directory() / "maps.h").read_text(encoding="ascii")
    match = re.search(rf"^#define {name}\s+(\d+)", text, re.MULTILINE)
    assert match, f"kern/maps.h defines no {name}"
    return int(match[1])


def _layout(name: str, body: str) -> Layout:
    fields: list[tuple[str, type]] = []
    comments: dict[str, str] = {}
    for line in filter(str.strip, body.splitlines()):
        match = _FIELD.match(line)
        assert match, f"kern/maps.h: struct {name}: cannot read {line.strip()!r}"
        c_type, field, count, comment = match.groups()
        base = _C_TYPES[c_type]
        fields.append((field, base * int(count) if count else base))
        comments[field] = comment or ""
    ctype = type(name, (ctypes.Structure,), {"_fields_": fields})
    return Layout(name, ctype, comments)
