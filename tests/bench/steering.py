"""What the steering program costs per datagram, by the kernel's own count.

The kernel adds some 50 ns to every run while it counts. A program that only returns is
measured in turn with ours, and subtracted.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dnsfront.errors import DnsfrontError
from dnsfront.kernel.maps import SK_REUSEPORT, load_program
from tests.bench.errors import BenchError
from tests.bench.lab import HIT_NAMES, Lab, Round
from tests.bench.peers import DNSFRONT
from tests.bench.server import Server
from tests.kern.bpf import PASS_PROGRAM

EMPTY: Final = "empty program"
STEER: Final = "steer"

_SO_ATTACH_REUSEPORT_EBPF: Final = 52
_SWITCH: Final = Path("/proc/sys/kernel/bpf_stats_enabled")


@dataclass(frozen=True)
class _Runs:
    """What the kernel has counted of one program."""

    count: int
    time_ns: int


def measure(lab: Lab) -> list[Round]:
    """Return ns per run of both programs, round by round.

    Raises:
        BenchError: the kernel does not let us count, or nothing is steered.
    """
    with ExitStack() as stack:
        stack.enter_context(counting())
        program_fd = _load_empty_program()
        stack.callback(os.close, program_fd)

        def attach(sock: socket.socket) -> None:
            sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_EBPF, program_fd)

        empty = lab.start_reflector(stack, attach)
        (steered,) = stack.enter_context(lab.servers([DNSFRONT], reflector=False))
        lab.warm(steered, lab.hit_names, HIT_NAMES)
        rounds = []
        for number in range(1, lab.settings.rounds + 1):
            lab.say(f"steering: round {number} of {lab.settings.rounds}")
            for what, server, holder_pid in (
                (EMPTY, empty, os.getpid()),
                (STEER, steered, steered.pid),
            ):
                seen = _one_round(lab, server, holder_pid)
                rounds.append({"round": number, "server": what, **seen})
        return rounds


def _one_round(lab: Lab, server: Server, holder_pid: int) -> Round:
    load = lab.load(lab.hit_names, lab.settings.seconds / 2)
    before = _runs_of(holder_pid)
    seen = lab.measure(server, load)
    after = _runs_of(holder_pid)
    count, time_ns = after.count - before.count, after.time_ns - before.time_ns
    if count < seen["sent"]:
        raise BenchError(f"{server.name}: only {count} of {seen['sent']} were steered")
    return {"runs": count, "ns_per_run": time_ns / count}


@contextmanager
def counting() -> Iterator[None]:
    """Have the kernel count runs and their time, and set it back afterwards."""
    try:
        before = _SWITCH.read_text()
        _SWITCH.write_text("1\n")
    except OSError as exc:
        raise BenchError(f"{_SWITCH}: {exc.strerror}; run it as root") from exc
    try:
        yield
    finally:
        _SWITCH.write_text(before)


def _load_empty_program() -> int:
    try:
        return load_program("empty", PASS_PROGRAM)
    except DnsfrontError as exc:
        raise BenchError(str(exc)) from exc


def _runs_of(pid: int) -> _Runs:
    """Return the count of the one reuseport program that process *pid* holds."""
    for fields in programs_of(pid):
        if fields["prog_type"] == str(SK_REUSEPORT):
            return _Runs(int(fields["run_cnt"]), int(fields["run_time_ns"]))
    raise BenchError(f"process {pid} holds no program; is steering in user space?")


def programs_of(pid: int) -> Iterator[dict[str, str]]:
    """Yield what the kernel tells of each program that process *pid* holds."""
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            lines = info.read_text().splitlines()
        except FileNotFoundError:
            continue
        fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        if "prog_type" in fields:
            yield fields
