"""A worker that is alive and does nothing: it is replaced, whatever is under way."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.system.front import DEMO_ZONE, FrontEnd
from tests.system.load import under_load
from tests.waiting import eventually

#: A sign of life is asked for every second, and may be 3 s late.
_REPLACED_WITHIN_S = 12.0


@pytest.fixture(scope="module")
def front(folder: Path) -> Iterator[FrontEnd]:
    with FrontEnd(folder, zones=[DEMO_ZONE]) as made:
        yield made


@pytest.fixture(autouse=True)
def _all_are_up(front: FrontEnd) -> Iterator[None]:
    yield
    eventually(front.is_ready, within_s=10)


def stop(front: FrontEnd, name: str) -> int:
    pid = front.pids()[name]
    os.kill(pid, signal.SIGSTOP)
    return pid


def is_replaced(front: FrontEnd, name: str, old_pid: int) -> bool:
    worker = front.worker(name)
    return bool(worker["state"] == "up" and worker["pid"] != old_pid)


def expect_replaced(front: FrontEnd, name: str, old_pid: int) -> None:
    eventually(partial(is_replaced, front, name, old_pid), _REPLACED_WITHIN_S)


def test_worker_that_hangs_after_reloads_is_replaced(front: FrontEnd) -> None:
    for entries in (1000, 2000, 3000):
        front.configure(cache={"max_entries": entries})
        assert front.command("reload")[0] == 0
    names = [f"name{number}.example.test" for number in range(400)]
    preferences = front.lookup(names)
    mine = [name for name in names if preferences[name][0] == "w2"]
    pids = front.pids()

    stop(front, "w2")
    with under_load(front.address, mine, per_second=200) as load:
        expect_replaced(front, "w2", pids["w2"])

    assert not load.lost
    assert "worker_hung worker=w2" in front.log()
    assert {**front.pids(), "w2": 0} == {**pids, "w2": 0}


def test_worker_that_hangs_without_traffic_is_replaced(front: FrontEnd) -> None:
    pids = front.pids()

    stop(front, "w3")
    expect_replaced(front, "w3", pids["w3"])

    assert {**front.pids(), "w3": 0} == {**pids, "w3": 0}


def test_worker_that_hangs_during_a_reload_does_not_hold_it_up(front: FrontEnd) -> None:
    pid = stop(front, "w1")
    front.configure(cache={"max_entries": 4000})

    assert front.command("reload")[0] == 0

    expect_replaced(front, "w1", pid)
    assert "worker_silent" not in front.log()


def test_worker_that_hangs_does_not_hold_up_its_drain(front: FrontEnd) -> None:
    stop(front, "w4")

    front.command("drain", "w4")

    assert front.worker("w4")["state"] == "drained"
    assert front.command("undrain", "w4")[0] == 0


def test_worker_that_hangs_is_replaced_where_nobody_counts_its_backlog(
    tmp_path: Path,
) -> None:
    # Without bpf(2), names are hashed by workers.
    rights = ("--bounding-set=-bpf,-sys_admin", "--inh-caps=-bpf,-sys_admin")
    with FrontEnd(tmp_path, rights=rights, zones=[DEMO_ZONE]) as front:
        assert front.status()["kernel"]["steering"] == "userspace"
        pid = stop(front, "w2")

        expect_replaced(front, "w2", pid)
