"""A new process takes over from the running one, and nobody notices."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import dns.edns
import dns.message
import dns.query
import dns.rcode
import pytest

from tests.kern.queries import qname_of
from tests.system.clients import ask, ask_all, nsid_of
from tests.system.front import DEMO_ZONE, FrontEnd, free_address
from tests.system.load import under_load
from tests.system.metrics import hit, steered
from tests.system.processes import (
    AS_NOBODY,
    WITHOUT_BPF,
    Program,
    skip_unless_nobody_may_run,
)
from tests.system.remains import descriptors_of, held_by
from tests.system.upstream import FakeUpstream
from tests.waiting import eventually

NAMES = [f"name{number}.test" for number in range(500)]
QNAMES = [qname_of(name) for name in NAMES]
ZONE_NAMES = [f"name{number}.example.test" for number in range(500)]
PER_SECOND = 500
NOBODY = 65534
APPLIED_WITHIN_S = 10.0

#: A successor that gets as far as to be let go, says so, and does what comes then.
FALSE_SUCCESSOR = """
import asyncio, pathlib, sys
from dnsfront.supervisor.takeover.predecessor import Predecessor

async def take():
    predecessor = await Predecessor.meet(pathlib.Path(sys.argv[1]))
    if sys.argv[2] != "prepares":
        await predecessor.let_go()
    print("let go", flush=True)
    if sys.argv[2] != "leaves":
        await asyncio.Event().wait()

asyncio.run(take())
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as made:
        yield made


@pytest.fixture
def front(tmp_path: Path, upstream: FakeUpstream) -> Iterator[FrontEnd]:
    upstreams = {"servers": [{"address": str(upstream.address)}]}
    with FrontEnd(
        tmp_path, ring={"workers": 4}, upstreams=upstreams, zones=[DEMO_ZONE]
    ) as made:
        yield made


def asked(front: FrontEnd) -> dict[str, str]:
    """Return who answers each name."""
    return dict(zip(NAMES, map(nsid_of, ask_all(front.address, QNAMES)), strict=True))


def cookie_of(front: FrontEnd, cookie: bytes = b"clientof") -> bytes:
    """Return the DNS cookie that a client with *cookie* gets."""
    option = dns.edns.GenericOption(dns.edns.OptionType(10), cookie)
    query = dns.message.make_query(NAMES[0], "A", use_edns=0, options=[option])
    response = dns.query.udp(query, front.address.host, 10, front.address.port)
    [found] = response.options
    octets: bytes = found.to_wire()
    return octets


def home(front: FrontEnd) -> dict[str, str]:
    """Return who is to answer each name, by the config."""
    return {name: first for name, [first, *_] in front.lookup(NAMES).items()}


def false_successor(front: FrontEnd, folder: Path, behaviour: str) -> Program:
    argv = (sys.executable, "-c", FALSE_SUCCESSOR, str(front.control), behaviour)
    return Program(*argv, log=folder / "false.log")


def test_no_query_is_lost_and_all_caches_arrive(
    front: FrontEnd, upstream: FakeUpstream
) -> None:
    before = asked(front)
    # What a worker had meanwhile is in two caches: one of them has it sent in vain.
    assert front.command("drain", "w1")[0] == front.command("undrain", "w1")[0] == 0
    queries = upstream.queries.total()
    first, pids = front.program, front.pids()
    held = held_by(first.pid)

    with under_load(front.address, NAMES + ZONE_NAMES, PER_SECOND) as load:
        for _ in range(3):
            front.take_over()

    assert first.exit_code == 0
    assert "caches_colder" not in front.log()
    assert (load.lost, load.sent > 0) == ([], True)
    assert set(load.rcodes) == {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}
    assert upstream.queries.total() == queries
    with front.counting(steered(len(NAMES)) + hit(len(NAMES))):
        assert asked(front) == before == home(front)
    assert not {*front.pids().values()} & {*pids.values()}
    kept = held.objects & held_by(front.program.pid).objects
    assert {kind for kind, _ in kept} <= {"map_id"}  # the sockarrays
    assert len(kept) == 2  # of one listener, over UDP and over TCP
    assert not [pid for pid in held.pids if Path(f"/proc/{pid}/exe").exists()]


