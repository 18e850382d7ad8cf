"""The control socket: a line of JSON in, a line of JSON out, for its owner only."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from dnsfront.errors import DnsfrontError, PrivilegeError, UnavailableError
from dnsfront.ipc.asking import MAX_LINE_OCTETS

_LOG = logging.getLogger(__name__)

ControlRequest = dict[str, Any]
ControlResponse = dict[str, Any]
Handler = Callable[[ControlRequest], Awaitable[ControlResponse]]

_READ_TIMEOUT_S: Final = 5.0
_WRITE_TIMEOUT_S: Final = 5.0
_BACKLOG: Final = 16
_PRIVATE_UMASK: Final = 0o177
#: struct ucred, socket(7): pid, uid and gid of whoever connected.
_UCRED: Final = struct.Struct("=3i")


class ControlSocket:
    """The socket at *path*, ours from construction to :meth:`close`.

    It is claimed before anything else, so that of two supervisors started at once only
    one goes on; who connects before :meth:`serve` waits.
    """

    def __init__(self, path: Path, listening: socket.socket | None = None) -> None:
        """Claim *path*; a socket that a dead server left is replaced.

        *listening* is the socket of a predecessor that has bound it there already.

        Raises:
            UnavailableError: a live server has it, or the file system refuses.
            PrivilegeError: this user may not write there.
        """
        self._path = path
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_handed_on = False
        self._handler: Handler | None = None
        try:
            if listening is None:
                path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                _remove_stale(path)
                listening = _bind(path)
            self._socket = listening
            self._inode = path.stat().st_ino
        except OSError as exc:
            raise _refusal(path, exc) from exc

    async def serve(self, handler: Handler) -> None:
        """Answer each request with what *handler* returns; its errors are refusals.

        A request is told by `from_pid` which process it came from. A response may hold
        a socket as `channel`: it goes along as a descriptor, and is closed here.
        """
        self._handler = handler

        async def connected(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            task = asyncio.current_task()
            assert task is not None, "asyncio runs every connection as a task"
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await _converse(reader, writer, handler)

        # Python 3.13 would remove a path that a successor has taken over.
        keep: dict[str, Any] = (
            {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        )
        self._server = await asyncio.start_unix_server(
            connected, sock=self._socket.dup(), limit=MAX_LINE_OCTETS, **keep
        )

    def fileno(self) -> int:
        """Return the listening descriptor, for a successor."""
        return self._socket.fileno()

    def pause(self) -> None:
        """Take no more requests; who connects waits for somebody to serve again."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def resume(self) -> None:
        """Take requests again, after :meth:`pause`."""
        assert self._handler is not None, "serve() comes first"
        await self.serve(self._handler)

    def hand_on(self) -> None:
        """Leave the path to a successor, which has the socket."""
        self._is_handed_on = True

    async def close(self) -> None:
        """Take no more requests, finish those in progress, remove the socket."""
        self.pause()
        self._socket.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_WRITE_TIMEOUT_S)
        if self._is_handed_on:
            return
        try:
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        except FileNotFoundError:
            pass
        except OSError as exc:
            _LOG.warning(
                "control_socket_left path=%s error=%s", self._path, exc.strerror
            )


async def _converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler
) -> None:
    try:
        async with asyncio.timeout(_READ_TIMEOUT_S):
            line = await reader.readline()
        if line:
            response = await _respond(line, handler, _peer_pid(writer))
            channel = response.pop("channel", None)
            octets = json.dumps(response).encode() + b"\n"
            if channel is None:
                writer.write(octets)
            else:
                with channel:
                    _send_with(writer, octets, channel)
            async with asyncio.timeout(_WRITE_TIMEOUT_S):
                await writer.drain()
    except (OSError, TimeoutError, ValueError) as exc:
        _LOG.debug("control_client_lost error=%s", exc)
    finally:
        writer.close()


def _peer_pid(writer: asyncio.StreamWriter) -> int:
    """Return the pid of the client, as the kernel vouches for it."""
    sock = writer.get_extra_info("socket")
    octets = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid: int = _UCRED.unpack(octets)[0]
    return pid


def _send_with(
    writer: asyncio.StreamWriter, octets: bytes, channel: socket.socket
) -> None:
    """Send a short line with a descriptor, past the transport, which knows none."""
    fd = os.dup(writer.get_extra_info("socket").fileno())
    with socket.socket(fileno=fd) as connection:
        socket.send_fds(connection, [octets], [channel.fileno()])


async def _respond(line: bytes, handler: Handler, from_pid: int) -> ControlResponse:
    try:
        request = json.loads(line)
    except ValueError:
        request = None
    if not isinstance(request, dict):
        return {"ok": False, "reason": "want one JSON object on one line"}
    try:
        return {"ok": True, **await handler({**request, "from_pid": from_pid})}
    except DnsfrontError as exc:
        return {"ok": False, "reason": str(exc)}


def _remove_stale(path: Path) -> None:
    """Remove the socket of a server that is gone.

    Raises:
        UnavailableError: a server listens there.
        OSError: it cannot be told, or not be removed.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # noqa: FBT003 - its signature
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            if not path.is_socket():
                raise FileExistsError(errno.EEXIST, "is no socket") from None
            path.unlink()
            return
        except BlockingIOError:
            pass  # its queue is full, so somebody has one
    raise UnavailableError(
        f"admin.socket {path}: another dnsfront runs with it (`dnsfront status`); stop "
        "that one or change admin.socket"
    )


def _bind(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(_PRIVATE_UMASK)
    try:
        sock.bind(str(path))
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(umask)
    return sock


def _refusal(path: Path, exc: OSError) -> DnsfrontError:
    if exc.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return PrivilegeError(
            f"admin.socket {path}: no right to make the socket ({exc.strerror}); run "
            "as root or change admin.socket"
        )
    return UnavailableError(
        f"admin.socket {path}: cannot make the socket: {exc.strerror}; change "
        "admin.socket"
    )
