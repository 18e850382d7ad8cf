"""A worker dies: the next in line answers its names, its queries wait, it is back."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

import dns.message
import pytest

from tests.kern.queries import qname_of
from tests.system.clients import ask_all, nsid_of, nsid_query, receive
from tests.system.front import DEMO_ZONE, FrontEnd
from tests.system.load import under_load
from tests.system.metrics import responded, steered
from tests.waiting import eventually

NAMES = [f"name{number}.example.test" for number in range(400)]
QNAMES = [qname_of(name) for name in NAMES]
#: What a worker may have taken and not answered when it dies: one batch.
BATCH = 64
SO_RCVBUFFORCE = 33
#: Datagrams that may wait for a worker, however little waits for the others.
BACKLOG_FLOOR = 256


@pytest.fixture(scope="module")
def front(folder: Path) -> Iterator[FrontEnd]:
    """A front end that serves with all its workers, before each test and after it."""
    with FrontEnd(folder, zones=[DEMO_ZONE]) as made:
        yield made


@pytest.fixture(autouse=True)
def _all_are_up(front: FrontEnd) -> Iterator[None]:
    yield
    eventually(front.is_ready, within_s=10)


def answered_by(front: FrontEnd) -> dict[str, str]:
    """Return who answers each name."""
    responses = ask_all(front.address, QNAMES)
    return dict(zip(NAMES, map(nsid_of, responses), strict=True))


def is_back(front: FrontEnd, name: str, old_pid: int) -> bool:
    worker = front.worker(name)
    return bool(worker["state"] == "up" and worker["pid"] != old_pid)


def test_killed_worker_is_back_within_two_seconds(front: FrontEnd) -> None:
    before = front.metrics().counts()
    pids = front.pids()

    os.kill(pids["w2"], signal.SIGKILL)
    eventually(lambda: is_back(front, "w2", pids["w2"]), within_s=2)

    after = front.pids()
    assert {name for name in pids if after[name] != pids[name]} == {"w2"}
    front.expect(before, {"worker_restarts": 1})
    preferences = front.lookup(NAMES)
    assert answered_by(front) == {x: preferences[x][0] for x in NAMES}


def freeze_successor(front: FrontEnd, name: str) -> int:
    """Kill a worker and stop its successor before that serves; return the new pid.

    An interpreter takes a tenth of a second to start, so it is nearly always met in
    time; if not, it dies too.
    """
    while True:
        old_pid = front.worker(name)["pid"]
        os.kill(old_pid, signal.SIGKILL)
        pid = eventually(partial(successor, front, name, old_pid))
        os.kill(pid, signal.SIGSTOP)
        if front.worker(name)["state"] == "starting":
            return pid


def successor(front: FrontEnd, name: str, old_pid: int) -> int:
    pid = front.worker(name)["pid"]
    return 0 if pid in {None, old_pid} else int(pid)


def test_names_of_a_dead_worker_are_answered_by_the_next_in_the_preference_list(
    front: FrontEnd,
) -> None:
    preferences = front.lookup(NAMES)
    orphans = [name for name in NAMES if preferences[name][0] == "w3"]
    rest = len(NAMES) - len(orphans)
    pid = freeze_successor(front, "w3")

    with front.counting(
        steered(len(orphans), "backup")
        + steered(rest)
        + responded(len(NAMES), "zone", "NXDOMAIN")
    ):
        while_away = answered_by(front)

    assert while_away == {name: preferences[name][name in orphans] for name in NAMES}
    assert front.metrics().value("worker_up", worker="w3") == 0
    assert front.get("/readyz").body == "worker w3 is starting\n"

    os.kill(pid, signal.SIGCONT)
    eventually(front.is_ready)
    with front.counting(
        steered(len(NAMES)) + responded(len(NAMES), "zone", "NXDOMAIN")
    ):
        assert answered_by(front) == {x: preferences[x][0] for x in NAMES}


def test_queries_that_waited_for_a_dead_worker_are_answered_by_its_successor(
    front: FrontEnd,
) -> None:
    preferences = front.lookup(NAMES)
    mine = [name for name in NAMES if preferences[name][0] == "w1"]
    pid = front.pids()["w1"]
    os.kill(pid, signal.SIGSTOP)

    with (
        front.counting(
            steered(len(mine))
            + responded(len(mine), "zone", "NXDOMAIN")
            + Counter({"worker_restarts": 1})
        ),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        for number, name in enumerate(mine):
            sock.sendto(nsid_query(qname_of(name), number), front.address)
        eventually(lambda: front.worker("w1")["backlog"] == len(mine))
        os.kill(pid, signal.SIGKILL)
        responses = [dns.message.from_wire(receive(sock)) for _ in mine]

    assert sorted(response.id for response in responses) == list(range(len(mine)))
    assert {nsid_of(response) for response in responses} == {"w1"}


def test_worker_that_hangs_is_replaced_and_its_names_are_answered_meanwhile(
    front: FrontEnd,
) -> None:
    preferences = front.lookup(NAMES)
    mine = [name for name in NAMES if preferences[name][0] == "w2"]
    pids = front.pids()
    restarts = front.metrics().value("worker_restarts_total", worker="w2")

    os.kill(pids["w2"], signal.SIGSTOP)
    with under_load(front.address, mine, per_second=200) as load:
        eventually(partial(is_back, front, "w2", pids["w2"]), within_s=5)

    assert not load.lost
    assert front.metrics().value("worker_restarts_total", worker="w2") == restarts + 1
    assert {**front.pids(), "w2": 0} == {**pids, "w2": 0}


def test_names_of_a_worker_that_lags_behind_overflow_to_the_next(
    front: FrontEnd,
) -> None:
    preferences = front.lookup(NAMES)
    mine = [name for name in NAMES if preferences[name][0] == "w1"]
    asked = (mine * BACKLOG_FLOOR)[: BACKLOG_FLOOR + 50]
    pid = front.pids()["w1"]
    os.kill(pid, signal.SIGSTOP)

    # A backlog of the floor is still within the bound, so one more fits.
    over = len(asked) - BACKLOG_FLOOR - 1
    with (
        front.counting(
            steered(len(asked) - over)
            + steered(over, "overflow")
            + responded(len(asked), "zone", "NXDOMAIN")
        ),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 20)
        for number, name in enumerate(asked):
            sock.sendto(nsid_query(qname_of(name), number), front.address)
        passed_on = [dns.message.from_wire(receive(sock)) for _ in range(over)]
        os.kill(pid, signal.SIGCONT)
        waited = [dns.message.from_wire(receive(sock)) for _ in asked[over:]]

    assert {x.id: nsid_of(x) for x in passed_on} == {
        number: preferences[asked[number]][1]
        for number in range(len(asked) - over, len(asked))
    }
    assert {nsid_of(response) for response in waited} == {"w1"}


def test_counters_never_fall_through_a_death(front: FrontEnd) -> None:
    answered_by(front)
    before = front.metrics()
    pid = front.pids()["w4"]

    os.kill(pid, signal.SIGKILL)
    seen = [before.counts()]
    while not is_back(front, "w4", pid):
        seen.append(front.metrics().counts())

    for earlier, later in pairwise(seen):
        assert not earlier - later
    assert front.metrics().by_worker("steered_total") == before.by_worker(
        "steered_total"
    )
    assert front.metrics().by_worker("queries_total", transport="udp") == (
        before.by_worker("queries_total", transport="udp")
    )


def test_kill_under_load_loses_no_more_than_the_batch_in_hand(front: FrontEnd) -> None:
    pids = front.pids()

    with under_load(front.address, NAMES, per_second=500) as load:
        for name in ("w1", "w2", "w3", "w4"):
            os.kill(pids[name], signal.SIGKILL)
            eventually(partial(is_back, front, name, pids[name]))

    assert load.sent
    assert len(load.lost) <= 4 * BATCH


def test_worker_that_dies_again_and_again_is_left_out_and_the_rest_serve(
    tmp_path: Path,
) -> None:
    with FrontEnd(tmp_path, zones=[DEMO_ZONE]) as front:
        leave_out(front)


def leave_out(front: FrontEnd) -> None:
    preferences = front.lookup(NAMES)
    started_at = time.monotonic()

    def has_died() -> bool:
        worker = front.worker("w1")
        if worker["pid"] is not None:
            # The process that the status told of may be gone by now.
            with suppress(ProcessLookupError):
                os.kill(worker["pid"], signal.SIGKILL)
        return bool(worker["state"] == "failed")

    eventually(has_died, within_s=10)

    assert time.monotonic() - started_at > 0.7  # starts are put off, ever longer
    assert answered_by(front) == {
        name: preferences[name][preferences[name][0] == "w1"] for name in NAMES
    }
    assert "worker_left_out worker=w1" in front.log()
    assert front.get("/readyz").body == "worker w1 is failed\n"
