"""What /proc says about CPU time and memory; it reads and never writes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
_PROC: Final = Path("/proc")
#: The process whose children are the kernel's threads.
_KERNEL_THREADS: Final = 2
_TIMERS: Final = _PROC / "timer_list"
_IDLE: Final = re.compile(r"\.(?:idle|iowait)_sleeptime\s*: (\d+) nsecs")


@dataclass(frozen=True)
class Cpu:
    """CPU time, as charged by the kernel; user and system apart."""

    user_s: float = 0
    system_s: float = 0

    @property
    def total_s(self) -> float:
        return self.user_s + self.system_s

    def __add__(self, other: Cpu) -> Cpu:
        return Cpu(self.user_s + other.user_s, self.system_s + other.system_s)

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(self.user_s - other.user_s, self.system_s - other.system_s)


@dataclass(frozen=True)
class Activity:
    """How long something ran, to the nanosecond, and how often it was switched to."""

    ran_s: float
    switches: int

    def __sub__(self, other: Activity) -> Activity:
        return Activity(self.ran_s - other.ran_s, self.switches - other.switches)


@dataclass(frozen=True)
class Memory:
    """Resident memory: whole (RSS), and with shared pages divided up (PSS)."""

    rss_bytes: int
    pss_bytes: int


def _stat_fields(pid: int) -> list[str] | None:
    """Return what follows the name in /proc/PID/stat, or None when it is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def tree(root_pid: int) -> list[int]:
    """Return *root_pid* and its descendants, parents before children."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat_fields(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root_pid]
    for pid in found:
        found.extend(sorted(children.get(pid, [])))
    return found


def cpu_of(pids: Iterable[int]) -> Cpu:
    """Return the CPU time that *pids* have used so far, all threads together."""
    used = Cpu()
    for pid in pids:
        if fields := _stat_fields(pid):
            used += Cpu(
                int(fields[11]) / _TICKS_A_SECOND, int(fields[12]) / _TICKS_A_SECOND
            )
    return used


def activity_of(pids: Iterable[int]) -> Activity:
    """Return what the threads of *pids* that are alive did so far."""
    ran_ns = switches = 0
    for pid in pids:
        for task in (_PROC / str(pid) / "task").iterdir():
            ran, _waited, slices = (task / "schedstat").read_text().split()
            ran_ns += int(ran)
            switches += int(slices)
    return Activity(ran_ns / 1e9, switches)


@dataclass(frozen=True)
class Others:
    """How long each process ran that is neither ours nor the kernel's own."""

    ran_ns: Mapping[int, int]

    @classmethod
    def now(cls) -> Others:
        own = {*tree(os.getpid()), *tree(_KERNEL_THREADS)}
        pids = {int(x.name) for x in _PROC.iterdir() if x.name.isdigit()} - own
        ran_ns = {}
        for pid in pids:
            with suppress(FileNotFoundError, ProcessLookupError):
                ran_ns[pid] = int(activity_of([pid]).ran_s * 1e9)
        return cls(ran_ns)

    def __sub__(self, other: Others) -> float:
        """Return the seconds since *other*, less what has ended meanwhile."""
        changes = (ns - other.ran_ns.get(pid, 0) for pid, ns in self.ran_ns.items())
        return sum(max(0, change) for change in changes) / 1e9


def machine_busy_s() -> float:
    """Return the CPU time that the whole machine has used so far, interrupts too.

    As root it is the time in which no CPU was idle, to the microsecond. Otherwise it is
    what ticks found running: work that begins or ends with a tick is counted badly.
    """
    with suppress(OSError):
        return sum(map(_busy_ns, sorted(os.sched_getaffinity(0)))) / 1e9
    return _sampled_busy_s()


def _busy_ns(cpu: int) -> int:
    """Return how long *cpu* was not idle, since the start and by an unknown amount.

    Its idle time is added up when it leaves that state, so we go there to read.
    """
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {cpu})
        text = _TIMERS.read_text()
    finally:
        os.sched_setaffinity(0, allowed)
    now = int(text.partition("now at ")[2].partition(" ")[0])
    own = text.partition(f"\ncpu: {cpu}\n")[2].partition("\ncpu: ")[0]
    return now - sum(map(int, _IDLE.findall(own)))


def _sampled_busy_s() -> float:
    with (_PROC / "stat").open() as file:
        fields = file.readline().split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq = map(int, fields[:7])
    return (user + nice + system + irq + softirq) / _TICKS_A_SECOND


def memory_of(pid: int) -> Memory:
    """Return how much memory *pid* holds now."""
    sizes = {}
    for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]:
        key, _, value = line.partition(":")
        sizes[key] = int(value.split()[0]) * 1024
    return Memory(rss_bytes=sizes["Rss"], pss_bytes=sizes["Pss"])
