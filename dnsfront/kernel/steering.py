"""Everything in the kernel that belongs to one front end, as one object.

The order that loses nothing: bind the sockets, add the group, set the sockets, publish
a table, let workers be chosen, attach. `kern/README.md` says why.
"""

from __future__ import annotations

import os
import socket
import struct
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from dnsfront.errors import KernelError, PrivilegeError
from dnsfront.kernel.attachment import attach, detach
from dnsfront.kernel.layouts import layout
from dnsfront.kernel.load import LOAD_OCTETS
from dnsfront.kernel.loader import Job, Loading
from dnsfront.kernel.maps import (
    MMAPABLE,
    PROBE_PROGRAM,
    Map,
    MapForm,
    MapKind,
    Update,
    load_program,
    new_map,
)
from dnsfront.kernel.pages import (
    LIVE_OCTETS,
    LOAD_ENTRIES,
    MAX_WORKER_ID,
    Pages,
)
from dnsfront.kernel.programs import STEER
from dnsfront.kernel.userspace import UserspaceSteering

if TYPE_CHECKING:
    from dnsfront.ipc.spec import Listener

#: How many listeners one front end can have.
MAX_GROUPS: Final = 256

_LISTENER: Final = layout("listener")
_COUNTERS: Final = layout("steering")

_LIVE: Final = MapForm(MapKind.ARRAY, LIVE_OCTETS, 1, flags=MMAPABLE)
_LOAD: Final = MapForm(MapKind.ARRAY, LOAD_OCTETS, LOAD_ENTRIES, flags=MMAPABLE)
_COUNTS: Final = MapForm(MapKind.PERCPU_ARRAY, _COUNTERS.size_octets, 1)
#: With values of 8 octets, a look-up from user space tells the socket's cookie.
_SOCKARRAY: Final = MapForm(MapKind.REUSEPORT_SOCKARRAY, 8, MAX_WORKER_ID + 1)
_GROUPS: Final = MapForm(MapKind.HASH_OF_MAPS, 4, MAX_GROUPS, _LISTENER.size_octets)
_TABLES: Final = MapForm(MapKind.ARRAY_OF_MAPS, 4, 1)
_FIRST_KEY: Final = struct.pack("=I", 0)


