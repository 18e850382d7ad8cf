"""The system calls of a round: in C and by ctypes, which no caller can tell apart."""

from __future__ import annotations

import errno
import importlib.util
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sysconfig
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

from dnsfront.worker.process import calls
from dnsfront.worker.process.batch import BATCH, ReceiveBatch, SendBatch

SOURCE = Path(calls.__file__).with_name("_calls.c")


@pytest.fixture(scope="module")
def in_c(tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: ANN401 - a module
    """Return the module that the wheel has, built of the source as it is."""
    include = sysconfig.get_path("include")
    if not shutil.which("cc") or not Path(include, "Python.h").exists():
        pytest.skip(
            "no C compiler, or no headers of Python: apt-get install python3-dev"
        )
    built = tmp_path_factory.mktemp("calls") / "_calls.so"
    flags = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-I{include}"]
    subprocess.run(
        [*shlex.split("cc"), *flags, "-o", built, SOURCE], check=True, timeout=60
    )
    spec = importlib.util.spec_from_file_location("_calls", built)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["in C", "by ctypes"])
def twin(request: pytest.FixtureRequest) -> SimpleNamespace:
    """Return one of the twins: `receive`, `send`, and `waiting` for an epoll."""
    if request.param == "by ctypes":
        return SimpleNamespace(
            receive=calls._receive,
            send=calls._send,
            waiting=lambda epoll: partial(calls._wait, epoll),
        )
    module = request.getfixturevalue("in_c")
    return SimpleNamespace(
        receive=module.receive,
        send=module.send,
        waiting=lambda epoll: partial(module.wait, epoll.fileno()),
    )


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        yield ours, theirs


def test_messages_are_received_up_to_so_many(
    twin: SimpleNamespace, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    batch = ReceiveBatch()
    for octets in (b"1", b"22", b"333"):
        theirs.send(octets)

    counts = [twin.receive(ours.fileno(), batch._pointer, 2) for _ in range(3)]

    assert counts == [2, 1, -errno.EAGAIN]
    assert batch.sizes[0] == 3


def test_messages_are_sent(
    twin: SimpleNamespace, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    batch = SendBatch(ours.fileno())
    batch.vectors[0], batch.vectors[1] = batch.buffer_at, 5
    batch._buffer[:5] = b"hello"

    done = twin.send(ours.fileno(), batch._pointer, 1)

    assert done == 1
    assert theirs.recv(100) == b"hello"


def test_full_queue_is_told_by_its_errno(
    twin: SimpleNamespace, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, _theirs = pair
    batch = SendBatch(ours.fileno())

    counts = [twin.send(ours.fileno(), batch._pointer, BATCH) for _ in range(100)]

    assert counts[-1] == -errno.EAGAIN


@pytest.mark.parametrize("call", ["receive", "send"])
def test_what_is_no_socket_is_told_by_its_errno(
    twin: SimpleNamespace, call: str
) -> None:
    move: Callable[[int, int, int], int] = getattr(twin, call)
    batch = ReceiveBatch()

    assert move(-1, batch._pointer, 1) == -errno.EBADF


def test_descriptors_that_are_ready_are_told_with_their_events(
    twin: SimpleNamespace, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    with select.epoll() as epoll:
        epoll.register(ours.fileno(), select.EPOLLIN)
        epoll.register(theirs.fileno(), select.EPOLLOUT)
        wait = twin.waiting(epoll)
        before = wait(0)
        theirs.send(b"?")

        after = wait(1000)

    assert before == [(theirs.fileno(), select.EPOLLOUT)]
    assert sorted(after) == sorted(
        [(ours.fileno(), select.EPOLLIN), (theirs.fileno(), select.EPOLLOUT)]
    )


def test_nothing_is_ready_in_time(twin: SimpleNamespace) -> None:
    with select.epoll() as epoll:
        assert twin.waiting(epoll)(1) == []


def test_what_is_no_epoll_raises(twin: SimpleNamespace) -> None:
    epoll = select.epoll()
    wait = twin.waiting(epoll)
    epoll.close()

    with pytest.raises((OSError, ValueError)):
        wait(0)


def test_signal_is_handled_while_it_waits(twin: SimpleNamespace) -> None:
    handled: list[int] = []
    read_fd, write_fd = os.pipe()

    def handle(number: int, _frame: FrameType | None) -> None:
        handled.append(number)
        os.write(write_fd, b"!")

    before = signal.signal(signal.SIGUSR1, handle)
    main = threading.main_thread().ident
    assert main is not None
    try:
        with select.epoll() as epoll:
            epoll.register(read_fd, select.EPOLLIN)
            wait = twin.waiting(epoll)
            other = threading.Thread(
                target=signal.pthread_kill, args=(main, signal.SIGUSR1)
            )
            other.start()
            # One wait may end with the signal, and nothing ready yet.
            found = wait(10_000) or wait(10_000)
            other.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
        os.close(read_fd)
        os.close(write_fd)

    assert handled == [signal.SIGUSR1]
    assert found == [(read_fd, select.EPOLLIN)]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("wait", ()), ("wait", ("?", 1)), ("receive", (1, 2)), ("send", (1, 2, "?"))],
)
def test_wrong_arguments_are_type_errors_in_c(
    in_c: Any,  # noqa: ANN401 - a module
    name: str,
    arguments: tuple[object, ...],
) -> None:
    with pytest.raises(TypeError):
        getattr(in_c, name)(*arguments)
