"""Workers are forked by a process that has their code, or start afresh without it."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dnsfront.ipc import channel
from dnsfront.supervisor.host import spawning
from dnsfront.supervisor.host.spawning import Forked, Process
from tests.waiting import eventually


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = channel.pair()
    with ours, theirs:
        yield ours, theirs


def sockets_of(pid: int) -> int:
    count = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed since it was listed
            count += str(link.readlink()).startswith("socket:")
    return count


def nursery_pid() -> int:
    nursery = spawning._Spawner.nursery
    assert nursery is not None
    return nursery._process.pid


def end(worker: Process, ours: socket.socket) -> int:
    """Close a worker's channel before it has begun, and return its exit code."""
    ours.close()
    return worker.wait()


def test_a_forked_worker_is_a_child_of_the_supervisor(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    with spawning.nursery():
        worker = spawning.spawn(theirs.fileno())
        theirs.close()

        assert isinstance(worker, Forked)
        status = Path(f"/proc/{worker.pid}/status").read_text("ascii")
        assert f"PPid:\t{os.getpid()}\n" in status
        eventually(lambda: os.getsid(worker.pid) == worker.pid)
        eventually(lambda: sockets_of(worker.pid) == 1)
        assert end(worker, ours) == os.EX_UNAVAILABLE


def test_a_nursery_that_has_begun_is_the_one_that_forks(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    with spawning.begun():
        begun = spawning._Spawner.begun
        with spawning.nursery():
            assert spawning._Spawner.nursery is begun is not None
            worker = spawning.spawn(theirs.fileno())
            theirs.close()

        assert begun._process.returncode == -signal.SIGKILL
        assert end(worker, ours) == os.EX_UNAVAILABLE


def test_a_nursery_that_nobody_came_to_ends() -> None:
    with spawning.begun():
        assert spawning._Spawner.begun is not None
        process = spawning._Spawner.begun._process

    assert process.returncode == -signal.SIGKILL
    assert spawning._Spawner.begun is None


def test_a_nursery_that_could_not_begin_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> spawning.Nursery:
        raise OSError(errno.EAGAIN, "no process")

    with contextlib.ExitStack() as stack:
        with monkeypatch.context() as patch:
            patch.setattr(spawning, "Nursery", refuse)
            stack.enter_context(spawning.begun())

        stack.enter_context(spawning.nursery())
        assert nursery_pid() > 0
    assert not caplog.messages


def test_a_killed_worker_tells_its_signal(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    with spawning.nursery():
        worker = spawning.spawn(ends[1].fileno())

        worker.kill()

        assert worker.wait() == worker.returncode == -signal.SIGKILL
        worker.kill()  # whoever is gone is not killed, whoever has its pid


def test_workers_outlive_the_process_that_forked_them(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    with spawning.nursery():
        worker = spawning.spawn(theirs.fileno())
        theirs.close()

    assert worker.returncode is None
    assert end(worker, ours) == os.EX_UNAVAILABLE


def test_without_that_process_workers_start_afresh(
    ends: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = ends
    with spawning.nursery():
        spawning._Spawner.nursery._process.kill()  # type: ignore[union-attr]
        spawning._Spawner.nursery._process.wait()  # type: ignore[union-attr]

        worker = spawning.spawn(theirs.fileno())
        theirs.close()

        assert not isinstance(worker, Forked)
        assert "nursery_lost" in caplog.text
        assert end(worker, ours) == os.EX_UNAVAILABLE


def test_a_stopped_nursery_holds_nothing_up_and_shares_no_channel(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawning, "_FIRST_TIMEOUT_S", 0.05)
    ours, theirs = ends
    with spawning.nursery():
        os.kill(nursery_pid(), signal.SIGSTOP)

        with pytest.raises(TimeoutError):
            spawning.spawn(theirs.fileno())

        worker = spawning.spawn(theirs.fileno())
        theirs.close()
        assert not isinstance(worker, Forked)
        assert end(worker, ours) == os.EX_UNAVAILABLE


def test_where_there_is_no_process_to_be_had_the_nursery_lives_on(
    ends: tuple[socket.socket, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ours, theirs = ends
    with spawning.nursery():
        nursery = spawning._Spawner.nursery
        assert nursery is not None
        asked, answering = channel.pair()
        with asked, answering:
            answering.send(str(-errno.EAGAIN).encode())
            monkeypatch.setattr(nursery, "_channel", asked)
            with pytest.raises(spawning.RefusedForkError):
                spawning.spawn(theirs.fileno())
            monkeypatch.undo()

        worker = spawning.spawn(theirs.fileno())
        theirs.close()

        assert isinstance(worker, Forked)
        assert "nursery_lost" not in caplog.text
        assert end(worker, ours) == os.EX_UNAVAILABLE
