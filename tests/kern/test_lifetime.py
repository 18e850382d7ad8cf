from __future__ import annotations

import mmap
import os
import resource
import select
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dnsfront.errors import PrivilegeError
from dnsfront.kernel.layouts import layout
from dnsfront.kernel.load import LOAD_OCTETS
from dnsfront.kernel.pages import LOAD_ENTRIES
from dnsfront.kernel.steering import BpfSteering, open_steering
from tests.kern.lab import HASH_KEY, SLOTS, Lab
from tests.kern.process import in_child
from tests.kern.queries import qname_of, query

if TYPE_CHECKING:
    from collections.abc import Iterator

QUERY = query(qname_of("www.example.test"))
NOBODY = 65534
MEGABYTE = 1 << 20


@pytest.fixture
def steering() -> Iterator[BpfSteering]:
    made = BpfSteering(slots=SLOTS, hash_key=HASH_KEY)
    yield made
    made.close()


def _child_pids() -> set[int]:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text("ascii")
    return {int(pid) for pid in children.split()}


def _open_fds() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_program_is_loaded_without_another_process(steering: BpfSteering) -> None:
    assert _child_pids() == set()

    steering.wait_loaded()

    assert _child_pids() == set()
    lab = Lab(steering)
    group = lab.group((1, 2))
    lab.publish_everywhere(2, 1)
    with lab.counting(primary=1):
        lab.client(group).sendto(QUERY, group.target())
        assert group.receive() == (2, QUERY)
    lab.close()


def test_attached_group_outlives_the_object() -> None:
    steering = BpfSteering(slots=SLOTS, hash_key=HASH_KEY)
    steering.wait_loaded()
    lab = Lab(steering)
    group = lab.group((1, 2))
    lab.publish_everywhere(2, 1)
    client = lab.client(group)

    steering.close()

    for octets in (QUERY, b"x", QUERY):
        client.sendto(octets, group.target())
        assert group.receive() == (2, octets)
    for sock in (client, *group.sockets.values()):
        sock.close()


def test_closing_gives_every_descriptor_and_child_back() -> None:
    before = _open_fds()

    loading = BpfSteering(slots=SLOTS, hash_key=HASH_KEY)
    loading.close()
    loading.close()
    loaded = BpfSteering(slots=SLOTS, hash_key=HASH_KEY)
    loaded.wait_loaded()
    loaded.close()

    assert _open_fds() == before
    assert _child_pids() == set()


SUPERVISOR = """
import sys
from pathlib import Path
from dnsfront.kernel.compiler import Compiling
from dnsfront.kernel.programs import Program
print(Compiling(Program(Path("/dev/null"))).pid, flush=True)
sys.stdin.readline()
"""


def test_compiler_dies_with_its_supervisor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A compiler that never ends, and tells when it has begun.
    started = tmp_path / "started"
    os.mkfifo(started)
    (tmp_path / "bcc.py").write_text(
        f"import signal; open({str(started)!r}, 'w').close(); signal.pause()"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as supervisor:
        assert supervisor.stdout is not None
        compiler = os.pidfd_open(int(supervisor.stdout.readline()))
        started.read_text(encoding="ascii")
        supervisor.kill()
        poll = select.poll()
        poll.register(compiler, select.POLLIN)
        assert poll.poll(2000), "the compiler still runs"
        os.close(compiler)


def test_nobody_with_the_pages_can_count_what_it_took(lab: Lab) -> None:
    group = lab.group((1,))
    lab.publish_everywhere(1)
    client = lab.client(group)
    for _ in range(3):
        client.sendto(QUERY, group.target())
        group.receive()
    assert lab.steering.backlog(1) == 3
    load_fd = lab.steering.load_fd

    def take_as_nobody() -> None:
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        page = mmap.mmap(load_fd, LOAD_OCTETS * LOAD_ENTRIES)
        words = memoryview(page).cast("Q")
        words[(LOAD_OCTETS // 8) * 1 + layout("load").word_at("taken")] += 2

    in_child(take_as_nobody)

    assert lab.steering.taken(1) == 2
    assert lab.steering.backlog(1) == 1


def test_without_rights_names_are_steered_in_user_space() -> None:
    def open_as_nobody() -> None:
        os.setresuid(NOBODY, NOBODY, NOBODY)
        with pytest.raises(PrivilegeError, match="EPERM; grant CAP_BPF"):
            BpfSteering(slots=SLOTS, hash_key=HASH_KEY)
        steering, reason = open_steering(slots=SLOTS, hash_key=HASH_KEY)
        assert steering.mode == "userspace"
        assert reason is not None
        assert reason.startswith(
            "names are steered in user space (load may_load: EPERM"
        )
        steering.close()

    in_child(open_as_nobody)


def test_with_rights_names_are_steered_in_the_kernel() -> None:
    steering, reason = open_steering(slots=SLOTS, hash_key=HASH_KEY)
    assert steering.mode == "ebpf"
    assert reason is None
    steering.close()


def test_loading_costs_the_supervisor_no_memory() -> None:
    def load() -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        steering = BpfSteering(slots=SLOTS, hash_key=HASH_KEY)
        steering.wait_loaded()
        steering.close()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown * 1024 < 4 * MEGABYTE

    in_child(load)
