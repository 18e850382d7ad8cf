"""The child that reads zone files and lists, so that nobody who serves does.

It gets one after the other over a socket, and says what is wrong with it or where
its image lies: in a sealed memfd, which small zones share. What it takes is bounded: a
zone that needs more memory than a zone of its size may is refused, and for time it is
the parent that looks.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import json
import os
import resource
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from dnsfront.dns.rules.text import read_list
from dnsfront.dns.zones.compiling import compile_zone
from dnsfront.errors import ListError, ZoneError
from dnsfront.ipc import memory
from dnsfront.supervisor.zones.digests import digest_of

#: The largest zone file that is read, some ten million records.
MAX_FILE_OCTETS: Final = 1 << 30
#: What a zone may take while it is read: so much, and this for each octet of its file.
MEMORY_OCTETS: Final = 128 << 20
_MEMORY_PER_OCTET: Final = 40
#: Zones share a memfd up to this size: descriptors are few, and one change of a small
#: zone must not keep much of what it replaces.
_PACK_OCTETS: Final = 4 << 20

_WORK_S: Final = 0.001
_REST_S: Final = 0.0005
_MOST: Final = 3
_WRITE_OCTETS: Final = 1 << 18
_MAX_PACKET_OCTETS: Final = 1 << 16
_PR_SET_PDEATHSIG: Final = 1
_MAX_REASON: Final = 2000


def main() -> None:
    """Compile what is asked for; the arguments: descriptor of the socket, niceness."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    niceness = int(sys.argv[2])
    os.nice(niceness)
    give_way = _Turns() if niceness else bool
    # Records make no cycles, and looking for some takes a third of the time.
    gc.disable()
    packs = _Packs(channel, give_way)
    is_first = True
    while octets := channel.recv(_MAX_PACKET_OCTETS):
        if is_first:
            # Whoever forked this process may have had no time to end before.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            is_first = False
        request = json.loads(octets)
        if "path" not in request:
            packs.hand_over()
            channel.send(b"{}")
            return
        try:
            files = _Files(Path(request["path"]), channel)
            answer = _compile(files, request["origin"], packs, give_way)
        except ZoneError as exc:
            answer = {"reason": _shortened(str(exc))}
        except MemoryError:
            answer = {"reason": f"{request['path']}: reading it takes over its memory"}
        channel.send(json.dumps(answer).encode())


def _shortened(reason: str) -> str:
    """Return *reason*, which may quote a word of any length, as long as fits a line."""
    if len(reason) <= _MAX_REASON:
        return reason
    return f"{reason[: _MAX_REASON // 2]}...{reason[-_MAX_REASON // 4 :]}"


class _Turns:
    """Lets others run after each millisecond of work.

    Niceness alone is not enough: with one processor to share, what wakes up may wait
    for tenths of a second behind a process that never sleeps. Where others take most
    of the time anyhow there is no need, and it would never come to an end.
    """

    def __init__(self) -> None:
        self._began_at = time.monotonic()
        self._until = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if now > self._until:
            if now - self._began_at < _MOST * time.process_time():
                time.sleep(_REST_S)
                now = time.monotonic()
            self._until = now + _WORK_S


class _Packs:
    """The memfds that images go to, one at a time."""

    def __init__(self, channel: socket.socket, give_way: Callable[[], object]) -> None:
        self._channel = channel
        self._give_way = give_way
        self._fd = -1
        self._size = 0
        self._number = 0

    def add(self, pieces: Iterable[bytes | bytearray | memoryview]) -> dict[str, int]:
        """Return where the image in *pieces* lies from now on."""
        if self._fd < 0:
            self._fd = memory.growing("dnsfront-zones")
            self._size = 0
            self._number += 1
        at = self._size
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                written = os.write(self._fd, rest[:_WRITE_OCTETS])
                self._give_way()
                rest = rest[written:]
                self._size += written
        location = {"pack": self._number, "at": at, "octets": self._size - at}
        if self._size >= _PACK_OCTETS:
            self.hand_over()
        return location

    def hand_over(self) -> None:
        """Seal what there is and pass it on: from now on nobody can change it."""
        if self._fd < 0:
            return
        memory.seal(self._fd)
        message = json.dumps({"memory": self._number}).encode()
        socket.send_fds(self._channel, [message], [self._fd])
        os.close(self._fd)
        self._fd = -1