def test_descriptors_do_not_pile_up(front: FrontEnd) -> None:
    front.take_over()
    before = descriptors_of(front.program.pid)
    for _ in range(2):
        front.take_over()

    eventually(lambda: descriptors_of(front.program.pid) <= before)


def test_the_config_of_the_successor_is_in_force_and_nothing_is_lost(
    front: FrontEnd, upstream: FakeUpstream
) -> None:
    assert asked(front) == home(front)
    queries = upstream.queries.total()
    workers = [{"name": "w1"}, {"name": "w3", "weight": 3}, {"name": "new"}]

    with under_load(front.address, NAMES, PER_SECOND) as load:
        # A reload refuses the seed, so this waits for the successor.
        front.configure(ring={"workers": workers, "seed": "another", "slots": 32768})
        front.take_over()
        eventually(lambda: front.pids().keys() == {"w1", "w3", "new"}, APPLIED_WITHIN_S)

    assert load.lost == []
    after = home(front)
    assert set(after.values()) == {"w1", "w3", "new"}
    eventually(lambda: asked(front) == after)
    assert upstream.queries.total() == queries


def test_connections_and_scrapes_have_no_gap(front: FrontEnd) -> None:
    first = front.program
    successor = front.start_successor()

    with successor:
        answers = 0
        while first.exit_code is None:
            assert successor.exit_code is None
            assert ask(front.address, "www.example.test", over_tcp=True).answer
            assert front.get("/healthz").body == "ok\n"
            assert front.status()["phase"] in {"serving", "handing over"}
            answers += 1
        front.adopt(successor)
        assert ask(front.address, "www.example.test", over_tcp=True).answer
        assert front.get("/readyz").body == "ready\n"
    assert answers > 10


def test_drained_worker_stays_drained(front: FrontEnd) -> None:
    assert front.command("drain", "w2")[0] == 0

    front.take_over()

    assert front.worker("w2")["state"] == "drained"
    assert "w2" not in set(asked(front).values())
    assert front.command("undrain", "w2")[0] == 0
    assert asked(front) == home(front)


def test_restart_is_a_command_and_tells_the_pid(front: FrontEnd) -> None:
    cookie = cookie_of(front)

    code, text = front.command("restart")

    assert code == 0, text
    pid = int(text.split()[2])
    fd = os.pidfd_open(pid)
    try:
        assert front.program.wait() == 0
        assert text == f"restarted: pid {pid} has taken over\n"
        assert front.command("status")[0] == 0
        assert asked(front) == home(front)
        assert cookie_of(front, cookie) == cookie  # the secret went over too
        assert front.command("stop")[0] == 0
        eventually(lambda: not Path(f"/proc/{pid}/exe").exists())
    finally:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        os.close(fd)


def test_restart_keeps_to_the_link_that_the_config_was_named_by(
    front: FrontEnd, tmp_path: Path
) -> None:
    real = tmp_path / "real.yaml"
    front.path.rename(real)
    front.path.symlink_to(real)

    code, text = front.command("restart")

    assert code == 0, text
    pid = int(text.split()[2])
    fd = os.pidfd_open(pid)
    try:
        assert front.program.wait() == 0
        assert front.status()["config"]["path"] == str(front.path)
        assert front.command("stop")[0] == 0
        eventually(lambda: not Path(f"/proc/{pid}/exe").exists())
    finally:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        os.close(fd)


def test_restart_with_a_wrong_config_leaves_the_old_process_alone(
    front: FrontEnd,
) -> None:
    pids, config = front.pids(), front.path.read_text()

    front.configure(ring={"workers": 0})
    code, text = front.command("restart")

    assert code == 1
    first, mistake = text.splitlines()
    assert first == (
        "restart: the new process ended with status 78 before it was ready, this one "
        "goes on; it said:"
    )
    assert mistake.startswith(f"{front.path}:")
    assert "ring.workers: " in mistake
    # Where the restart takes a second, the saved file is refused meanwhile, too.
    lines = [x for x in front.log().splitlines() if " reload_refused " not in x]
    [logged] = [line for line in lines if mistake in line]
    assert " ERROR supervisor restart_refused reason=" in logged
    assert front.pids() == pids
    front.restore(config)
    assert asked(front) == home(front)
    assert front.program.exit_code is None


