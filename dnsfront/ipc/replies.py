"""What a worker may say to its supervisor, and in which shape.

A worker meets strangers, so nothing that it says is taken on trust: every message
passes :func:`fault_in`, and whoever says anything else is ended.
"""

from __future__ import annotations

from typing import Final

from dnsfront.ipc.channel import Message

_Shape = dict[str, type]

#: By the op of a request, the replies to it, each with its fields.
_REPLIES: Final[dict[str, dict[str, _Shape]]] = {
    "ping": {"pong": {}},
    "move": {"moved": {"entries": int}},
    "settle": {"settled": {}},
    "pause": {"paused": {}},
    "configure": {"configured": {}, "refused": {"reason": str}},
    "listen": {"listening": {}},
    "unlisten": {"unlistened": {}},
    "close": {"closed": {}},
    "flush": {"flushed": {"entries": int}},
}
#: Of any order: it met a fault of the worker's own.
_FAILED: Final[dict[str, _Shape]] = {"failed": {"reason": str}}
#: What it says of its own accord, each once.
_UNASKED: Final[dict[str, _Shape]] = {
    "ready": {"version": str, "layout": str},
    "other_code": {"version": str, "layout": str},
    "drained": {},
    **_FAILED,
}

_MAX_TEXT: Final = 4096
_MAX_COUNT: Final = 1 << 53


def shapes() -> str:
    """Return all of this as text, the same in every process of the same code."""
    names = [
        (op, sorted((key, kind.__name__) for key, kind in shape.items()))
        for shapes in (*_REPLIES.values(), _UNASKED)
        for op, shape in shapes.items()
    ]
    return repr((list(_REPLIES), names))


def fault_in(message: object, asked: str | None) -> str | None:
    """Return what is wrong with *message*, None if it may be acted on.

    *asked* is the op of the request that it replies to, None if it replies to none.
    """
    if not isinstance(message, dict):
        return "no object"
    shapes = _UNASKED if asked is None else _REPLIES[asked] | _FAILED
    op = message.get("op")
    shape = shapes.get(op) if isinstance(op, str) else None
    if shape is None:
        said = repr(op)[:40]
        return f"{said} of its own accord" if asked is None else f"{said} to {asked}"
    wrong = [key for key, kind in shape.items() if not _is(message.get(key), kind)]
    return f"{op} with a wrong {wrong[0]}" if wrong else None


def request_of(message: object) -> int | None:
    """Return the id of the request that *message* says it replies to."""
    found = message.get("id") if isinstance(message, dict) else None
    return found if _is(found, int) else None


def refusal(message: Message) -> str | None:
    """Return why a worker refuses what it was asked for, None if it does not."""
    return str(message["reason"]) if message["op"] == "refused" else None


def _is(value: object, kind: type) -> bool:
    if kind is int:
        # JSON's true is an int to Python.
        return type(value) is int and 0 <= value <= _MAX_COUNT
    return isinstance(value, kind) and len(str(value)) <= _MAX_TEXT
