"""A worker that turns against its supervisor; imported into every worker of a test.

What it does stands in the file that TRAITOR names, as `NAME ACT`: the worker with that
name does it once, when it would begin to serve, with all the descriptors that it got.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import socket
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from dnsfront.ipc import channel, identity
from dnsfront.ipc.identity import Identity
from dnsfront.kernel.layouts import described
from dnsfront.worker.process import privileges

READY = json.dumps({"op": "ready", **asdict(Identity.here(described()))}).encode()
_FILE = Path(os.environ["TRAITOR"])
_drop = privileges.drop
_receive = channel.receive
_got: list[int] = []
_control: list[socket.socket] = []


def receive(sock: socket.socket) -> tuple[channel.Plain, list[int]] | None:
    received = _receive(sock)
    if received is not None:
        _control[:] = [sock]
        _got.extend(map(os.dup, received[1]))
    return received


def drop(user: tuple[int, int] | None) -> None:
    _drop(user)
    name, _, act = _FILE.read_text().partition(" ")
    memories = [
        fd for fd in _got if "/memfd:" in str(Path(f"/proc/self/fd/{fd}").readlink())
    ]
    specs = [os.pread(fd, 1 << 20, 0) for fd in memories]
    if act and any(f'"name": "{name}"'.encode() in spec for spec in specs):
        # Its successor is a good one.
        _FILE.write_text("")
        ACTS[act](_control[0])


def grab(_sock: socket.socket) -> None:
    """Try what can be done to each descriptor, note what went through, and serve on."""
    done = []
    for fd in _got:
        with suppress(OSError):
            what = (
                str(Path(f"/proc/self/fd/{fd}").readlink())
                .split("memfd:")[-1]
                .split()[0]
            )
            if "dnsfront-" not in what and "anon_inode:" not in what:
                continue
            done += [f"{what} {deed}" for deed in _tried(fd)]
    _FILE.with_suffix(".done").write_text("\n".join(sorted(set(done))))


def _tried(fd: int) -> list[str]:
    deeds = []
    with suppress(OSError):
        os.ftruncate(fd, 0)
        deeds.append("truncated")
    with suppress(OSError):
        os.ftruncate(fd, 1 << 20)
        deeds.append("grown")
    with suppress(OSError, ValueError):
        mmap.mmap(fd, 16).close()
        deeds.append("mapped to write")
    with suppress(OSError, ValueError):
        mmap.mmap(fd, 16, prot=mmap.PROT_READ).close()
        deeds.append("mapped to read")
    return deeds


def babble(sock: socket.socket) -> None:
    with suppress(OSError):
        while True:
            sock.send(b"[" * 60_000)


def repeat(sock: socket.socket) -> None:
    with suppress(OSError):
        while True:
            sock.send(READY)


def pass_descriptors(sock: socket.socket) -> None:
    with suppress(OSError):
        while True:
            socket.send_fds(sock, [b'{"op": "pong", "id": 1}'], [0] * 200)


def never_listen(sock: socket.socket) -> None:
    sock.send(READY)
    signal.pause()


def leave_the_channel(sock: socket.socket) -> None:
    sock.send(READY)
    sock.shutdown(socket.SHUT_RDWR)
    while True:
        time.sleep(60)


ACTS = {
    act.__name__: act
    for act in (
        grab,
        babble,
        repeat,
        pass_descriptors,
        never_listen,
        leave_the_channel,
    )
}
if _FILE.read_text() == "upgrade":
    # As if another version had been installed since the supervisor began.
    identity.__version__ = "9.9"
channel.receive = receive
privileges.drop = drop