def test_successor_that_cannot_have_an_address_leaves_the_old_one_alone(
    front: FrontEnd,
) -> None:
    pids = front.pids()
    other = free_address()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(other)
        front.configure(listen=[str(front.address), str(other)])
        with (
            under_load(front.address, NAMES, PER_SECOND) as load,
            front.start_successor() as successor,
        ):
            assert successor.wait() == os.EX_UNAVAILABLE

    assert f"listen[1] {other}: UDP address is in use" in front.log()
    assert load.lost == []
    assert front.pids() == pids


def test_successor_may_listen_at_a_wildcard_over_the_old_address(
    front: FrontEnd,
) -> None:
    wildcard = f"0.0.0.0:{front.address.port}"

    with under_load(front.address, NAMES, PER_SECOND) as load:
        front.configure(listen=[wildcard], ring={"workers": 4, "seed": "another"})
        front.take_over()

    assert load.lost == []
    assert asked(front) == home(front)


@pytest.mark.parametrize("behaviour", ["prepares", "leaves", "hangs"])
def test_old_process_goes_on_when_its_successor_fails(
    front: FrontEnd, tmp_path: Path, behaviour: str
) -> None:
    pids = front.pids()

    with under_load(front.address, NAMES, PER_SECOND) as load:
        with false_successor(front, tmp_path, behaviour) as successor:
            eventually(lambda: "let go" in successor.output())
            if behaviour == "prepares":
                successor.signal(signal.SIGKILL)
            eventually(lambda: "takeover_failed" in front.log(), APPLIED_WITHIN_S)
            assert successor.wait() in {0, -signal.SIGKILL}
        asked_ = asked(front)

    assert load.lost == []
    assert asked_ == home(front)
    assert front.pids() == pids
    assert front.status()["phase"] == "serving"
    with under_load(front.address, NAMES, PER_SECOND) as load:
        front.take_over()
    assert load.lost == []


def test_second_successor_is_turned_away(front: FrontEnd, tmp_path: Path) -> None:
    with false_successor(front, tmp_path, "prepares") as first:
        eventually(lambda: "let go" in first.output())
        with front.start_successor() as second:
            assert second.wait() == os.EX_UNAVAILABLE

    assert (
        "the running instance says: take-over: another one is under way" in front.log()
    )


def test_without_a_predecessor_it_just_starts(tmp_path: Path) -> None:
    front = FrontEnd(tmp_path, zones=[DEMO_ZONE])

    with front.start_successor() as program:
        front.adopt(program)
        front.wait_ready()
        assert ask(front.address, "www.example.test").answer
        front.stop()


def test_without_rights_nothing_is_lost_either(upstream: FakeUpstream) -> None:
    skip_unless_nobody_may_run()
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, NOBODY, NOBODY)
        with FrontEnd(
            Path(folder),
            rights=AS_NOBODY,
            upstreams={"servers": [{"address": str(upstream.address)}]},
        ) as front:
            before = asked(front)
            queries = upstream.queries.total()

            with under_load(front.address, NAMES, PER_SECOND) as load:
                for _ in range(3):
                    front.take_over()

            assert load.lost == []
            assert upstream.queries.total() == queries
            assert asked(front) == before


def test_rights_may_be_lost_and_found_on_the_way(upstream: FakeUpstream) -> None:
    """Steering goes from the kernel to user space and back."""
    with (
        tempfile.TemporaryDirectory() as folder,
        FrontEnd(
            Path(folder),
            upstreams={"servers": [{"address": str(upstream.address)}]},
        ) as front,
    ):
        before = asked(front)
        modes = []
        with under_load(front.address, NAMES, PER_SECOND) as load:
            for rights in (WITHOUT_BPF, ()):
                front.take_over(rights)
                modes.append(front.status()["kernel"]["steering"])

        assert modes == ["userspace", "ebpf"]
        assert load.lost == []
        assert asked(front) == before
