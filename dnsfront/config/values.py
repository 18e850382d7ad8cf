"""The kinds of value that config keys hold, checked and turned into what programs use.

Each check raises ValueError with what is wanted; the loader puts before it what it got.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema

from dnsfront.config.address import SocketAddress
from dnsfront.config.units import (
    DURATION_PATTERN,
    DURATION_WANTED,
    SIZE_PATTERN,
    SIZE_WANTED,
    duration_ms_from_text,
    duration_ms_to_text,
    size_octets_from_text,
    size_octets_to_text,
)
from dnsfront.dns.names import qname_from_text, qname_to_text
from dnsfront.dns.rules.types import type_from_text
from dnsfront.dns.zones import special
from dnsfront.errors import WireError
from dnsfront.ipc.spec import DEFAULT_POOL, WORDS

#: Key of the validation context: the directory that relative paths start from.
BASE: Final = "base"
#: The same, of a function that is told of each file before it is looked at.
NOTICE: Final = "notice"

_WORKER_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_INTERFACE: Final = re.compile(r"[^\s/:]{1,15}")  # IFNAMSIZ, and dev_valid_name()
_MIN_TIMEOUT_MS: Final = 10
_MAX_TIMEOUT_MS: Final = 30_000
_MIN_INTERVAL_MS: Final = 100
_MAX_INTERVAL_MS: Final = 3_600_000
#: A year. RFC 2181, 8 allows 68; a TTL like that in a config is a slip of the pen.
_MAX_TTL_MS: Final = 365 * 86_400_000
#: No bound of ours makes sense below what one message may take, or above a large host.
_MIN_SIZE_OCTETS: Final = 512
_MAX_SIZE_OCTETS: Final = 1 << 40
#: Ahead of the IPv4 address that an IPv6 address is mapped to (RFC 4291, 2.5.5.2).
_MAPPED_BITS: Final = 96
#: What fits `sun_path` with its final zero, unix(7).
_MAX_SOCKET_PATH_OCTETS: Final = 107


def _text(value: Any) -> str:  # noqa: ANN401 - checks exactly that
    if not isinstance(value, str):
        raise ValueError("want text")  # noqa: TRY004 - pydantic collects ValueError
    return value


def _duration_ms(value: Any, low_ms: int, high_ms: int) -> int:  # noqa: ANN401 - YAML
    # A bare 0 arrives as a number; True is an int in Python, but no duration.
    text = "0" if value == 0 and value is not False else value
    if not isinstance(text, str):
        raise ValueError(f"want {DURATION_WANTED}")  # noqa: TRY004 - see _text
    duration_ms = duration_ms_from_text(text)
    if not low_ms <= duration_ms <= high_ms:
        low, high = duration_ms_to_text(low_ms), duration_ms_to_text(high_ms)
        raise ValueError(f"want a duration from {low} to {high}")
    return duration_ms


def _size_octets(value: Any) -> int:  # noqa: ANN401 - whatever YAML held
    if not isinstance(value, str):
        raise ValueError(f"want {SIZE_WANTED}")  # noqa: TRY004 - see _text
    size_octets = size_octets_from_text(value)
    if not _MIN_SIZE_OCTETS <= size_octets <= _MAX_SIZE_OCTETS:
        low = size_octets_to_text(_MIN_SIZE_OCTETS)
        high = size_octets_to_text(_MAX_SIZE_OCTETS)
        raise ValueError(f"want a size from {low} to {high}")
    return size_octets


def _timeout_s(value: Any) -> float:  # noqa: ANN401 - whatever YAML held
    return _duration_ms(value, _MIN_TIMEOUT_MS, _MAX_TIMEOUT_MS) / 1000


def _patience_s(value: Any) -> float:  # noqa: ANN401 - whatever YAML held
    return _duration_ms(value, 0, _MAX_TIMEOUT_MS) / 1000


def _interval_s(value: Any) -> float:  # noqa: ANN401 - whatever YAML held
    return _duration_ms(value, _MIN_INTERVAL_MS, _MAX_INTERVAL_MS) / 1000


def _ttl_s(value: Any) -> int:  # noqa: ANN401 - whatever YAML held
    ttl_s, rest_ms = divmod(_duration_ms(value, 0, _MAX_TTL_MS), 1000)
    if rest_ms:
        raise ValueError("want whole seconds, as DNS counts TTLs")
    return ttl_s


def _address(value: Any) -> SocketAddress:  # noqa: ANN401 - whatever YAML held
    return SocketAddress.from_text(_text(value))


def _worker_name(value: Any) -> str:  # noqa: ANN401 - whatever YAML held
    if not isinstance(value, str) or not _WORKER_NAME.fullmatch(value):
        raise ValueError("want text of 1 to 32 letters, digits or any of _ . -")
    return value


def _interface(value: Any) -> str:  # noqa: ANN401 - whatever YAML held
    if not isinstance(value, str) or not _INTERFACE.fullmatch(value):
        raise ValueError("want the name of a network interface, like eth0")
    return value


def _network(value: Any) -> str:  # noqa: ANN401 - whatever YAML held
    text = _text(value)
    wanted = "want a network like 192.0.2.0/24 or 2001:db8::/32"
    _, slash, prefix = text.partition("/")
    if slash and not prefix.isdecimal():
        raise ValueError(wanted)
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as exc:
        raise ValueError(wanted) from exc
    if ipaddress.ip_interface(text).ip != network.network_address:
        raise ValueError(f"want no bits behind the prefix, as in {network}")
    if isinstance(network, ipaddress.IPv6Network):
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            bits = network.prefixlen - _MAPPED_BITS
            raise ValueError(f"want {mapped}/{bits} (no client has such an address)")
    return str(network)


def _name(value: Any) -> str:  # noqa: ANN401 - whatever YAML held
    try:
        return qname_to_text(qname_from_text(_text(value)))
    except WireError as exc:
        raise ValueError(f"want a domain name ({exc})") from exc


def _origin(value: Any) -> str:  # noqa: ANN401 - whatever YAML held
    origin = _name(value)
    if origin == ".":
        raise ValueError("want a zone below the root, which would hide all other names")
    return origin


def _special_name(value: Any) -> str:  # noqa: ANN401 - whatever YAML held
    name = _name(value)
    if name in special.NAMES or name in special.GROUPS:
        return name
    words = [name for name in special.NAMES if not name.endswith("arpa")]
    raise ValueError(
        f"want a special name: {', '.join(words)}, one of private addresses like "
        f"10.in-addr.arpa, or {', '.join(special.GROUPS)} for all of those"
    )


def _suffix(value: Any) -> str:  # noqa: ANN401 - whatever YAML held
    _name(value)
    return _text(value)  # as it is written, since mistakes are told at it


def _pool_name(value: Any) -> str:  # noqa: ANN401 - whatever YAML held
    name = _worker_name(value)
    if name in WORDS:
        raise ValueError("want another name: in forward this word is no pool")
    if name == DEFAULT_POOL:
        raise ValueError("want another name: this is what upstreams is called")
    return name


def path_of(value: Any, info: ValidationInfo) -> Path:  # noqa: ANN401 - YAML
    """Return the path that *value* names, from the config file on.

    Raises:
        ValueError: it names none.
    """
    text = _text(value)
    if not text or "\0" in text:
        raise ValueError("want the path of a file")
    context: dict[str, Path] = info.context or {}
    return context[BASE] / text


def _file_or_off(value: Any, info: ValidationInfo) -> Path | None:  # noqa: ANN401 - YAML
    return None if value in ("off", False) else path_of(value, info)


def _host(value: Any) -> str:  # noqa: ANN401 - whatever YAML held
    try:
        return str(ipaddress.ip_address(_text(value)))
    except ValueError as exc:
        raise ValueError("want an IP address like 192.0.2.1 or 2001:db8::1") from exc


def _query_type(value: Any) -> int:  # noqa: ANN401 - whatever YAML held
    try:
        return type_from_text(_text(value))
    except WireError as exc:
        raise ValueError(str(exc)) from exc


def _zone_file(
    value: Any,  # noqa: ANN401 - whatever YAML held
    info: ValidationInfo,
) -> Path | None:
    if value is None:
        return None
    if info.data.get("primary") is None:
        return _readable(value, info, "a zone file")
    return path_of(value, info)  # it comes from there, and is noticed when it is read


def _list_file(value: Any, info: ValidationInfo) -> Path:  # noqa: ANN401 - YAML
    return _readable(value, info, "a list of names")


def _readable(value: Any, info: ValidationInfo, what: str) -> Path:  # noqa: ANN401 - YAML
    path = path_of(value, info)
    context: dict[str, Any] = info.context or {}
    context[NOTICE](path)
    try:
        # Whoever may look at the file need not be allowed to read it: try.
        if path.is_file():
            path.open("rb").close()
            return path
        path.stat()
    except OSError as exc:
        raise ValueError(f"want {what}, {path}: {exc.strerror}") from exc
    raise ValueError(f"want {what}, {path} is something else")


def _secret(value: Any) -> str | None:  # noqa: ANN401 - whatever YAML held
    if value is None:
        return None
    text = "".join(_text(value).split())
    try:
        octets = base64.b64decode(text, validate=True)
    except ValueError:
        octets = b""
    if not octets:
        raise ValueError("want a secret in base64")
    return text


def _secret_file(
    value: Any,  # noqa: ANN401 - whatever YAML held
    info: ValidationInfo,
) -> str | None:
    if value is None:
        return None
    path = _readable(value, info, "a secret")
    try:
        return _secret(path.read_text("ascii", errors="replace"))
    except ValueError as exc:
        raise ValueError(f"{exc}, as {path} does not have") from exc


def _socket_path(value: Any, info: ValidationInfo) -> Path:  # noqa: ANN401 - YAML
    path = path_of(value, info)
    size = len(bytes(path))
    if size > _MAX_SOCKET_PATH_OCTETS:
        raise ValueError(
            f"want a path of at most {_MAX_SOCKET_PATH_OCTETS} octets, "
            f"{path} has {size} (see unix(7))"
        )
    return path


_DURATION_SCHEMA: Final = WithJsonSchema(
    {"anyOf": [{"type": "string", "pattern": DURATION_PATTERN}, {"const": 0}]}
)
_ADDRESS_SCHEMA: Final = WithJsonSchema(
    {"type": "string", "pattern": r"^([0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$"}
)
_TEXT_SCHEMA: Final = WithJsonSchema({"type": "string", "minLength": 1})

_SIZE_SCHEMA: Final = WithJsonSchema({"type": "string", "pattern": SIZE_PATTERN})

Size = Annotated[int, BeforeValidator(_size_octets), _SIZE_SCHEMA]
#: What turns a mode off, also where a writer of YAML 1.1 has made false of the word.
OffWord = BeforeValidator(lambda value: "off" if value is False else value)
Timeout = Annotated[float, BeforeValidator(_timeout_s), _DURATION_SCHEMA]
WaitingTime = Annotated[float, BeforeValidator(_patience_s), _DURATION_SCHEMA]
Interval = Annotated[float, BeforeValidator(_interval_s), _DURATION_SCHEMA]
Ttl = Annotated[int, BeforeValidator(_ttl_s), _DURATION_SCHEMA]
Address = Annotated[SocketAddress, BeforeValidator(_address), _ADDRESS_SCHEMA]
WorkerName = Annotated[
    str,
    BeforeValidator(_worker_name),
    WithJsonSchema({"type": "string", "pattern": rf"^{_WORKER_NAME.pattern}$"}),
]
InterfaceName = Annotated[str, BeforeValidator(_interface), _TEXT_SCHEMA]
Network = Annotated[str, BeforeValidator(_network), _TEXT_SCHEMA]
Name = Annotated[str, BeforeValidator(_name), _TEXT_SCHEMA]
SpecialName = Annotated[str, BeforeValidator(_special_name), _TEXT_SCHEMA]
Suffix = Annotated[str, BeforeValidator(_suffix), _TEXT_SCHEMA]
PoolName = Annotated[str, BeforeValidator(_pool_name), _TEXT_SCHEMA]
Origin = Annotated[str, BeforeValidator(_origin), _TEXT_SCHEMA]
HostAddress = Annotated[str, BeforeValidator(_host), _TEXT_SCHEMA]
QueryType = Annotated[int, BeforeValidator(_query_type), _TEXT_SCHEMA]
ListFile = Annotated[Path, BeforeValidator(_list_file), _TEXT_SCHEMA]
ZoneFile = Annotated[Path | None, BeforeValidator(_zone_file), _TEXT_SCHEMA]
Secret = Annotated[str | None, BeforeValidator(_secret), _TEXT_SCHEMA]
SecretFile = Annotated[str | None, BeforeValidator(_secret_file), _TEXT_SCHEMA]
FileOrOff = Annotated[Path | None, BeforeValidator(_file_or_off), _TEXT_SCHEMA]
SocketPath = Annotated[Path, BeforeValidator(_socket_path), _TEXT_SCHEMA]
