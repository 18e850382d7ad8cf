"""The answers that the kernel gives: maps, programs and hooks, as one object.

Workers alone say what is answered: each has a book (`dnsfront/kernel/book.py`), whose
memory is made here. The program finds the owner of a name as steering does, in the same
table, and looks into the owner's book. `kern/README.md` has the order of updates.
"""

from __future__ import annotations

import os
import platform
import socket
import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Final

from dnsfront.errors import KernelError
from dnsfront.ipc.spec import Endpoint
from dnsfront.kernel.book import KINDS, SET_OCTETS, WAYS, BookReader, BookSize
from dnsfront.kernel.clients import Routes, tries
from dnsfront.kernel.hook import Hook, HookMode, program_type_of
from dnsfront.kernel.layouts import constant, layout
from dnsfront.kernel.loader import Job, Loading
from dnsfront.kernel.maps import (
    ANY_SIZE,
    MMAPABLE,
    UNALLOCATED,
    Map,
    MapForm,
    MapKind,
    new_map,
)
from dnsfront.kernel.pages import MAX_WORKER_ID
from dnsfront.kernel.programs import ANSWER

#: Addresses that can be answered at, those of wildcards included.
MAX_ADDRESSES: Final = 4096
#: Networks of clients, of one family.
MAX_NETWORKS: Final = 1 << 20

_FRAME: Final = layout("frame")
_PASSED: Final = layout("passed")
_ANSWERED: Final = layout("answered")
_TO_ADDRESS: Final = constant("BOUND_TO_ADDRESS")
_TO_WILDCARD: Final = constant("BOUND_TO_WILDCARD")
#: The responses of a worker by their kind, of one CPU.
_BY_KIND: Final = struct.Struct(f"={KINDS}Q")
_ADDRESSES: Final = MapForm(
    MapKind.HASH, 4, MAX_ADDRESSES, key_octets=layout("listener").size_octets
)
_WORKERS: Final = MAX_WORKER_ID + 1
_OF_WORKERS: Final = MapForm(MapKind.ARRAY_OF_MAPS, 4, _WORKERS)
_CLIENTS: Final = MapForm(MapKind.ARRAY_OF_MAPS, 4, 1)
_BOOK_FLAGS: Final = MMAPABLE | ANY_SIZE
_FIRST_KEY: Final = struct.pack("=I", 0)
_FAMILIES: Final = {socket.AF_INET: "client4", socket.AF_INET6: "client6"}
#: The machines whose order of stores and loads a cell's serial rests on: as written.
_MACHINES: Final = ("x86_64",)

#: Functions of the program by the mode of the hook.
_FUNCTIONS: Final[dict[HookMode, str]] = {
    "xdp": "answer_native",
    "xdp_generic": "answer_generic",
    "tc": "answer_tc",
}


#: How many responses the kernel gave, by worker_id and kind.
Hits = Counter[tuple[int, int]]


