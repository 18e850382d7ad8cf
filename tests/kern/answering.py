"""The program that answers, the book of a worker, and what the worker would say."""

from __future__ import annotations

import contextlib
import mmap
import random
import socket
import time
from typing import TYPE_CHECKING, Final

from dnsfront.dns import wire
from dnsfront.dns.cache import Cache
from dnsfront.dns.entry import Entry
from dnsfront.dns.query import parse_query
from dnsfront.dns.settings import CacheSettings
from dnsfront.dns.shape import Shape, Shapes
from dnsfront.kernel.answers import KernelAnswers
from dnsfront.kernel.book import FOREVER, Book, BookSize, tag_of
from dnsfront.ring.qhash import qname_digest
from tests.kern.bpf import run_packet
from tests.kern.lab import HASH_KEY, SLOTS
from tests.kern.packets import PORT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dnsfront.kernel.clients import Routes
    from dnsfront.kernel.hook import HookMode
    from dnsfront.kernel.steering import BpfSteering

MODES: Final[tuple[HookMode, ...]] = ("xdp", "xdp_generic", "tc")
ROOM_OCTETS: Final = 488
UDP_SIZE: Final = 1232
#: What the programs say of a packet that is answered, and of one that passes on.
ANSWERED: Final = {"xdp": 3, "xdp_generic": 3, "tc": 7}
PASSED: Final = {"xdp": 2, "xdp_generic": 2, "tc": 0xFFFFFFFF}

#: Packets of a test run come in by lo, which has this index.
LOOPBACK: Final = 1
EVERYWHERE: Final = {(bytes(4), 0): LOOPBACK, (bytes(16), 0): LOOPBACK}

#: An OPT record as most clients send it.
OPT: Final = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
#: A record of type A for the name in the question.
RECORD: Final = b"\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4\xc0\0\2\1"
TTL_AT: Final = 6
HEAD: Final = b"\x80\x80\0\1\0\0\0\0"


def now_s() -> int:
    """Return the second that a worker's clock shows."""
    return time.monotonic_ns() // 1_000_000_000


class AnswerLab:
    """Answers of worker 1, which is live and owns all names, for every client."""

    def __init__(
        self, steering: BpfSteering, *, room_octets: int = ROOM_OCTETS
    ) -> None:
        self.steering = steering
        self._room_octets = room_octets
        self.answers = KernelAnswers(
            slots=SLOTS,
            hash_key=HASH_KEY,
            tables_fd=steering.tables_fd,
            live_fd=steering.kernel_live_fd,
            room_octets=room_octets,
        )
        for mode in MODES:
            self.answers.start_loading(mode)
        self._has_all_clients = False
        self.reset()

    def reset(self) -> None:
        """Begin anew, with nothing in the book; what costs time only if need be."""
        if self._is_own_book:
            self.book.clear()
        else:
            self.book = self.new_book(1)
            self._own_book = self.answers._books[1]
        settings = CacheSettings(100_000, 1 << 30, 1 << 16, 0, 86400, 0, prefetch=False)
        self.cache = Cache(settings)
        self.shapes = Shapes(self.cache.views, nsid=b"w1", udp_size=UDP_SIZE)
        self.steering.publish(bytes((1, 2, 0, 0)) * SLOTS)
        self.steering.set_live(1, is_live=True)
        self.answers.set_addresses(
            {
                ("127.0.0.1", PORT, socket.AF_INET): False,
                ("::1", PORT, socket.AF_INET6): False,
            }
        )
        if not self._has_all_clients:
            self.serve(["0.0.0.0/0", "::/0"])
        self._has_all_clients = True
        self.answers.configure(is_on=True, udp_size=UDP_SIZE)

    @property
    def _is_own_book(self) -> bool:
        """Whether worker 1 still has the book that it was given here."""
        books = self.answers._books
        return 1 in books and books[1] is self._own_book

    def serve(self, networks: list[str], routes: Routes = EVERYWHERE) -> None:
        """Answer these clients until the test ends, where *routes* lead to them."""
        self._has_all_clients = False
        self.answers.set_routes(routes)
        self.answers.set_clients(networks)

    def new_book(self, worker_id: int, sets: int = 512) -> Book:
        """Give a worker an empty book."""
        size = BookSize(sets, self._room_octets)
        sets_fd, answers_fd = self.answers.add_book(worker_id, size)
        return Book(
            memoryview(mmap.mmap(sets_fd, size.sets_octets)),
            memoryview(mmap.mmap(answers_fd, size.answers_octets)),
        )

    def keep(self, entry: Entry, book: Book | None = None) -> int:
        """Have the kernel answer with *entry*; return its cell in the book."""
        return (self.book if book is None else book).put(
            tag(entry),
            view=entry.view,
            key=entry.key,
            tail=entry.tail,
            head=entry.head,
            body=entry.body,
            ttl_offsets=entry.ttl_offsets,
            aged_at_s=entry.aged_at,
            until_s=min(entry.expires_at, FOREVER),
            kind=entry.head[1] & 0xF,
            now_s=now_s(),
        )

    def run(self, mode: HookMode, packet: bytes) -> bytes | None:
        """Return what the program of *mode* makes of *packet*, None if it passes on."""
        verdict, made = run_packet(self.answers.program_fd(mode), packet)
        if verdict == ANSWERED[mode]:
            return made
        assert verdict == PASSED[mode]
        assert made == packet, "it passed on, and was touched"
        return None

    def shape(self, message: bytes) -> Shape | None:
        """Return the shape by which the fast path knows a query, if it does."""
        by_opt = self.shapes.with_opt.get(message[2:12])
        if by_opt is None:
            return self.shapes.plain.get(message[2:12])
        if message[-11:] not in by_opt:
            query = parse_query(message)
            self.shapes.learn(message, query, self.shapes.of(query, is_stream=False))
        return by_opt.get(message[-11:])

    def response(self, message: bytes, entry: Entry, at_s: int) -> bytes | None:
        """Return what a worker says to a query at *at_s*; None for a truncated one."""
        shape = self.shape(message)
        assert shape
        aged = copy_of(entry)
        assert self.cache.fresh(aged, at_s)
        question = message[12:-11] if shape.opt else message[12:]
        made = shape.message(message[:2], question, aged.head, aged.body)
        return None if made[2] & wire.TC >> 8 else made

    @contextlib.contextmanager
    def counting(
        self, *, answered: int = 0, is_alone: bool = True, **expected: int
    ) -> Iterator[None]:
        """Prove that the body changes the counters by exactly these.

        Where it is not alone, what is not ours does not count: an interface has
        packets of its own.
        """
        before, hits = self.answers.passed(), self.answers.hits()
        yield
        after, hits_after = self.answers.passed(), self.answers.hits()
        changes = {
            name: after[name] - count
            for name, count in before.items()
            if after[name] != count and (is_alone or name != "not_ours")
        }
        assert changes == {name: count for name, count in expected.items() if count}
        assert sum(hits_after.values()) - sum(hits.values()) == answered

    def close(self) -> None:
        """Give up the programs and the maps."""
        self.answers.close()


