"""The client of the control socket: one line of JSON each way over a Unix socket.

A request is ``{"command": NAME, ...}``. The response holds ``"ok"``; where that is
false, ``"reason"`` says in a sentence why nothing was done.
"""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from dnsfront.errors import ControlError, PrivilegeError, UnavailableError
from dnsfront.ipc.channel import receive_fds

#: Longest line that either side takes; a status of 127 workers has some 30 kB.
MAX_LINE_OCTETS: Final = 1 << 20


def ask(
    socket_path: Path,
    request: dict[str, Any],
    timeout_s: float,
    is_at_work: Callable[[], bool] = bool,
) -> dict[str, Any]:
    """Return what the running server responds to *request*.

    *timeout_s* bounds the whole exchange, and begins again when it is over for as long
    as *is_at_work* says so; the server may go on after it.

    Raises:
        UnavailableError: no server listens at *socket_path*.
        PrivilegeError: the socket belongs to another user.
        ControlError: the server refused, with its reason, or did not respond in time.
    """
    response, fds = ask_for_descriptors(socket_path, request, timeout_s, is_at_work)
    for fd in fds:
        os.close(fd)
    return response


def ask_for_descriptors(
    socket_path: Path,
    request: dict[str, Any],
    timeout_s: float,
    is_at_work: Callable[[], bool] = bool,
) -> tuple[dict[str, Any], list[int]]:
    """Return the response and the descriptors that came with it, for the caller to own.

    Raises:
        UnavailableError, PrivilegeError, ControlError: as :func:`ask`.
    """
    patience = _Patience(timeout_s, is_at_work)
    fds: list[int] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout_s)
        try:
            sock.connect(str(socket_path))
        except OSError as exc:
            raise _no_server(socket_path, exc) from exc
        try:
            sock.sendall(json.dumps(request).encode() + b"\n")
            line = _read_line(sock, patience, fds)
        except TimeoutError as exc:
            raise ControlError(
                f"{socket_path}: the server did not respond within {timeout_s:g} s"
            ) from exc
        except OSError as exc:
            raise ControlError(
                f"{socket_path}: the server closed the connection ({exc.strerror})"
            ) from exc
    return _response(socket_path, line), fds


class _Patience:
    """How long a response is waited for."""

    def __init__(self, timeout_s: float, is_at_work: Callable[[], bool]) -> None:
        self._timeout_s = timeout_s
        self._is_at_work = is_at_work
        self._deadline_at = time.monotonic() + timeout_s

    def wait_for(self, sock: socket.socket) -> None:
        """Return when *sock* can be read.

        Raises:
            TimeoutError: it took too long.
        """
        while True:
            left_s = max(0.0, self._deadline_at - time.monotonic())
            if select.select([sock], [], [], left_s)[0]:
                return
            if not self._is_at_work():
                raise TimeoutError
            self._deadline_at = time.monotonic() + self._timeout_s


def _read_line(sock: socket.socket, patience: _Patience, fds: list[int]) -> bytes:
    """Return the line, without its end if there is more; descriptors go to *fds*."""
    line = bytearray()
    while not line.endswith(b"\n") and len(line) <= MAX_LINE_OCTETS:
        patience.wait_for(sock)
        octets, received, _flags = receive_fds(sock, 1 << 16, 1)
        fds += received
        if not octets:
            break
        line += octets
    return bytes(line)


def _response(socket_path: Path, line: bytes) -> dict[str, Any]:
    if not line:
        raise ControlError(f"{socket_path}: the server stopped before it responded")
    try:
        response = json.loads(line)
    except ValueError as exc:
        raise ControlError(f"{socket_path}: got a response that is no JSON") from exc
    if not isinstance(response, dict) or "ok" not in response:
        raise ControlError(f"{socket_path}: got a response without ok")
    if not response["ok"]:
        raise ControlError(str(response.get("reason", "the server gave no reason")))
    return response


def _no_server(socket_path: Path, exc: OSError) -> UnavailableError | PrivilegeError:
    if exc.errno in {errno.EACCES, errno.EPERM}:
        return PrivilegeError(
            f"{socket_path}: no right to use this control socket; act as the user that "
            "runs dnsfront"
        )
    if exc.errno in {errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR, errno.ENOTSOCK}:
        return UnavailableError(
            f"{socket_path}: no dnsfront runs with this control socket; start it with "
            "`dnsfront run`, or name its config with -c or its socket with --socket"
        )
    return UnavailableError(f"{socket_path}: cannot connect: {exc.strerror or exc}")