class KernelAnswers:
    """The maps, the books of the workers, and the hooks.

    The supervisor owns the object and every descriptor in it. What is attached ends
    when it closes. Until :meth:`configure` says so, every packet passes on.
    """

    def __init__(
        self,
        *,
        slots: int,
        hash_key: bytes,
        tables_fd: int,
        live_fd: int,
        room_octets: int,
    ) -> None:
        """Create the maps.

        *tables_fd* and *live_fd* are those of the program that steers, of as many
        *slots* and with the same *hash_key*; *room_octets* that of all books.

        Raises:
            PrivilegeError: this process may make no maps.
            KernelError: the kernel or the machine lacks something, as the text says.
        """
        if platform.machine() not in _MACHINES:
            raise KernelError(
                f"answers in the kernel: not on {platform.machine()};"
                f" want {' or '.join(_MACHINES)}"
            )
        self._slots, self._hash_key = slots, hash_key
        self._tables_fd, self._live_fd = tables_fd, live_fd
        self._room_octets = room_octets
        self._books: dict[int, tuple[Map, Map]] = {}
        self._addresses_now: dict[bytes, int] = {}
        self._networks: tuple[str, ...] = ()
        self._routes: Routes = {}
        self._loadings: dict[HookMode, Loading] = {}
        self._programs: dict[HookMode, int] = {}
        self._hooks: list[Hook] = []
        with ExitStack() as resources:
            self._resources = resources
            smallest = BookSize(1, room_octets)
            self._addresses = self._create("answer_addresses", _ADDRESSES)
            self._sets = self._create("answer_sets", _OF_WORKERS, _sets_form(smallest))
            self._answers = self._create(
                "answers", _OF_WORKERS, _answers_form(smallest)
            )
            self._clients = {
                family: self._create(f"answer_{name}", _CLIENTS, _trie_form(name, 1))
                for family, name in _FAMILIES.items()
            }
            self._answering = self._create(
                "answering",
                MapForm(MapKind.ARRAY, layout("answering").size_octets, 1),
            )
            self._answered = self._create(
                "answered",
                MapForm(MapKind.PERCPU_ARRAY, _ANSWERED.size_octets, _WORKERS),
            )
            self._passed = self._create(
                "passed", MapForm(MapKind.PERCPU_ARRAY, _PASSED.size_octets, 1)
            )
            self._frames = self._create(
                "frames", MapForm(MapKind.PERCPU_ARRAY, _FRAME.size_octets, 1)
            )
            self._resources = resources.pop_all()

    def _create(self, name: str, form: MapForm, holds: MapForm | None = None) -> Map:
        """Return a new map that closes with this object; *holds* is the inner form."""
        created = new_map(name, form, holds)
        self._resources.callback(created.close)
        return created

    # -- what is answered, and to whom

    def add_book(self, worker_id: int, size: BookSize) -> tuple[int, int]:
        """Give *worker_id* an empty book in place of the one it may have.

        The descriptors of `sets` and `answers` are for the worker to map, and owned
        here. A worker that is gone may still have the book of before, which nobody
        reads any more.

        Raises:
            KernelError: the kernel has no memory for it.
        """
        assert size.room_octets == self._room_octets
        key = struct.pack("=I", worker_id)
        sets = Map("sets", _sets_form(size))
        answers = None
        try:
            with sets.map_memory() as memory:
                memory[:8] = struct.pack("=Q", size.sets)
            answers = Map("answers", _answers_form(size))
            # The tags first: there are none yet, so nothing is found on the way.
            self._sets.update(key, struct.pack("=I", sets.fd))
            self._answers.update(key, struct.pack("=I", answers.fd))
        except BaseException:
            self._sets.delete(key)
            sets.close()
            if answers:
                answers.close()
            raise
        self._close_book(worker_id)
        self._books[worker_id] = (sets, answers)
        return sets.fd, answers.fd

    def remove_book(self, worker_id: int) -> None:
        """Answer no more for *worker_id*; on return no packet is on its way there."""
        key = struct.pack("=I", worker_id)
        self._sets.delete(key)
        self._answers.delete(key)
        self._close_book(worker_id)

    def _close_book(self, worker_id: int) -> None:
        for used in self._books.pop(worker_id, ()):
            used.close()

    def set_addresses(self, endpoints: Mapping[Endpoint, bool]) -> None:
        """Answer what is sent to *endpoints*, and nothing else.

        There are no wildcards among them, and no addresses of one link. Where the value
        is true a wildcard socket serves the address: what comes for the socket of
        somebody else who is bound there is left alone.

        Raises:
            KernelError: there are more than the map holds.
        """
        wanted = {
            _address_key(endpoint): _TO_WILDCARD if is_wildcard else _TO_ADDRESS
            for endpoint, is_wildcard in endpoints.items()
        }
        if len(wanted) > MAX_ADDRESSES:
            raise KernelError(
                f"listen: stands for {len(wanted)} addresses and ports of this host,"
                f" and the kernel answers at {MAX_ADDRESSES} at most;"
                " want them named, in place of a wildcard"
            )
        for key in self._addresses_now.keys() - wanted.keys():
            self._addresses.delete(key)
        for key, bound in wanted.items():
            if self._addresses_now.get(key) != bound:
                self._addresses.update(key, struct.pack("=I", bound))
        self._addresses_now = wanted

    def set_clients(self, networks: Sequence[str]) -> None:
        """Answer clients of *networks*, each with its prefix, and no others.

        On return no packet is judged by what was said before.

        Raises:
            KernelError: there are more networks than the map holds.
        """
        self._networks = tuple(networks)
        self._publish_clients()

    def set_routes(self, routes: Routes) -> None:
        """Answer clients by the interface alone that leads to them.

        Raises:
            KernelError: there are more than the map of clients holds.
        """
        if routes != self._routes:
            self._routes = dict(routes)
            self._publish_clients()

    def _publish_clients(self) -> None:
        entries = tries(self._networks, self._routes)
        for family, name in _FAMILIES.items():
            trie = Map("clients", _trie_form(name, MAX_NETWORKS))
            try:
                for key, value in entries[family].items():
                    trie.update(key, struct.pack("=I", value))
                self._clients[family].update(_FIRST_KEY, struct.pack("=I", trie.fd))
            finally:
                trie.close()

    def configure(self, *, is_on: bool, udp_size: int) -> None:
        """Answer, or let every packet pass on; say that we take *udp_size* octets."""
        self._answering.update(_FIRST_KEY, struct.pack("=II", is_on, udp_size))

    # -- programs and hooks

    def start_loading(self, mode: HookMode) -> None:
        """Have the program of *mode* made; :meth:`attach` waits for it."""
        if mode not in self._loadings and mode not in self._programs:
            loading = Loading(self._job(mode))
            self._resources.callback(loading.close)
            self._loadings[mode] = loading

    def program_fd(self, mode: HookMode, timeout_s: float = 20) -> int:
        """Return the program of *mode*, loaded if it is not; owned by this object.

        Raises:
            PrivilegeError: loading needs a right that this process lacks.
            KernelError: the compiler or the verifier refuses, or takes too long.
        """
        if mode not in self._programs:
            self.start_loading(mode)
            fd = self._loadings.pop(mode).wait(timeout_s)
            self._resources.callback(os.close, fd)
            self._programs[mode] = fd
        return self._programs[mode]

    def attach(self, interface: str, mode: HookMode) -> Hook:
        """Answer at *interface* until the hook is closed, or this object.

        Raises:
            PrivilegeError: a right is missing.
            KernelError: the program cannot be loaded, or not be attached there.
        """
        hook = Hook(interface, mode, self.program_fd(mode))
        self._hooks = [one for one in self._hooks if one.is_open]
        self._hooks.append(hook)
        return hook

    def _job(self, mode: HookMode) -> Job:
        key0, key1 = struct.unpack("<QQ", self._hash_key)
        values = {
            "TABLES_FD": self._tables_fd,
            "LIVE_FD": self._live_fd,
            "ADDRESSES_FD": self._addresses.fd,
            "CLIENTS4_FD": self._clients[socket.AF_INET].fd,
            "CLIENTS6_FD": self._clients[socket.AF_INET6].fd,
            "SETS_FD": self._sets.fd,
            "ANSWERS_FD": self._answers.fd,
            "ANSWERING_FD": self._answering.fd,
            "ANSWERED_FD": self._answered.fd,
            "PASSED_FD": self._passed.fd,
            "FRAMES_FD": self._frames.fd,
            "RING_SLOTS": self._slots,
            "ROOM_OCTETS": self._room_octets,
            "KEY0": key0,
            "KEY1": key1,
        }
        return Job(ANSWER, _FUNCTIONS[mode], values, program_type_of(mode))

    # -- counters

    def hits(self) -> Hits:
        """Return the responses given in the name of each worker with a book.

        They do not fall when a worker gets another book.
        """
        found = Hits()
        for worker_id in self._books:
            of_cpus = self._answered.lookup_per_cpu(struct.pack("=I", worker_id))
            by_kind = zip(*map(_BY_KIND.unpack, of_cpus), strict=True)
            for kind, counts in enumerate(by_kind):
                found[worker_id, kind] = sum(counts)
        return +found

    def given(self, worker_id: int, tags: Iterable[int], now_s: int) -> list[bool]:
        """Return which of *tags* are answered for the worker in the second *now_s*."""
        if worker_id not in self._books:
            return [False for _ in tags]
        sets_map, answers_map = self._books[worker_id]
        count = sets_map.form.entries - 1
        with (
            sets_map.map_memory() as sets,
            answers_map.map_memory() as answers,
            memoryview(sets) as of_sets,
        ):
            reader = BookReader(of_sets, memoryview(answers), count)
            try:
                return [reader.is_given(tag, now_s) for tag in tags]
            finally:
                reader.release()

    def passed(self) -> dict[str, int]:
        """Return why packets passed on, and how many, named as in `kern/maps.h`."""
        return self._passed.sums(_FIRST_KEY, _PASSED.fields)

    def close(self) -> None:
        """Detach everywhere and give up programs, maps and books."""
        while self._hooks:
            self._hooks.pop().close()
        self._resources.close()
        for worker_id in tuple(self._books):
            self._close_book(worker_id)


def _sets_form(size: BookSize) -> MapForm:
    return MapForm(MapKind.ARRAY, SET_OCTETS, size.sets + 1, flags=_BOOK_FLAGS)


def _answers_form(size: BookSize) -> MapForm:
    return MapForm(MapKind.ARRAY, size.cell_octets, WAYS * size.sets, flags=_BOOK_FLAGS)


def _trie_form(name: str, entries: int) -> MapForm:
    key_octets = layout(name).size_octets
    return MapForm(MapKind.LPM_TRIE, 4, entries, key_octets, UNALLOCATED)


def _address_key(endpoint: Endpoint) -> bytes:
    """Return the key of an address as a packet has it: `struct listener`."""
    host, port, family = endpoint
    address = socket.inet_pton(family, host).ljust(16, b"\0")
    return struct.pack("=III16s", family, socket.IPPROTO_UDP, port, address)