def tag(entry: Entry) -> int:
    """Return the tag of the entry's question."""
    digest = qname_digest(entry.key[:-5], HASH_KEY)
    return tag_of(digest, entry.tail, entry.view)


def entry_for(
    question: bytes,
    view: int = 1,
    *,
    body: bytes = RECORD,
    head: bytes = HEAD,
    ttl_offsets: tuple[int, ...] = (TTL_AT,),
    age_s: int = 0,
    lives_s: int = 1000,
) -> Entry:
    """Return an entry whose TTLs were true *age_s* ago."""
    entry = Entry(view, question.lower(), question[-4:])
    entry.head, entry.body, entry.ttl_offsets = head, body, ttl_offsets
    entry.aged_at = now_s() - age_s
    entry.expires_at = now_s() + lives_s
    entry.lifetime_s = lives_s + age_s
    return entry


def copy_of(entry: Entry) -> Entry:
    """Return the entry once more, for one of the two to age."""
    other = Entry(entry.view, entry.key, entry.tail)
    for name in (
        "aged_at",
        "body",
        "expires_at",
        "head",
        "lifetime_s",
        "odd",
        "ttl_offsets",
    ):
        setattr(other, name, getattr(entry, name))
    return other


def message_for(
    question: bytes, *, flags: int = wire.RD, opt: bytes = b"", message_id: int = 7
) -> bytes:
    """Return a query as a client sends it."""
    counts = b"\0\1\0\0\0\0\0\1" if opt else b"\0\1\0\0\0\0\0\0"
    head = message_id.to_bytes(2, "big") + flags.to_bytes(2, "big")
    return head + counts + question + opt


def random_records(
    rng: random.Random, room: int
) -> tuple[bytes, tuple[int, ...], bytes]:
    """Return a body, the places of its TTLs, and a head, as none of any zone."""
    octets = bytearray(rng.randbytes(rng.choice((0, 4, 16, 17, rng.randint(4, room)))))
    offsets = []
    at = rng.randint(0, 7)
    while at + 4 <= len(octets) and len(offsets) < 8:
        octets[at : at + 4] = rng.choice(
            (300, 3600, 1000, 0x7FFFFFFF, rng.getrandbits(31))
        ).to_bytes(4, "big")
        offsets.append(at)
        at += rng.randint(4, 40)
    flags = wire.QR | wire.RA | rng.choice((0, wire.AD, wire.AA, 3, wire.AD | wire.AA))
    counts = bytes(
        (0, rng.randint(0, 9), 0, rng.randint(0, 9), 0, rng.choice((0, 3, 255)))
    )
    return bytes(octets), tuple(offsets), flags.to_bytes(2, "big") + counts
