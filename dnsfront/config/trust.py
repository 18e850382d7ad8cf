"""The kinds of value that say whom to believe over TLS."""

from __future__ import annotations

import functools
import ipaddress
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema

from dnsfront.config.values import NOTICE, path_of
from dnsfront.dns.names import qname_from_text, qname_to_text
from dnsfront.errors import InputError, WireError
from dnsfront.tls.authorities import authorities_in, system_authorities
from dnsfront.tls.pins import pin_from_text, pin_to_text

_SYSTEM: Final = "system"
#: What a text may have that crosses to workers (`dnsfront/ipc/records.py`).
_PIECE: Final = 4096
_TEXT_SCHEMA: Final = WithJsonSchema({"type": "string", "minLength": 1})


def _host_name(value: Any) -> str:  # noqa: ANN401 - whatever YAML held
    if isinstance(value, str):
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            pass  # most often it is a name
        try:
            name = qname_to_text(qname_from_text(value)).rstrip(".")
        except WireError:
            name = ""
        if name and "\\" not in name:
            return name
    raise ValueError("want a domain name or an IP address, as in its certificate")


def _authorities(
    value: Any,  # noqa: ANN401 - whatever YAML held
    info: ValidationInfo,
) -> tuple[str, ...]:
    context: dict[str, Any] = info.context or {}
    if value == _SYSTEM:
        system = system_authorities()
        if system is None:
            raise ValueError("want a file: this host has no list of authorities")
        path = system
    else:
        path = path_of(value, info)
    context[NOTICE](path)
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError as exc:
        raise ValueError(f"want certificates in PEM, {path}: {exc.strerror}") from exc
    try:
        return _pieces(text)
    except InputError as exc:
        raise ValueError(f"{exc}, as {path} does not have") from exc


@functools.lru_cache(maxsize=8)
def _pieces(text: str) -> tuple[str, ...]:
    """Return the certificates in *text* in pieces that cross to workers.

    Servers with the same authorities share them, and so do configs.
    """
    whole = authorities_in(text)
    return tuple(whole[at : at + _PIECE] for at in range(0, len(whole), _PIECE))


def _pins(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - whatever YAML held
    texts = value if isinstance(value, list) else [value]
    try:
        pins = tuple(pin_to_text(pin_from_text(str(text))) for text in texts)
    except InputError as exc:
        raise ValueError(str(exc)) from exc
    if not pins:
        raise ValueError("want at least one pin, or no such key")
    return pins


HostName = Annotated[str, BeforeValidator(_host_name), _TEXT_SCHEMA]
Authorities = Annotated[tuple[str, ...], BeforeValidator(_authorities), _TEXT_SCHEMA]
Pins = Annotated[
    tuple[str, ...],
    BeforeValidator(_pins),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": "^sha256/"},
                {"type": "array", "items": {"type": "string", "pattern": "^sha256/"}},
            ]
        }
    ),
]
