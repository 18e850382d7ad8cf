"""From start to exit: nothing is half started, and nothing is left."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import dns.message
import pytest

from dnsfront.ipc import signals
from tests.kern.queries import qname_of
from tests.system.clients import ask, nsid_query, receive
from tests.system.front import DEMO_ZONE, Address, FrontEnd
from tests.system.processes import DNSFRONT, ROOT, Program
from tests.system.remains import Held, bound_sockets, children_of, held_by
from tests.system.upstream import FakeUpstream
from tests.waiting import eventually

UNAVAILABLE, CONFIG = os.EX_UNAVAILABLE, os.EX_CONFIG


def demo(folder: Path, **sections: object) -> FrontEnd:
    """A front end with the demo zone in a folder of its own."""
    folder.mkdir(exist_ok=True)
    front = FrontEnd(folder, zones=[DEMO_ZONE])
    front.configure(**sections)
    return front


def assert_nothing_is_left(front: FrontEnd, held: Held) -> None:
    # The kernel frees maps and programs some moments after their last user.
    eventually(lambda: not held.left(), within_s=5)
    assert not front.control.exists()


def refusal(front: FrontEnd) -> tuple[int, list[str]]:
    """Start a front end that cannot start; return its exit code and what it says."""
    program = front.launch()
    code = program.wait()
    return code, [x for x in program.output().splitlines() if " INFO " not in x]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_front_end_and_leaves_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    with demo(tmp_path) as front:
        held = held_by(front.program.pid)
        assert len(held.pids) == 6  # the supervisor, the nursery, four workers
        assert {kind for kind, _ in held.objects} == {"prog_id", "map_id"}
        ask(front.address, "www.example.test")

        front.program.signal(number)

        assert front.program.wait() == 0
        assert_nothing_is_left(front, held)


def test_signals_without_a_meaning_end_nobody_and_are_told_once(
    tmp_path: Path,
) -> None:
    with demo(tmp_path) as front:
        pids = front.pids()
        for pid in (front.program.pid, *pids.values()):
            for number in (*signals.WITHOUT_MEANING, signal.SIGPIPE) * 2:
                os.kill(pid, number)
        for pid in pids.values():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(pid, number)

        count = len(signals.WITHOUT_MEANING)
        eventually(lambda: front.log().count(" signal_ignored ") >= count, within_s=5)
        assert ask(front.address, "www.example.test").answer
        assert front.pids() == pids
        told = [x for x in front.log().splitlines() if " signal_ignored " in x]
        assert len(told) == count
        for name in ("SIGUSR1", "SIGUSR2", "SIGQUIT"):
            [line] = [x for x in told if f"signal={name} " in x]
            assert "SIGTERM stops, SIGHUP reloads" in line


def test_stop_command_returns_when_nothing_is_left(tmp_path: Path) -> None:
    with demo(tmp_path) as front:
        held = held_by(front.program.pid)

        assert front.command("stop") == (0, "stopped\n")

        assert front.program.wait() == 0
        assert_nothing_is_left(front, held)
        code, text = front.command("stop")
        assert code == UNAVAILABLE
        assert "no dnsfront runs with this control socket" in text


def test_signal_during_the_start_leaves_nothing(tmp_path: Path) -> None:
    front = demo(tmp_path)
    with front.launch() as program:
        eventually(lambda: held_by(program.pid).objects, within_s=10)
        held = held_by(program.pid)

        program.signal(signal.SIGTERM)

        assert program.wait() == 0
        assert_nothing_is_left(front, held)


def test_signal_before_anybody_listens_to_it_leaves_nothing(tmp_path: Path) -> None:
    front = demo(tmp_path)
    with front.launch() as program:
        # The nursery, which comes before anything else is imported.
        eventually(lambda: children_of(program.pid), within_s=10)
        held = held_by(program.pid)

        program.signal(signal.SIGTERM)

        assert program.wait() in {-signal.SIGTERM, 0}
        assert_nothing_is_left(front, held)


def test_killed_supervisor_takes_everything_along_and_its_successor_starts(
    tmp_path: Path,
) -> None:
    with demo(tmp_path) as front:
        held = held_by(front.program.pid)

        front.program.signal(signal.SIGKILL)

        front.program.wait()
        eventually(lambda: not held.left(), within_s=5)
    assert front.control.exists()
    with front:
        assert ask(front.address, "www.example.test").answer


def test_stop_waits_for_queries_under_way(tmp_path: Path) -> None:
    with FakeUpstream() as upstream:
        upstreams = {"servers": [{"address": str(upstream.address)}], "timeout": "5s"}
        with (
            FrontEnd(tmp_path, upstreams=upstreams) as front,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        ):
            with upstream.holding("slow.test"):
                sock.sendto(nsid_query(qname_of("slow.test"), 1), front.address)
                eventually(lambda: upstream.count("slow.test"))
                front.program.signal(signal.SIGTERM)
                eventually(lambda: "stopping" in front.log())
            octets = receive(sock)

            assert dns.message.from_wire(octets).answer
            assert front.program.wait() == 0


@pytest.fixture
def running(tmp_path: Path) -> Iterator[FrontEnd]:
    with demo(tmp_path / "first") as front:
        yield front
        # Whatever was tried beside it, it serves on.
        assert ask(front.address, "www.example.test").answer
        assert len(front.pids()) == 4


def test_second_instance_is_refused_in_one_sentence(running: FrontEnd) -> None:
    log = running.path.with_suffix(".second")
    with Program(*DNSFRONT, "run", "-c", str(running.path), log=log) as second:
        assert second.wait() == UNAVAILABLE
        *read, sentence = second.output().splitlines()

    assert all("zone_compiled" in line for line in read)
    assert sentence.startswith(
        f"dnsfront: listen[0] {running.address}: UDP address is in use; stop the other"
    )


def test_second_instance_on_the_same_address_is_refused(
    running: FrontEnd, tmp_path: Path
) -> None:
    second = demo(tmp_path / "second", listen=[str(running.address)])

    code, [sentence] = refusal(second)

    assert code == UNAVAILABLE
    assert f"{running.address}: UDP address is in use" in sentence
    assert not second.control.exists()


def test_second_instance_on_the_same_control_socket_is_refused(
    running: FrontEnd, tmp_path: Path
) -> None:
    second = demo(tmp_path / "second")
    second.configure(
        admin={"listen": str(second.admin), "socket": str(running.control)}
    )

    code, [sentence] = refusal(second)

    assert code == UNAVAILABLE
    assert f"{running.control}: another dnsfront runs with it" in sentence
    assert running.control.exists()


@pytest.mark.parametrize(
    ("kind", "which", "names"),
    [
        (socket.SOCK_DGRAM, "address", "UDP address is in use"),
        (socket.SOCK_STREAM, "address", "TCP address is in use"),
        (socket.SOCK_STREAM, "admin", "admin.listen"),
    ],
    ids=["UDP port", "TCP port", "admin port"],
)
def test_port_that_another_program_has_is_named(
    tmp_path: Path, kind: socket.SocketKind, which: str, names: str
) -> None:
    front = demo(tmp_path)
    address: Address = getattr(front, which)
    with socket.socket(address.family, kind) as other:
        other.bind(address)
        if kind == socket.SOCK_STREAM:
            other.listen()
        others = bound_sockets()

        code, [sentence] = refusal(front)

        assert code == UNAVAILABLE
        assert names in sentence
        assert str(address) in sentence
        assert bound_sockets() == others
    assert not front.control.exists()


def test_address_of_another_host_is_named(tmp_path: Path) -> None:
    front = demo(tmp_path, listen=["192.0.2.1:5300"])

    code, [sentence] = refusal(front)

    assert code == UNAVAILABLE
    assert "192.0.2.1:5300: this host has no such address" in sentence


def test_wrong_config_starts_nothing_and_every_mistake_is_told(tmp_path: Path) -> None:
    front = demo(
        tmp_path,
        ring={"workers": 0, "vnodes": "many"},
        cache={"max_ttl": "1 fortnight"},
        nonsense=True,
    )

    code, lines = refusal(front)

    assert code == CONFIG
    assert [line.split(": ")[1] for line in lines] == [
        "ring.workers",
        "ring.vnodes",
        "cache.max_ttl",
        "nonsense",
    ]
    assert all(line.startswith(f"{front.path}:") for line in lines)
    assert front.command("check") == (CONFIG, "\n".join(lines) + "\n")
    assert not front.control.exists()
    assert not bound_sockets()


def test_zone_file_with_a_mistake_starts_nothing(tmp_path: Path) -> None:
    zone = tmp_path / "broken.zone"
    zone.write_text("@ IN SOA ns1 hostmaster 1 2 3 4 5\nwww IN A not-an-address\n")
    front = FrontEnd(tmp_path, zones=[{"origin": "broken.test", "file": str(zone)}])

    code, [line] = refusal(front)

    assert code == CONFIG
    assert "zones[0].file" in line
    assert str(zone) in line


def without_bcc(folder: Path, *before: Path) -> dict[str, str]:
    """Return an environment in which bcc cannot be imported; *before* come first."""
    (folder / "bcc.py").write_text('raise ImportError("No module named bcc")\n')
    paths = [
        *map(str, before),
        str(folder),
        *filter(None, [os.environ.get("PYTHONPATH")]),
    ]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def test_shipped_program_steers_without_bcc(tmp_path: Path) -> None:
    front = FrontEnd(tmp_path, env=without_bcc(tmp_path), zones=[DEMO_ZONE])
    with front:
        assert front.status()["kernel"]["steering"] == "ebpf"
        assert "program_compiled" not in front.log()
        assert ask(front.address, "www.example.test").answer


def test_missing_object_and_missing_bcc_are_told_with_the_remedy(
    tmp_path: Path,
) -> None:
    # A package of its own, so that nobody else misses the object.
    copy = tmp_path / "copy"
    without = shutil.ignore_patterns("__pycache__", "objects", "__objects__")
    for name in ("dnsfront", "kern"):
        shutil.copytree(ROOT / name, copy / name, ignore=without)
    env = {**without_bcc(tmp_path, copy), "PYTHONSAFEPATH": "1"}  # not this checkout
    front = FrontEnd(tmp_path, env=env, zones=[DEMO_ZONE])

    code, [sentence] = refusal(front)

    assert code == UNAVAILABLE
    assert "the object of steer.bpf.c" in sentence
    assert "is missing, and bcc is missing" in sentence
    assert "apt-get install python3-bpfcc" in sentence
    assert not front.control.exists()
    assert not bound_sockets()