class BpfSteering(Pages):
    """The program, its maps and its groups.

    The supervisor owns the object and every descriptor in it. Groups that are still
    attached when it closes go on being steered until the last of their sockets closes.
    """

    mode: Final = "ebpf"

    def __init__(self, *, slots: int, hash_key: bytes) -> None:
        """Create the maps and begin to load the program; *hash_key* has 16 octets.

        Raises:
            PrivilegeError: this process may load no program.
            KernelError: the kernel lacks something, as the text says.
        """
        # Asks for every right that loading will need, within microseconds.
        os.close(load_program("may_load", PROBE_PROGRAM))
        slot_octets = layout("slot").size_octets
        self._slots = MapForm(MapKind.ARRAY, slot_octets, slots, flags=MMAPABLE)
        self._sockarrays: dict[bytes, Map] = {}
        self._program_fd = -1
        with ExitStack() as resources:
            self._resources = resources
            self._live_map = self._create("live", _LIVE)
            self._load_map = self._create("load", _LOAD)
            self._counters = self._create("counters", _COUNTS)
            self._groups = self._create("groups", _GROUPS, _SOCKARRAY)
            self._tables = self._create("tables", _TABLES, self._slots)
            super().__init__(self._load_map.map_memory(), self._live_map.map_memory())
            resources.callback(self.release)
            self._loading = self._start_loading(hash_key)
            resources.callback(self._loading.close)
            self._resources = resources.pop_all()

    def _create(self, name: str, form: MapForm, holds: MapForm | None = None) -> Map:
        """Return a new map that closes with this object; *holds* is the inner form."""
        created = new_map(name, form, holds)
        self._resources.callback(created.close)
        return created

    def _start_loading(self, hash_key: bytes) -> Loading:
        key0, key1 = struct.unpack("<QQ", hash_key)
        values = {
            "GROUPS_FD": self._groups.fd,
            "TABLES_FD": self._tables.fd,
            "LIVE_FD": self._live_map.fd,
            "LOAD_FD": self._load_map.fd,
            "COUNTERS_FD": self._counters.fd,
            "RING_SLOTS": self._slots.entries,
            "KEY0": key0,
            "KEY1": key1,
        }
        return Loading(Job(STEER, "steer", values))

    def wait_loaded(self, timeout_s: float = 20) -> None:
        """Wait until the program is in the kernel.

        Raises:
            PrivilegeError: loading needs a right that this process lacks.
            KernelError: neither object nor bcc is there, the compiler or the verifier
                refuses, or it takes too long.
        """
        self._program_fd = self._loading.wait(timeout_s)
        self._resources.callback(os.close, self._program_fd)

    # -- groups and sockets

    def add_group(self, listener: Listener, sockarray_fd: int | None = None) -> None:
        """Make room for the sockets of *listener*.

        *sockarray_fd* is the sockarray of another instance, to be owned by this object:
        a socket fits into one only, so two programs share it until one has gone.
        """
        key = _key(listener)
        if sockarray_fd is None:
            sockarray = Map("sockarray", _SOCKARRAY)
        else:
            sockarray = Map.adopted("sockarray", _SOCKARRAY, sockarray_fd)
        try:
            self._groups.update(key, struct.pack("=I", sockarray.fd), Update.NOEXIST)
        except KernelError:
            sockarray.close()
            raise
        self._sockarrays[key] = sockarray

    def sockarray_fd(self, listener: Listener) -> int:
        """Return the descriptor of a sockarray, which this object owns."""
        return self._sockarrays[_key(listener)].fd

    def remove_group(self, listener: Listener) -> None:
        """Forget the sockets of *listener*; none is closed, all are free to be set."""
        key = _key(listener)
        self._groups.delete(key)
        sockarray = self._sockarrays.pop(key)
        # A socket is in one sockarray at most, and the kernel frees a map some time
        # after it is closed: emptied, it holds no socket up.
        for worker_id in range(_SOCKARRAY.entries):
            sockarray.delete(struct.pack("=I", worker_id))
        sockarray.close()

    def set_socket(
        self, listener: Listener, worker_id: int, sock: socket.socket
    ) -> None:
        """Make *sock* the socket of *worker_id*; one that it replaces stays open.

        *sock* is bound to the address of *listener* with SO_REUSEPORT, and listens if
        TCP. It must never be connected: the kernel would take it out of the group.
        """
        sockarray = self._sockarrays[_key(listener)]
        key, value = struct.pack("=I", worker_id), struct.pack("=Q", sock.fileno())
        sockarray.update(key, value)

    def remove_socket(self, listener: Listener, worker_id: int) -> None:
        """Take the socket of *worker_id* out, if it has not left by closing."""
        sockarray = self._sockarrays[_key(listener)]
        sockarray.delete(struct.pack("=I", worker_id))

    def attach(self, sock: socket.socket) -> None:
        """Steer the group of *sock*, any bound member; sockets that join later too.

        A program that the group has already is replaced in one step.
        """
        assert self._program_fd >= 0, "wait_loaded() comes first"
        attach(sock, self._program_fd)

    def detach(self, sock: socket.socket) -> None:
        """Leave the group of *sock* to the kernel's own choice; twice does no harm."""
        detach(sock)

    # -- table and counters

    def publish(self, table: bytes) -> None:
        """Switch to *table*: 4 worker ids a slot, best first, 0 for nobody.

        The switch is atomic. On return no running program still sees the table before,
        whose memory is free.
        """
        fresh = Map("slots", self._slots)
        try:
            with (
                fresh.map_memory() as memory,
                memoryview(memory) as octets,
                octets.cast("I") as words,
            ):
                words[::2] = memoryview(table).cast("I")  # elements are 8 octets apart
            self._tables.update(_FIRST_KEY, struct.pack("=I", fresh.fd))
        finally:
            fresh.close()

    def counters(self) -> dict[str, int]:
        """Return the outcomes so far, summed over CPUs, named as in `kern/maps.h`."""
        return self._counters.sums(_FIRST_KEY, _COUNTERS.fields)

    @property
    def tables_fd(self) -> int:
        """The descriptor of `tables`, for a program beside; owned by this object."""
        return self._tables.fd

    @property
    def kernel_live_fd(self) -> int:
        """The descriptor of the program's `live`; owned by this object."""
        return self._live_map.fd

    @property
    def load_fd(self) -> int:
        """The descriptor of `load`, to be mapped by workers; owned by this object."""
        return self._load_map.fd

    def close(self) -> None:
        """Give up the program, the maps and a compiler still at work."""
        self._resources.close()
        while self._sockarrays:
            self._sockarrays.popitem()[1].close()


#: Both have the same methods, so that only their *mode* tells them apart.
Steering = BpfSteering | UserspaceSteering


def open_steering(*, slots: int, hash_key: bytes) -> tuple[Steering, str | None]:
    """Return the best steering that this process may have.

    The second value says, for user space, what is missing and what that costs.

    Raises:
        KernelError: the kernel lacks something that no right would give.
    """
    try:
        return BpfSteering(slots=slots, hash_key=hash_key), None
    except PrivilegeError as error:
        return UserspaceSteering(), (
            f"names are steered in user space ({error}): most queries reach a worker"
            " that does not own them and cost a hand-over to their owner"
        )


def _key(listener: Listener) -> bytes:
    """Return the key of `groups`, as the program reads it from a member socket."""
    host, _, _scope = listener.address.partition("%")
    address = socket.inet_pton(listener.family, host).ljust(16, b"\0")
    protocol = listener.over.protocol
    return struct.pack("=III16s", listener.family, protocol, listener.port, address)
