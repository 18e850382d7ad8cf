"""What holds at any time, when nobody asks, and when all is as at the start."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.soak import model
from tests.soak.clients import SERVICE
from tests.soak.orphans import is_running
from tests.soak.world import BrokenError, World
from tests.system.clients import ask
from tests.system.metrics import Metrics
from tests.system.remains import children_of, descriptors_of, held_by

_FAULTS: Final = ("Traceback", "query_failed", "task_failed", "command_failed")
#: A worker that cannot take an order for want of descriptors is replaced.
_FEW_DESCRIPTORS: Final = ("Too many open files", "the message was cut")
#: What may grow by so much over the first time that all was as at the start.
_MORE_DESCRIPTORS: Final = 8
_MORE_THREADS: Final = 2
_MORE_MEMORY: Final = 24 << 20
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Counted:
    """What had happened when nobody asked: by clients' count, and by the server's."""

    pid: int
    sent: int
    answered: int
    in_kernel: int
    queries: int
    responses: int
    counters: dict[tuple[str, frozenset[tuple[str, str]]], float]


def count(world: World) -> Counted:
    """Return the counts of now; call this while nobody asks."""
    metrics = world.front.metrics()
    udp, tcp = world.clients.udp, world.clients.tcp
    in_kernel = sum(_values(metrics, "dnsfront_kernel_cache_hits_total"))
    return Counted(
        world.pid,
        udp.sent + world.own_sent,
        udp.answered + world.own_answered,
        in_kernel,
        sum(_values(metrics, "dnsfront_queries_total", transport="udp")),
        sum(_values(metrics, "dnsfront_responses_total")) - tcp.answered,
        {
            (x.name, frozenset(x.labels.items())): x.value
            for x in metrics.samples
            if x.name.endswith(("_total", "_count"))
        },
    )


def _values(metrics: Metrics, name: str, **labels: str) -> list[int]:
    return [
        int(sample.value)
        for sample in metrics.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]


def check_log(world: World, read_to: int) -> int:
    """Raise a fault that the log tells of; return how far it was read."""
    path = world.folder / "dnsfront.log"
    with path.open("rb") as log:
        log.seek(read_to)
        text = log.read().decode(errors="replace")
    for line in text.splitlines():
        is_told = any(x in line for x in _FAULTS)
        if is_told and not any(x in line for x in _FEW_DESCRIPTORS):
            at = text.index(line)
            raise BrokenError("no fault is logged", text[max(0, at - 300) : at + 1500])
    return read_to + len(text.encode())


def check_counts(world: World, before: Counted | None) -> Counted:
    """Raise what clients saw and the server did not count; return the new counts.

    Nothing is compared across a restart, nor while strangers asked, whom nobody counts.
    """
    with world.quiet():
        # What is sent is counted at the end of the round.
        world.pause(0.1)
        after = count(world)
    is_same = before is not None and before.pid == after.pid
    world.in_kernel += after.in_kernel - (before.in_kernel if before and is_same else 0)
    is_counting, world.is_counting = world.is_counting, True
    unsure, world.unsure = world.unsure, 0
    if before is None or before.pid != after.pid:
        return after
    fallen = [
        (name, value, after.counters.get(name, 0))
        for name, value in before.counters.items()
        if after.counters.get(name, 0) < value and not name[0].startswith(_MAY_GO)
    ]
    if fallen:
        raise BrokenError("no counter falls", repr(fallen[:3]))
    if not is_counting:
        return after
    sent, answered = after.sent - before.sent, after.answered - before.answered
    queries = after.queries - before.queries
    if not answered - unsure <= queries <= sent:
        text = f"clients sent {sent} and had {answered}, the server counts {queries}"
        raise BrokenError("queries add up", text)
    responses = after.responses - before.responses
    if responses < answered - unsure:
        text = f"clients had {answered} over UDP, the server counts {responses}"
        raise BrokenError("responses add up", text)
    return after


#: Of upstreams that are no more, counters may go too.
_MAY_GO: Final = ("dnsfront_upstream",)


@dataclass(frozen=True)
class Held:
    """What the server holds when all is as at the start."""

    pid: int
    descriptors: int
    worker_descriptors: int
    threads: int
    processes: int
    objects: int
    memory: int
    worker_memory: int


def hold(world: World) -> Held:
    """Return what the server holds now."""
    workers = [x["pid"] for x in world.workers().values() if x["pid"]]
    pids = [world.pid, *workers]
    return Held(
        pid=world.pid,
        descriptors=descriptors_of(world.pid),
        worker_descriptors=max(map(descriptors_of, workers)),
        threads=sum(len(list(Path(f"/proc/{x}/task").iterdir())) for x in pids),
        processes=len([x for x in children_of(world.pid) if is_running(x)]),
        objects=len(held_by(world.pid).objects),
        memory=_memory(world.pid),
        worker_memory=max(map(_memory, workers)),
    )


def _memory(pid: int) -> int:
    """Return the octets of memory that a process alone has."""
    text = Path(f"/proc/{pid}/statm").read_text("ascii").split()
    return (int(text[1]) - int(text[2])) * _PAGE


def check_flat(world: World) -> None:
    """Raise what grew since the first time that all was as at the start."""

    def is_flat() -> bool:
        now = hold(world)
        if not world.held:
            world.held.append(now)
        first = world.held[0]
        for field, more in (
            ("descriptors", _MORE_DESCRIPTORS),
            # Ports to upstreams and clients' connections come and go.
            ("worker_descriptors", 64 + _MORE_DESCRIPTORS),
            ("threads", _MORE_THREADS),
            ("processes", 0),
            ("objects", 0),
            ("memory", _MORE_MEMORY),
            ("worker_memory", _MORE_MEMORY),
        ):
            was, is_now = getattr(first, field), getattr(now, field)
            assert is_now <= was + more, f"{field}: {was} at first, {is_now} now"
        world.held.append(now)
        return True

    world.eventually(is_flat, "what is held stays flat", 15)


def state(world: World) -> dict[str, Any]:
    """Return all that is to be equal between this server and one that just started."""
    status = world.ask("status")
    metrics = world.front.metrics()
    names = [f"{label}.{zone}" for zone in model.ZONES for label in ("n0", "n7", "www")]
    return {
        "workers": {
            x["name"]: [x["slots"], x["state"], x["standby"]] for x in status["workers"]
        },
        "upstreams": {x["address"]: x["up"] for x in status["upstreams"]},
        "listen": sorted(status["listen"]),
        "kernel": status["kernel"]["steering"],
        "not_ready": status["not_ready"],
        "ready": world.front.get("/readyz").status,
        "zones": {name: _told(name) for name in names},
        "workers up": sorted(
            x.labels["worker"]
            for x in metrics.samples
            if x.name == "dnsfront_worker_up" and x.value
        ),
        "backlog": sum(_values(metrics, "dnsfront_worker_backlog")),
        "pending": sum(_values(metrics, "dnsfront_pending_queries")),
    }


def _told(name: str) -> str:
    response = ask(SERVICE, name, nsid=False)
    told = [x.to_text() for x in response.answer if not x.to_text().count(" 10.")]
    return " | ".join([str(int(response.rcode())), *told])


def check_as_fresh(world: World) -> None:
    """Raise how this server differs from one that starts now with the same files."""

    def take(state_of: Callable[[World], dict[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def is_at_rest() -> bool:
            found.update(state_of(world))
            assert found["backlog"] == found["pending"] == 0, found
            return True

        world.eventually(is_at_rest, "nothing waits when nobody asks", 10)
        return found

    world.undo_what_is_due(is_all=True)
    for worker in sorted(world.drained):
        world.ask("undrain", worker=worker)
    world.drained.clear()
    world.expect_workers()
    world.expect_misses()
    with world.quiet():
        was = take(state)
        world.stop()
        world.front.launch()
        world.front.wait_ready()
        world.expect_misses()
        fresh = take(state)
    differing = {key: (was[key], fresh[key]) for key in was if was[key] != fresh[key]}
    if differing:
        raise BrokenError("the end is as a fresh start", repr(differing))