class _Files:
    """A zone file and those that it includes, which are in its directory or below.

    The parent is told of each before it is read. What may be taken grows with them.
    """

    def __init__(self, path: Path, channel: socket.socket) -> None:
        self.path = path
        self.limit = 0
        self.included: list[str] = []
        self._channel = channel
        self._folder = path.parent.resolve()
        self._octets = 0
        self._before = 0
        self._digests: list[str] = []

    def text(self) -> str:
        """Return what the zone file itself says.

        Raises:
            ZoneError: it cannot be read.
        """
        self._before = _memory_octets()
        return self._read(self.path)

    def octets(self) -> bytes:
        """Return what a list says.

        Raises:
            ZoneError: it cannot be read.
        """
        self._before = _memory_octets()
        return self._read_octets(self.path)

    def include(self, name: str) -> tuple[str, str]:
        """Return path and text of a file to be included.

        Raises:
            ValueError: it is somewhere else, or cannot be read.
        """
        path = self.path.parent / name
        try:
            resolved = path.resolve()
        except (OSError, RuntimeError) as exc:
            raise ValueError(f"$INCLUDE: {path}: {exc}") from exc
        if not resolved.is_relative_to(self._folder):
            raise ValueError(
                f"$INCLUDE: got {path}, want a file in {self._folder} or below, "
                "where the zone file is"
            )
        self._channel.send(json.dumps({"include": str(path)}).encode())
        self._channel.recv(_MAX_PACKET_OCTETS)
        try:
            text = self._read(path)
        except ZoneError as exc:
            raise ValueError(f"$INCLUDE: {exc}") from exc
        self.included.append(str(path))
        return str(path), text

    @property
    def digest(self) -> str:
        """What :func:`digest_of` makes of all files."""
        return digest_of(self._digests)

    def _read_octets(self, path: Path) -> bytes:
        octets = _read(path, MAX_FILE_OCTETS - self._octets)
        self._octets += len(octets)
        self.limit = _bound_memory(self._before, self._octets)
        self._digests.append(hashlib.blake2b(octets, digest_size=16).hexdigest())
        return octets

    def _read(self, path: Path) -> str:
        octets = self._read_octets(path)
        try:
            return octets.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise ZoneError(
                f"{path} has octets that are not UTF-8 at {exc.start}"
            ) from exc


def _compile(
    files: _Files, origin: str, packs: _Packs, give_way: Callable[[], object]
) -> dict[str, Any]:
    """Return what became of a zone, or of a list where there is no *origin*.

    Raises:
        ZoneError: it cannot be served.
        MemoryError: it takes more than it may.
    """
    path = files.path
    try:
        if not origin:
            return _compile_list(files, packs, give_way)
        pieces, records = compile_zone(
            origin, files.text(), str(path), give_way, files.include
        )
        location = packs.add(pieces)
    except MemoryError as exc:
        raise ZoneError(
            f"{path}: reading it takes over {files.limit >> 20} MiB"
        ) from exc
    finally:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "digest": files.digest,
        "included": files.included,
        "records": records,
        "peak_kib": peak_kib,
        **location,
    }


def _compile_list(
    files: _Files, packs: _Packs, give_way: Callable[[], object]
) -> dict[str, Any]:
    """Return what became of a list of names.

    Raises:
        ZoneError: it cannot be used.
    """
    try:
        read = read_list(files.octets(), give_way)
    except ListError as exc:
        raise ZoneError(f"{files.path}: {exc}") from exc
    location = packs.add(read.writer.pieces())
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "digest": files.digest,
        "names": read.writer.names,
        "left_out": read.left_out,
        "told": read.told,
        "peak_kib": peak_kib,
        **location,
    }


def _read(path: Path, most: int) -> bytes:
    """Return what the file at *path* holds.

    Raises:
        ZoneError: it cannot be read, or has more than *most* octets.
    """
    try:
        # Opening what became a FIFO must not wait for a writer.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:  # noqa: PTH123 - a descriptor
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise ZoneError(f"{path} is no regular file")
            # Room for what is asked for is taken first, however little there is.
            octets = file.read(min(status.st_size, most) + 1)
            if status.st_size < len(octets) <= most:
                octets += file.read(most + 1 - len(octets))  # it grows
    except OSError as exc:
        raise ZoneError(f"{path}: {exc.strerror}") from exc
    if len(octets) > most:
        raise ZoneError(f"{path} has over {MAX_FILE_OCTETS >> 20} MiB")
    return octets


def _memory_octets() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    return pages * resource.getpagesize()


def _bound_memory(present: int, file_octets: int) -> int:
    """Let no more be taken than zone files of this size may need; return how much.

    *present* octets were taken before.
    """
    limit = present + MEMORY_OCTETS + _MEMORY_PER_OCTET * file_octets
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    return limit


if __name__ == "__main__":
    main()
