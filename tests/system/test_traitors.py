"""A worker that turns against its supervisor hurts nobody, and is replaced."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.kern.queries import qname_of
from tests.system.clients import ask_all
from tests.system.front import DEMO_ZONE, FrontEnd
from tests.system.processes import ROOT
from tests.waiting import eventually

QNAMES = [qname_of(f"name{number}.example.test") for number in range(50)]


@contextmanager
def with_traitors(rights: Sequence[str] = ()) -> Iterator[tuple[FrontEnd, Path]]:
    """Return a front end, and the file that says which worker turns, and how."""
    # Not pytest's folder, which is root's alone: traitors are nobody in particular.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        orders = folder / "traitor"
        for path in (orders, orders.with_suffix(".done")):
            path.touch()
            path.chmod(0o666)
        (folder / "sitecustomize.py").write_text(
            "import sys\n"
            'if "dnsfront.worker" in sys.orig_argv:\n'
            "    import tests.system.traitor\n"
        )
        env = {
            **os.environ,
            "PYTHONPATH": f"{folder}:{ROOT}",
            "TRAITOR": str(orders),
        }
        with FrontEnd(folder, rights=rights, env=env, zones=[DEMO_ZONE]) as front:
            yield front, orders


@pytest.fixture(scope="module")
def made() -> Iterator[tuple[FrontEnd, Path]]:
    with with_traitors() as pair:
        yield pair


@pytest.fixture
def front(made: tuple[FrontEnd, Path]) -> FrontEnd:
    return made[0]


@pytest.fixture
def orders(made: tuple[FrontEnd, Path]) -> Path:
    return made[1]


def is_another(front: FrontEnd, name: str, pids: set[int | None]) -> bool:
    worker = front.worker(name)
    return bool(worker["state"] == "up" and worker["pid"] not in {None, *pids})


def turn(front: FrontEnd, orders: Path, name: str, act: str) -> int:
    """Have a traitor in place of a good worker; return the first one's pid."""
    pid = front.pids()[name]
    orders.write_text(f"{name} {act}")
    os.kill(pid, signal.SIGKILL)
    return pid


def expect_harmless(front: FrontEnd, orders: Path, load: str) -> None:
    """Prove that a worker can write `load` and its own counters, and resize nothing."""
    pid = turn(front, orders, "w2", "grab")
    eventually(partial(is_another, front, "w2", {pid}))

    deeds = orders.with_suffix(".done").read_text().splitlines()
    assert [deed for deed in deeds if not deed.endswith("mapped to read")] == sorted(
        [f"{load} mapped to write", "dnsfront-stats mapped to write"]
    )
    read = {deed.partition(" ")[0] for deed in deeds if deed.endswith("to read")}
    assert {"dnsfront-health", "dnsfront-live", "dnsfront-stats", load} <= read
    assert len(ask_all(front.address, QNAMES)) == len(QNAMES)


def test_no_worker_can_write_or_resize_what_is_not_its_own(
    front: FrontEnd, orders: Path
) -> None:
    expect_harmless(front, orders, "anon_inode:bpf-map")


def test_nor_can_it_where_no_bpf_may_be_loaded() -> None:
    rights = ("--bounding-set=-bpf,-sys_admin", "--inh-caps=-bpf,-sys_admin")
    with with_traitors(rights) as (front, orders):
        assert front.status()["kernel"]["steering"] == "userspace"
        expect_harmless(front, orders, "dnsfront-load")


@pytest.mark.parametrize(
    ("name", "act"),
    # Each dies twice an act, and five times in a minute would be too often.
    [
        ("w1", "babble"),
        ("w3", "repeat"),
        ("w4", "pass_descriptors"),
        ("w1", "never_listen"),
        ("w3", "leave_the_channel"),
    ],
)
def test_a_traitor_is_replaced_and_nobody_else_is_hurt(
    front: FrontEnd, orders: Path, name: str, act: str
) -> None:
    supervisor, others = front.program.pid, front.pids()
    first = turn(front, orders, name, act)
    eventually(lambda: not orders.read_text(), within_s=15)
    traitor = front.worker(name)["pid"]
    eventually(partial(is_another, front, name, {first, traitor}), within_s=15)

    assert front.program.pid == supervisor
    assert {**front.pids(), name: 0} == {**others, name: 0}
    assert len(ask_all(front.address, QNAMES)) == len(QNAMES)


def nursery_of(front: FrontEnd) -> int:
    """Return the pid of the process that workers are forked from."""
    children = Path(f"/proc/{front.program.pid}/task/{front.program.pid}/children")
    [pid] = {
        int(pid)
        for pid in children.read_text("ascii").split()
        if b"nursery" in Path(f"/proc/{pid}/cmdline").read_bytes()
    } - set(front.pids().values())
    return pid


def test_a_respawn_after_an_upgrade_on_disk_has_the_code_of_before_or_is_refused(
    front: FrontEnd, orders: Path
) -> None:
    others = front.pids()
    orders.write_text("upgrade")

    os.kill(others["w4"], signal.SIGKILL)
    eventually(partial(is_another, front, "w4", {others["w4"]}))
    others = front.pids()
    os.kill(nursery_of(front), signal.SIGKILL)
    os.kill(others["w2"], signal.SIGKILL)
    eventually(lambda: front.worker("w2")["state"] == "failed")
    orders.write_text("")

    body = front.get("/readyz").body
    assert body.startswith("worker w2 is failed: the code on disk is version 9.9")
    assert "`dnsfront restart`" in front.command("status")[1]
    assert {**front.pids(), "w2": 0} == {**others, "w2": 0}
    assert len(ask_all(front.address, QNAMES)) == len(QNAMES)
    front.take_over()  # which is what `dnsfront restart` does
    assert len(front.pids()) == len(others)
