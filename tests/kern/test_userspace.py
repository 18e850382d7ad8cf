from __future__ import annotations

import mmap
import socket
from typing import TYPE_CHECKING

import pytest

from dnsfront.ipc import memory
from dnsfront.ipc.spec import Listener
from dnsfront.kernel.layouts import layout
from dnsfront.kernel.load import LOAD_OCTETS
from dnsfront.kernel.pages import LOAD_ENTRIES
from dnsfront.kernel.userspace import UserspaceSteering
from tests.kern.lab import reuseport_socket

if TYPE_CHECKING:
    from collections.abc import Iterator

LISTENER = Listener("127.0.0.1", 53, socket.AF_INET, "udp", is_wildcard=False)


@pytest.fixture
def steering() -> Iterator[UserspaceSteering]:
    made = UserspaceSteering()
    yield made
    made.close()


def test_groups_and_tables_are_accepted_and_change_nothing(
    steering: UserspaceSteering,
) -> None:
    with reuseport_socket(socket.AF_INET) as sock:
        steering.wait_loaded()
        steering.add_group(LISTENER)
        steering.set_socket(LISTENER, 1, sock)
        steering.attach(sock)
        steering.publish(b"\1\0\0\0")
        steering.detach(sock)
        steering.remove_socket(LISTENER, 1)
        steering.remove_group(LISTENER)

    assert steering.mode == "userspace"
    assert set(steering.counters().values()) == {0}
    assert tuple(steering.counters()) == layout("steering").fields


def test_pages_have_the_layout_of_the_kernel_arrays(
    steering: UserspaceSteering,
) -> None:
    live = memoryview(memory.read_only(steering.live_fd)).cast("Q")
    load = memoryview(mmap.mmap(steering.load_fd, LOAD_OCTETS * LOAD_ENTRIES)).cast("Q")

    steering.set_live(1, is_live=True)
    steering.set_live(127, is_live=True)
    steering.set_bound(1250, 64)
    steering.set_dropped(127, 5)
    load[127 * (LOAD_OCTETS // 8) + layout("load").word_at("taken")] += 7

    assert list(live) == [1 << 1, 1 << 63, 1250, 64]
    assert steering.live_ids() == {1, 127}
    assert steering.taken(127) == 7
    assert steering.backlog(127) == 0
    assert load[127 * (LOAD_OCTETS // 8) + layout("load").word_at("dropped")] == 5
