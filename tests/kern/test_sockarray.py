"""What the kernel does with sockets and sockarrays, where steering relies on it."""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from dnsfront.errors import KernelError
from dnsfront.kernel.maps import BpfError, Map, MapForm, MapKind, Update
from dnsfront.kernel.steering import BpfSteering
from tests.kern.lab import Lab, reuseport_socket
from tests.kern.process import in_child
from tests.kern.queries import qname_of, query

if TYPE_CHECKING:
    from collections.abc import Iterator

ENTRIES = 4
UDP, TCP = socket.IPPROTO_UDP, socket.IPPROTO_TCP
SO_COOKIE = 57
NOBODY = 65534


@pytest.fixture
def sockarray() -> Iterator[Map]:
    made = Map("sockarray", MapForm(MapKind.REUSEPORT_SOCKARRAY, 8, ENTRIES))
    yield made
    made.close()


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with _bound() as made:
        yield made


def _bound(protocol: int = UDP, port: int = 0) -> socket.socket:
    made = reuseport_socket(socket.AF_INET, protocol)
    made.bind(("127.0.0.1", port))
    return made


def _key(index: int) -> bytes:
    return struct.pack("=I", index)


def _put(
    sockarray: Map, index: int, sock: socket.socket, flags: Update = Update.ANY
) -> int:
    """Return the errno of an update, 0 when it went well."""
    try:
        sockarray.update(_key(index), struct.pack("=Q", sock.fileno()), flags)
    except BpfError as error:
        return error.number
    return 0


def test_look_up_tells_the_cookie_of_the_socket(
    sockarray: Map, sock: socket.socket
) -> None:
    assert sockarray.lookup(_key(1)) is None
    assert _put(sockarray, 1, sock, Update.NOEXIST) == 0
    assert sockarray.lookup(_key(1)) == sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8)


def test_socket_is_in_one_sockarray_once(sockarray: Map, sock: socket.socket) -> None:
    other = Map("other", MapForm(MapKind.REUSEPORT_SOCKARRAY, 8, ENTRIES))
    assert _put(sockarray, 1, sock) == 0
    assert _put(sockarray, 1, sock) == errno.EBUSY
    assert _put(sockarray, 2, sock) == errno.EBUSY
    assert _put(other, 1, sock) == errno.EBUSY
    assert sockarray.delete(_key(1))
    assert _put(other, 1, sock) == 0
    other.close()


def test_update_replaces_unless_told_otherwise(
    sockarray: Map, sock: socket.socket
) -> None:
    with _bound() as second:
        assert _put(sockarray, 1, sock, Update.EXIST) == errno.ENOENT
        assert _put(sockarray, 1, sock, Update.NOEXIST) == 0
        assert _put(sockarray, 1, second, Update.NOEXIST) == errno.EEXIST
        assert _put(sockarray, 1, second) == 0
        assert _put(sockarray, 2, sock) == 0


def test_delete_tells_whether_there_was_a_socket(
    sockarray: Map, sock: socket.socket
) -> None:
    assert _put(sockarray, 1, sock) == 0
    assert sockarray.delete(_key(1))
    assert not sockarray.delete(_key(1))
    with pytest.raises(KernelError, match="E2BIG"):
        sockarray.delete(_key(ENTRIES))


def test_closed_socket_leaves(sockarray: Map) -> None:
    with _bound() as short_lived:
        assert _put(sockarray, 1, short_lived) == 0
    assert sockarray.lookup(_key(1)) is None


def test_connected_socket_leaves(sockarray: Map, sock: socket.socket) -> None:
    assert _put(sockarray, 1, sock) == 0
    sock.connect(("127.0.0.1", 9))
    assert sockarray.lookup(_key(1)) is None


def test_only_bound_reuseport_sockets_that_listen_may_enter(sockarray: Map) -> None:
    with (
        reuseport_socket(socket.AF_INET) as unbound,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain,
        _bound(TCP) as silent,
    ):
        plain.bind(("127.0.0.1", 0))
        assert _put(sockarray, 1, unbound) == errno.EINVAL
        assert _put(sockarray, 1, plain) == errno.EINVAL
        assert _put(sockarray, 1, silent) == errno.EINVAL
        silent.listen()
        assert _put(sockarray, 1, silent) == 0


def test_index_beyond_the_array_is_refused(sockarray: Map, sock: socket.socket) -> None:
    assert _put(sockarray, ENTRIES, sock) == errno.E2BIG


def test_program_needs_a_socket_that_was_reuseport_before_bind(lab: Lab) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        plain.bind(("127.0.0.1", 0))
        with pytest.raises(KernelError, match="EINVAL; the socket must have SO_REUSE"):
            lab.steering.attach(plain)


def test_late_reuseport_leaves_the_socket_without_a_group(lab: Lab) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as late:
        late.bind(("127.0.0.1", 0))
        late.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(KernelError, match="EINVAL"):
            lab.steering.attach(late)


def test_detach_says_nothing_the_second_time(lab: Lab, sock: socket.socket) -> None:
    lab.steering.attach(sock)
    lab.steering.detach(sock)
    lab.steering.detach(sock)


def test_socket_of_another_user_cannot_join(sock: socket.socket) -> None:
    port = sock.getsockname()[1]

    def bind_as_nobody() -> None:
        os.setresuid(NOBODY, NOBODY, NOBODY)
        with pytest.raises(OSError, match="Address already in use"):
            _bound(port=port)

    in_child(bind_as_nobody)


def test_socket_of_another_listener_is_not_selected(lab: Lab) -> None:
    """The update succeeds, the choice fails (-EBADFD), and the next one is tried."""
    octets = query(qname_of("www.example.test"))
    group = lab.group((1, 2))
    stranger = lab.keep(_bound())
    group.set(3, stranger)
    lab.steering.set_live(3, is_live=True)
    lab.publish_everywhere(3, 2)
    client = lab.client(group)

    with lab.counting(backup=1):
        client.sendto(octets, group.target())
        assert group.receive() == (2, octets)

    assert isinstance(lab.steering, BpfSteering)
    assert lab.steering.steered(3) == 0
