"""A change is applied or nothing of it is, whatever refuses, and drains are honest."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from dnsfront.errors import DnsfrontError, KernelError
from dnsfront.ipc import memory
from dnsfront.ipc.messages import Drain, Flush, Order
from dnsfront.ipc.spec import Listener, PoolSettings, UpstreamServer
from dnsfront.ipc.stats import Counter
from dnsfront.supervisor.change import candidate
from dnsfront.supervisor.change.reload import Reloader
from dnsfront.supervisor.front import Front
from tests.unit.supervisor_fakes import (
    PlayedProcess,
    everything_due,
    free_port,
    play,
    played,
    write_config,
)

__all__ = ["played"]

Played = type[PlayedProcess]


def state(front: Front) -> tuple[object, ...]:
    """Return all that a change may change."""
    return (
        front.in_force.candidate,
        front.roster.names,
        front.roster.ids,
        front.datapath.groups.listeners,
        len(front.datapath.groups),
        front.datapath.publisher.table,
        front.datapath.publisher.generation,
        front.datapath.publisher.slots_moved,
        front.roster._around.spec,
        front.endpoint.server,
        front.datapath.steering.live_ids(),
        [PlayedProcess.by_name[name].spec for name in front.roster.names],
    )


def refuse(error: Exception) -> Callable[..., None]:
    def refused(*_arguments: object, **_more: object) -> None:
        raise error

    return refused


STEERING = "datapath.steering"
NO_KERNEL = KernelError("publish: ENOMEM")
NO_MEMORY = OSError(errno.EMFILE, "Too many open files")


@pytest.mark.parametrize(
    ("part", "method", "error"),
    [
        pytest.param(STEERING, "publish", NO_KERNEL, id="the kernel takes no table"),
        pytest.param(STEERING, "attach", NO_KERNEL, id="no group can be steered"),
        pytest.param(STEERING, "add_group", NO_KERNEL, id="no room for a listener"),
        pytest.param("broadcast", "transfer", NO_MEMORY, id="no descriptor to move"),
        pytest.param("broadcast", "read_all", NO_MEMORY, id="workers are not told"),
        pytest.param("health", "watch", NO_MEMORY, id="settings are not taken"),
    ],
)
def test_a_change_that_is_refused_late_leaves_all_as_it_was(
    played: Played,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    method: str,
    error: Exception,
) -> None:
    async def story(front: Front, reloader: Reloader) -> None:
        before = state(front)
        path = write_config(tmp_path, workers="3", more="cache: {max_entries: 7}\n")
        text = path.read_text()
        path.write_text(text.replace('"]', f'", "127.0.0.1:{free_port()}"]', 1))
        calls: list[int] = []

        def once(*_arguments: object, **_more: object) -> None:
            if not calls:
                calls.append(1)
                raise error

        with monkeypatch.context() as patch:
            patch.setattr(attrgetter(part)(front), method, once)
            with pytest.raises(DnsfrontError):
                await reloader.reload()
        assert calls
        await everything_due()

        assert state(front) == before
        assert front.reports.status()["config"]["refused"]

        change = await reloader.reload()

        assert change.added == ("w3",)
        assert len({x.endpoint for x in front.datapath.groups.listeners}) == 2
        assert len(front.datapath.groups.listeners) == 4

    play(write_config(tmp_path), story)
    assert played.events


def test_a_table_that_is_refused_is_not_the_one_in_force(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(front: Front, _reloader: Reloader) -> None:
        publisher = front.datapath.publisher
        before = publisher.table, publisher.generation, publisher.slots
        other = candidate.read(write_config(tmp_path, workers="3")).table
        ids = {"w1": 1, "w2": 2, "w3": 3}

        with monkeypatch.context() as patch:
            patch.setattr(front.datapath.steering, "publish", refuse(NO_KERNEL))
            with pytest.raises(KernelError):
                await publisher.publish(other, ids)
            patch.undo()
            patch.setattr(memory, "sealed", refuse(NO_MEMORY))
            with pytest.raises(OSError, match="Too many"):
                await publisher.publish(other, ids)

        assert (publisher.table, publisher.generation, publisher.slots) == before
        assert memory.content(publisher.fd) == publisher._octets
        assert await publisher.publish(other, ids)

    play(write_config(tmp_path), story)
    assert played.events


def test_what_cannot_be_taken_away_does_not_stop_a_change_in_force(
    played: Played,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story(front: Front, _reloader: Reloader) -> None:
        path = write_config(tmp_path)
        text = path.read_text()
        path.write_text(text.replace('"]', f'", "127.0.0.1:{free_port()}"]', 1))
        await front.applier.apply(candidate.read(path))
        after = candidate.read(write_config(tmp_path))

        with monkeypatch.context() as patch:
            patch.setattr(front.datapath.groups, "shut", refuse(NO_KERNEL))
            await front.applier.apply(after)

        assert front.in_force.candidate is after
        assert "change_left_something step=shut" in caplog.text

    play(write_config(tmp_path), story)
    assert played.events


@pytest.mark.parametrize("failing", ["udp", "tcp"])
def test_a_worker_that_joins_by_half_is_bound_anew(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    async def story(front: Front, _reloader: Reloader) -> None:
        worker = next(iter(front.roster))
        front.datapath.groups.leave(worker.worker_id)
        set_socket = front.datapath.steering.set_socket

        def fail(listener: Listener, *rest: Any) -> None:  # noqa: ANN401
            if listener.transport == failing:
                raise NO_KERNEL
            set_socket(listener, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(front.datapath.steering, "set_socket", fail)
            with pytest.raises(KernelError):
                worker.join()
        assert worker.worker_id not in front.datapath.groups
        played.events.clear()

        worker.join()

        assert played.events == [("socket", worker.worker_id)] * 2

    play(write_config(tmp_path), story)


def test_a_flush_waits_for_the_change_under_way(played: Played, tmp_path: Path) -> None:
    async def story(front: Front, reloader: Reloader) -> None:
        write_config(tmp_path, workers="3")
        reloading = asyncio.create_task(reloader.reload())
        while not any(event[0] == "configure" for event in played.events):
            await asyncio.sleep(0)
            if reloading.done() or front.roster.names[-1] == "w3":
                break

        flushed = await reloader.flush(Flush(None, is_suffix=False))

        assert reloading.done()
        assert flushed == 9
        ops = [event[0] for event in played.events]
        assert ops.index("flush") > max(
            at
            for at, op in enumerate(ops)
            if op in {"transfer", "catch_up", "published"}
        )

    play(write_config(tmp_path), story)


def test_a_worker_that_does_not_finish_is_told_with_what_it_had(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = PlayedProcess.send

    def deaf(self: PlayedProcess, order: Order[Any]) -> None:
        if not isinstance(order, Drain):
            send(self, order)

    def kill(self: PlayedProcess) -> None:
        self.ending = "signal=9"
        asyncio.get_running_loop().call_soon(self.die)

    monkeypatch.setattr(PlayedProcess, "send", deaf)
    monkeypatch.setattr(PlayedProcess, "kill", kill)

    async def story(front: Front, reloader: Reloader) -> None:
        front.roster._around.drain_timeout_s = 0.01
        words = front.roster.tallies["w2"].words
        words[Counter.PENDING], words[Counter.TCP_OPEN] = 3, 1

        change = await reloader.drain("w2")

        [ended] = change.ended
        assert (ended.worker, ended.pending, ended.connections) == ("w2", 3, 1)
        assert front.roster.names == ("w1",)

    play(write_config(tmp_path), story)
    assert played.events


@pytest.mark.parametrize(
    ("timeout_s", "servers", "least_s"),
    [(0.1, 1, 5), (2, 1, 6), (30, 2, 90), (30, 0, 5)],
)
def test_a_drain_waits_as_long_as_a_query_may_be_pending(
    played: Played, tmp_path: Path, timeout_s: float, servers: int, least_s: float
) -> None:
    async def story(front: Front, _reloader: Reloader) -> None:
        server = UpstreamServer(0, "192.0.2.1", 53, socket.AF_INET, 1)
        before = front.roster._around.spec
        pool = PoolSettings("chash", timeout_s, (server,) * servers)
        spec = replace(before, upstreams=pool)

        await front.broadcast.configure(spec)
        assert least_s <= front.roster.drain_timeout_s <= least_s + 2
        # Queries of before may still be pending when the next config is in force.
        await front.broadcast.configure(before)
        assert least_s <= front.roster.drain_timeout_s <= least_s + 2

    play(write_config(tmp_path), story)
    assert played.events
