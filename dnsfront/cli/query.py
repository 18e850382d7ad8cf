"""One query to the running server: who owns the name, who answered, and what."""

# ruff: noqa: T201 - what a command has to say, it prints

from __future__ import annotations

import argparse
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from ipaddress import ip_address
from typing import Any, Final

from dnsfront.cli.live import asked
from dnsfront.cli.output import print_json, tell
from dnsfront.config.address import SocketAddress
from dnsfront.config.load import load
from dnsfront.config.model import Config
from dnsfront.dns import messages
from dnsfront.errors import PrivilegeError, UnavailableError, UsageError, WireError
from dnsfront.ring.qhash import hash_key
from dnsfront.supervisor.reports.lookup import Destined, look_up

#: Datagrams get lost; each try has an equal part of the time.
_TRIES: Final = 3


def query(arguments: argparse.Namespace) -> int:
    """Ask once, and show what came; any answer is a good one: exit code 0."""
    try:
        octets = messages.question(
            arguments.name, messages.type_from_text(arguments.type)
        )
        server = None if arguments.server is None else _server(arguments.server)
    except (WireError, ValueError) as exc:
        raise UsageError(f"query: {exc}") from exc
    if not arguments.timeout > 0:
        raise UsageError(f"query: got --timeout {arguments.timeout}, want more than 0")
    config = load(arguments.config)
    server = server or _reachable(config.listen[0])
    began = time.monotonic()
    message, transport = _ask(server, octets, arguments)
    took_ms = round((time.monotonic() - began) * 1000, 3)
    placed = _placed(arguments, config)
    told = {
        "name": arguments.name,
        "type": arguments.type.upper(),
        "server": str(server),
        "transport": transport,
        "milliseconds": took_ms,
        "slot": placed["slot"],
        "slots": placed["slots"],
        "owner": placed["owner"],
        "owner_by": placed["by"],
        "forward": placed.get("forward"),
        "answered_by": message.nsid,
        **asdict(message),
    }
    del told["nsid"]
    told["errors"] = [
        {"code": code, "name": messages.error_name(code), "text": text}
        for code, text in message.errors
    ]
    if arguments.json:
        print_json(told)
    else:
        print(*_lines(told), sep="\n")
    return 0


def _placed(arguments: argparse.Namespace, config: Config) -> dict[str, Any]:
    """Return where the name belongs: as the running server has it, or else the file.

    The server knows who is drained or down, and may serve another config.
    """
    request = {"command": "lookup", "names": [arguments.name]}
    try:
        [placed] = asked(arguments, request)["placed"]
    except (UnavailableError, PrivilegeError) as exc:
        tell(f"query: the owner is the one that {arguments.config} has: {exc}")
        table, key = config.ring.table(), hash_key(config.ring.seed)
        forward = Destined(config).of(arguments.name)
        placed = look_up(arguments.name, table, key)
        return {**placed, "by": "file", "forward": forward}
    return {"by": "server", "slots": None, **placed}


def _server(text: str) -> SocketAddress:
    try:
        return SocketAddress.from_text(text)
    except ValueError as exc:
        raise ValueError(f'--server: got "{text}", {exc}') from exc


def _reachable(address: SocketAddress) -> SocketAddress:
    """Return where to ask: a server at all addresses is at loopback too."""
    ip = ip_address(address.host)
    if not ip.is_unspecified:
        return address
    return SocketAddress("127.0.0.1" if ip.version == 4 else "::1", address.port)


def _ask(
    server: SocketAddress, octets: bytes, arguments: argparse.Namespace
) -> tuple[messages.ReadableMessage, str]:
    """Return the response and how it came.

    Raises:
        UnavailableError: none came, or one that cannot be read.
    """
    try:
        if not arguments.tcp:
            message = _over_udp(server, octets, arguments.timeout)
            if not message.is_truncated:
                return message, "udp"
        return _over_tcp(server, octets, arguments.timeout), "tcp"
    except TimeoutError as exc:
        text = f"{server}: no response within {arguments.timeout:g} s"
        raise UnavailableError(text) from exc
    except OSError as exc:
        raise UnavailableError(f"{server}: {exc.strerror or exc}") from exc
    except WireError as exc:
        raise UnavailableError(f"{server}: {exc}") from exc


def _family(server: SocketAddress) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in server.host else socket.AF_INET


def _over_udp(
    server: SocketAddress, octets: bytes, timeout_s: float
) -> messages.ReadableMessage:
    with socket.socket(_family(server), socket.SOCK_DGRAM) as sock:
        sock.connect((server.host, server.port))
        for number in range(1, _TRIES + 1):
            sock.send(octets)
            with suppress(TimeoutError):
                return _receive(sock, octets, timeout_s / _TRIES)
            if number == _TRIES:
                raise TimeoutError
    raise AssertionError  # pragma: no cover - the loop does not end


def _receive(
    sock: socket.socket, octets: bytes, timeout_s: float
) -> messages.ReadableMessage:
    """Return the response to *octets*; what else comes is somebody else's."""
    ends_at = time.monotonic() + timeout_s
    while True:
        sock.settimeout(max(0.001, ends_at - time.monotonic()))
        message = messages.response(sock.recv(65535), octets)
        if message is not None:
            return message
        if time.monotonic() >= ends_at:
            raise TimeoutError


def _over_tcp(
    server: SocketAddress, octets: bytes, timeout_s: float
) -> messages.ReadableMessage:
    address = (server.host, server.port)
    with socket.create_connection(address, timeout_s) as sock, sock.makefile("rb") as f:
        sock.sendall(len(octets).to_bytes(2, "big") + octets)
        length = int.from_bytes(f.read(2), "big")
        received = f.read(length)
        if not length or len(received) < length:
            raise WireError("the connection ended before the response did")
        message = messages.response(received, octets)
    if message is None:
        raise WireError("got the response to something else over TCP")
    return message


def _lines(told: dict[str, Any]) -> Iterator[str]:
    owner, answered_by = told["owner"], told["answered_by"]
    yield (
        f"{told['name']} {told['type']}: {told['rcode']} from {told['server']} over "
        f"{told['transport']} in {told['milliseconds']:.1f} ms, "
        f"flags {' '.join(told['flags']) or 'none'}"
    )
    slots = "" if told["slots"] is None else f" of {told['slots']}"
    by = ", by the file" if told["owner_by"] == "file" else ""
    yield f"owner: {owner or 'nobody'}, slot {told['slot']}{slots}{by}"
    if answered_by is None:
        yield "answered by: somebody who tells no NSID"
    else:
        standing = "" if answered_by == owner else f", not the owner{by}"
        yield f"answered by: {answered_by}{standing}"
    forward = told["forward"]
    if forward is not None:
        suffix = f", by {forward['by']}" if forward["by"] else ""
        server = f", server {forward['server']}" if forward["server"] else ""
        yield f"goes to: {forward['to'] or 'nobody'}{suffix}{server}"
    for error in told["errors"]:
        parts = (f"error {error['code']}", error["name"], error["text"])
        yield ": ".join(filter(None, parts))
    for section in ("answer", "authority", "additional"):
        if told[section]:
            yield f"{section}:"
        for record in told[section]:
            yield "  {name} {ttl} {type} {data}".format_map(record)
