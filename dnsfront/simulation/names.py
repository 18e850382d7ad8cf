"""Queries as people write them down: `NAME [TYPE]`, one a line."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Final

from dnsfront.dns import wire
from dnsfront.dns.messages import type_from_text
from dnsfront.dns.names import qname_from_text
from dnsfront.errors import InputError, WireError
from dnsfront.simulation.traffic import (
    AskedFor,
    Traffic,
    made_up_response,
    plain_question,
    steady,
    strangers,
)

_WANTED: Final = "want NAME [TYPE], like www.example.test AAAA"
_MAX_SHOWN: Final = 60
#: A name with every octet escaped takes 1,020.
_MAX_OCTETS: Final = 1100


def read_names(
    path: str,
    lines: Iterable[bytes],
    *,
    rate: float,
    ttl_s: int,
    size_octets: int,
    seed: str,
) -> Traffic:
    """Return a query for each of *lines*; empty ones and comments (`#`) have none.

    They come at *rate* a second from clients that nobody saw before. Each response has
    one TTL and makes a message of *size_octets*.

    Raises:
        InputError: a line is neither; the text has its number.
    """
    questions: list[AskedFor] = []
    number_of: dict[bytes, int] = {}
    number_of_text: dict[bytes, int] = {}
    numbers = array("I")
    for at, line in enumerate(lines, 1):
        text = line.strip()
        number = number_of_text.get(text, -1)
        if number < 0:
            if not text or text.startswith(b"#"):
                continue
            try:
                qname, qtype = _parts(text)
            except (WireError, ValueError) as exc:
                raise InputError(f"{path}:{at}: {exc}") from exc
            question = qname + qtype.to_bytes(2, "big") + b"\0\1"
            number = number_of.setdefault(question, len(questions))
            number_of_text[text] = number
            if number == len(questions):
                response = made_up_response(
                    question, ttl_s=ttl_s, size_octets=size_octets
                )
                questions.append(plain_question(qname, qtype, response))
        numbers.append(number)
    if not numbers:
        raise InputError(f"{path}:1: got no query, {_WANTED}")
    count = len(numbers)
    return Traffic(questions, numbers, steady(count, rate), strangers(count, seed))


def _parts(text: bytes) -> tuple[bytes, int]:
    try:
        words = text.decode("ascii").split()
    except UnicodeDecodeError as exc:
        raise ValueError(f"got {_shown(text)}, which is not ASCII; {_WANTED}") from exc
    if len(words) > 2 or len(text) > _MAX_OCTETS:
        raise ValueError(f"got {_shown(text)}, {_WANTED}")
    qname = qname_from_text(words[0])
    return qname, type_from_text(words[1]) if len(words) > 1 else wire.A


def _shown(text: bytes) -> str:
    shown = text.decode("ascii", "backslashreplace")
    return f'"{shown}"' if len(shown) <= _MAX_SHOWN else f'"{shown[:_MAX_SHOWN]}..."'
