"""Where a run lives: processes, mounts and networks of its own, which end with it.

Whatever happens to the run, even a SIGKILL, the kernel takes all of it away: the run is
the first process of its namespace, and nothing in it has a name outside.

Two networks are joined by two cables. The world has the clients and the upstreams, the
host has the front end: *clients* is the cable that queries come by, *upstreams* the one
that misses leave by.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Final

#: A file system in memory, seen by the run alone.
SCRATCH: Final = Path("/run/soak")
_IN_MEMORY: Final = "/run"

_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWNET: Final = 0x40000000
_CLONE_NEWPID: Final = 0x20000000
_MS_REC_PRIVATE: Final = 0x4000 | 0x40000
_PR_SET_PDEATHSIG: Final = 1
_libc: Final = ctypes.CDLL(None, use_errno=True)

WORLD: Final = "10.1.0.1"
#: A second client, whom access lists may leave out.
STRANGER: Final = "10.1.0.9"
HOST: Final = "10.1.0.2"
RESOLVERS: Final = "10.2.0.1"
RESOLVERS6: Final = "fd00:2::1"
#: The cables, by the names of their ends at the host.
CLIENTS: Final = "clients"
UPSTREAMS: Final = "upstreams"


def confine(run: Callable[[], int]) -> int:
    """Return what *run* returns, called in namespaces of its own.

    Raises:
        OSError: the system gives none.
    """
    _call("unshare", _CLONE_NEWPID)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os._exit(_first_process(run))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells the run too

    def pass_on(number: int, _frame: FrameType | None) -> None:
        os.kill(pid, number)

    signal.signal(signal.SIGTERM, pass_on)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _first_process(run: Callable[[], int]) -> int:
    code = os.EX_SOFTWARE
    try:
        _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGTERM, _interrupt)
        _call("unshare", _CLONE_NEWNS | _CLONE_NEWNET)
        _mount(b"none", b"/", None, _MS_REC_PRIVATE)
        _mount(b"proc", b"/proc", b"proc", 0)
        _mount(b"none", _IN_MEMORY.encode(), b"tmpfs", 0)
        SCRATCH.mkdir()
        code = run()
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except BaseException:  # noqa: BLE001 - there is nobody above
        sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class Host:
    """The network of the front end, joined to the world, in which this process is."""

    def __init__(self) -> None:
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        _call("unshare", _CLONE_NEWNET)
        self._network = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        _call("setns", home, _CLONE_NEWNET)
        self._home = home
        self._address_number = 2
        _ip("link set lo up")
        self.ip("link set lo up")
        place = f"/proc/{os.getpid()}/fd/{self._network}"
        for cable in (CLIENTS, UPSTREAMS):
            _ip(f"link add {cable}0 type veth peer name {cable} netns {place}")
            _ip(f"link set {cable}0 up")
            self.ip(f"link set {cable} up")
        for address in (f"{WORLD}/24", f"{STRANGER}/24", "fd00:1::1/64"):
            _ip(f"addr add {address} dev {CLIENTS}0{_nodad(address)}")
        for address in (f"{HOST}/24", "fd00:1::2/64"):
            self.ip(f"addr add {address} dev {CLIENTS}{_nodad(address)}")
        for address in (f"{RESOLVERS}/24", f"{RESOLVERS6}/64"):
            _ip(f"addr add {address} dev {UPSTREAMS}0{_nodad(address)}")
        self._address(2, "add")

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Have the calling thread, and what it starts, in the host's network."""
        _call("setns", self._network, _CLONE_NEWNET)
        try:
            yield
        finally:
            _call("setns", self._home, _CLONE_NEWNET)

    def ip(self, arguments: str) -> None:
        """Run ip(8) at the host."""
        with self.inside():
            _ip(arguments)

    def renumber(self, number: int) -> None:
        """Give the host another address towards the upstreams, and take the old."""
        if number == self._address_number:
            return
        self._address(self._address_number, "del")
        self._address(number, "add")
        self._address_number = number

    def unplug(self, cable: str) -> None:
        """Take a cable out."""
        self.ip(f"link set {cable} down")

    def plug(self, cable: str) -> None:
        """Put a cable back, with the addresses that IPv6 lost."""
        self.ip(f"link set {cable} up")
        number = self._address_number
        lost = "fd00:1::2" if cable == CLIENTS else f"fd00:2::{number}"
        with contextlib.suppress(subprocess.CalledProcessError):
            self.ip(f"addr add {lost}/64 dev {cable} nodad")

    def _address(self, number: int, what: str) -> None:
        for address in (f"10.2.0.{number}/24", f"fd00:2::{number}/64"):
            nodad = _nodad(address) if what == "add" else ""
            self.ip(f"addr {what} {address} dev {UPSTREAMS}{nodad}")


def _nodad(address: str) -> str:
    return " nodad" if ":" in address else ""


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True, capture_output=True)


def _mount(source: bytes, target: bytes, kind: bytes | None, flags: int) -> None:
    _call("mount", source, target, kind, ctypes.c_ulong(flags), None)


def _call(function: str, *arguments: object) -> None:
    if getattr(_libc, function)(*arguments):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), function)
