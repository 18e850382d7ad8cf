"""Records that cross between processes: frozen dataclasses to plain JSON and back.

What comes back is checked to the last field, for a worker meets strangers and may be
theirs. Records nest; their fields are numbers, texts, truth values and tuples of these.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, fields, is_dataclass
from functools import cache, partial
from types import NoneType, UnionType
from typing import (
    Any,
    Final,
    Literal,
    TypeGuard,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

MAX_TEXT: Final = 4096
MAX_COUNT: Final = 1 << 53

R = TypeVar("R")
_Reader = Callable[[Any], Any]


class ShapeError(ValueError):
    """A record is not what its class says; the text says what is wrong with it."""


def to_json(record: object) -> bytes:
    """Return *record*, a dataclass, as UTF-8 JSON."""
    return json.dumps(asdict(record)).encode()  # type: ignore[call-overload]  # a record


def from_json(kind: type[R], octets: bytes) -> R:
    """Return the record of *kind* that :func:`to_json` wrote.

    Raises:
        ShapeError: it is another one, or none.
    """
    return from_plain(kind, json.loads(octets))


def from_plain(kind: type[R], plain: object) -> R:
    """Return the record of *kind* with the values of *plain*, a mapping.

    Raises:
        ShapeError: a field is missing, or surplus, or has a value of another type.
    """
    reader: Callable[[object], R] = _reader(kind)  # type: ignore[arg-type]  # hashable
    return reader(plain)


def layout(kind: Any) -> str:  # noqa: ANN401 - a class
    """Return the fields of *kind*, and of all records in it, as text."""
    hints = get_type_hints(kind)
    told = [f"{x.name}: {_text(hints[x.name])}" for x in fields(kind)]
    return f"{kind.__name__}({', '.join(told)})"


def _text(hint: Any) -> str:  # noqa: ANN401 - a type, or what stands for one
    if isinstance(hint, type) and is_dataclass(hint):
        return layout(hint)
    inner = [_text(x) for x in get_args(hint) if isinstance(x, type)]
    return f"{hint}{inner}" if inner else str(hint)


@cache
def _reader(hint: Any) -> _Reader:  # noqa: ANN401 - a type, or what stands for one
    """Return what checks a value of type *hint*, and returns it."""
    # A NewType is what it is made of.
    hint = getattr(hint, "__supertype__", hint)
    if hint in _SIMPLE:
        return partial(_simple, _SIMPLE[hint])
    if isinstance(hint, type) and is_dataclass(hint):
        hints = get_type_hints(hint)
        readers = {x.name: _reader(hints[x.name]) for x in fields(hint)}
        return partial(_record, hint, readers)
    arguments = get_args(hint)
    if get_origin(hint) is Literal:
        return partial(_simple, lambda value: value in arguments)
    if get_origin(hint) is tuple:
        if arguments[-1] is Ellipsis:
            return partial(_tuple, _reader(arguments[0]))
        return partial(_fixed_tuple, [_reader(x) for x in arguments])
    assert get_origin(hint) is UnionType, hint
    assert arguments[1] is NoneType, hint
    return partial(_optional, _reader(arguments[0]))


def is_count(value: object) -> TypeGuard[int]:
    """Return whether *value* is a number of something, and not too large for one."""
    # JSON's true is an int to Python.
    return type(value) is int and 0 <= value <= MAX_COUNT


def _is_measure(value: object) -> bool:
    return (type(value) is float and 0 <= value <= MAX_COUNT) or is_count(value)


def _is_text(value: object) -> bool:
    """Return whether *value* is a text that can be written anywhere."""
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False  # half a surrogate pair, which JSON can spell
    return True


_SIMPLE: Final[dict[Any, Callable[[Any], bool]]] = {
    int: is_count,
    float: _is_measure,
    bool: lambda value: isinstance(value, bool),
    str: _is_text,
}


def _simple(is_right: Callable[[Any], bool], value: Any) -> Any:  # noqa: ANN401 - JSON
    if not is_right(value):
        raise ShapeError("a wrong value")
    return value


def _optional(reader: _Reader, value: Any) -> Any:  # noqa: ANN401 - JSON
    return None if value is None else reader(value)


def _tuple(reader: _Reader, value: Any) -> Any:  # noqa: ANN401 - JSON
    if not isinstance(value, list | tuple):
        raise ShapeError("no list")
    return tuple(map(reader, value))


def _fixed_tuple(readers: list[_Reader], value: Any) -> Any:  # noqa: ANN401 - JSON
    if not isinstance(value, list | tuple) or len(value) != len(readers):
        raise ShapeError("no list of the right length")
    return tuple(reader(x) for reader, x in zip(readers, value, strict=True))


def _record(kind: type, readers: dict[str, _Reader], value: Any) -> Any:  # noqa: ANN401
    if not isinstance(value, dict):
        raise ShapeError("no object")
    found = {}
    for name, reader in readers.items():
        try:
            found[name] = reader(value[name])
        except (KeyError, ShapeError) as exc:
            raise ShapeError(f"a wrong {name}") from exc
    if surplus := value.keys() - readers.keys():
        name = min(surplus)[:40].encode("utf-8", "backslashreplace").decode()
        raise ShapeError(f"a surplus {name}")
    return kind(**found)
