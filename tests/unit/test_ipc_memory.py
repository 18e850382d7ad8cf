"""What crosses to a worker can neither change its size nor be written by who reads."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator

import pytest

from dnsfront.ipc import memory


@pytest.fixture
def fds() -> Iterator[list[int]]:
    opened: list[int] = []
    yield opened
    for fd in opened:
        os.close(fd)


def expect_fixed(fd: int) -> None:
    for size in (0, 1 << 20):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, size)


def test_what_is_sealed_stays_what_it_is(fds: list[int]) -> None:
    fd = memory.sealed("test", b"octets")
    fds.append(fd)

    expect_fixed(fd)
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"x", 0)
    with pytest.raises(PermissionError):
        mmap.mmap(fd, 6)
    assert memory.content(fd) == b"octets"
    with memory.constant(fd) as mapped:
        assert mapped[:] == b"octets"


def test_an_own_page_is_written_by_its_owner_only(fds: list[int]) -> None:
    fd, page = memory.own_page("test", 64)
    fds.append(fd)

    expect_fixed(fd)
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"x", 0)
    with pytest.raises(PermissionError):
        mmap.mmap(fd, 64)
    with page, memory.read_only(fd) as read:
        page[0:2] = b"up"
        assert read[0:2] == b"up"
        with pytest.raises(TypeError):
            read[0:2] = b"no"


def test_a_shared_page_is_written_by_all_and_resized_by_nobody(fds: list[int]) -> None:
    fd = memory.shared_page("test", 64)
    fds.append(fd)

    expect_fixed(fd)
    with mmap.mmap(fd, 64) as one, mmap.mmap(fd, 64) as other:
        one[0:2] = b"up"
        assert other[0:2] == b"up"


@pytest.mark.parametrize("make", ["sealed", "shared_page", "own_page"])
def test_nothing_is_left_of_memory_that_cannot_be_sealed(
    monkeypatch: pytest.MonkeyPatch, make: str
) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are enough
    monkeypatch.setattr("fcntl.fcntl", lambda *_arguments: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        getattr(memory, make)("test", b"octets" if make == "sealed" else 64)

    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - as above


def test_what_a_child_printed_is_told_by_its_last_line() -> None:
    fd = memory.output("test")

    assert memory.last_line(fd) == "it said nothing"
    os.write(fd, b"first\nlast \xff\n\n")
    assert memory.last_line(fd) == "last \ufffd"
    os.close(fd)


def test_what_grew_and_was_sealed_is_constant() -> None:
    fd = memory.growing("test")
    os.write(fd, b"one")
    os.write(fd, b"two")

    assert not memory.is_constant(fd)
    memory.seal(fd)
    assert memory.is_constant(fd)
    assert memory.content(fd) == b"onetwo"
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"x", 0)
    os.close(fd)
