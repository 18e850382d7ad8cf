"""What the kernel may answer in a worker's name is what its cache would say."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dnsfront.dns import wire
from dnsfront.dns.cache import Cache
from dnsfront.dns.entry import ODD_ERRORS, ODD_STUB, Entry, aged, made
from dnsfront.dns.forgetting import everything
from dnsfront.ipc import stats
from dnsfront.ipc.stats import Counter
from dnsfront.kernel.book import FOREVER
from dnsfront.worker.answering.bookkeeper import Bookkeeper
from dnsfront.worker.process.clock import Clock
from dnsfront.worker.process.meter import Meter
from tests.unit.caching import (
    HTTPS,
    NAME,
    TYPE97,
    A,
    address,
    ask,
    denial,
    flush,
    get,
    limits,
    name_of,
    put,
    tail_of,
    zone_sections,
)
from tests.unit.shelf import Shelf, Written

HASH_KEY = bytes(range(16))
_S = 1_000_000_000


class Desk:
    """A cache, its bookkeeper and a book, at a time that is told."""

    def __init__(self, *, sets: int = 16, **changes: Any) -> None:  # noqa: ANN401
        self.clock = Clock()
        self.cache = Cache(limits(**changes))
        self.words = memoryview(bytearray(stats.STATS_OCTETS)).cast("Q")
        meter = Meter(self.words, self.clock)
        self.keeper = Bookkeeper(
            self.cache, hash_key=HASH_KEY, clock=self.clock, meter=meter
        )
        self.shelf = Shelf(sets)
        self.keeper.use(self.shelf.open())

    def set_time(self, now_s: int) -> None:
        self.clock.set(now_s * _S)

    def ask(self, now_s: int, **which: Any) -> list[int] | None:  # noqa: ANN401
        """Ask as a client does; a round of the worker ends."""
        self.set_time(now_s)
        ttls = ask(self.cache, now_s, **which)
        self.keeper.work()
        return ttls

    def ask_twice(self, now_s: int = 1, **which: Any) -> None:  # noqa: ANN401
        self.ask(now_s, **which)
        self.ask(now_s + 1, **which)

    def written(self) -> list[Written]:
        return list(self.shelf.written().values())

    def harvest(self) -> None:
        for _ in range(16):
            self.keeper.harvest()


def test_the_second_second_in_which_a_name_is_hit_puts_it_into_the_book() -> None:
    desk = Desk()
    entry = put(desk.cache, address(300))

    desk.ask(1)
    assert desk.written() == []
    desk.ask(2)

    assert desk.written() == [
        Written(1, entry.canonical, entry.head, entry.body, 2, entry.due_at)
    ]


def test_workers_are_asked_again_in_the_last_tenth_of_a_life() -> None:
    desk = Desk()
    put(desk.cache, address(300))
    desk.ask_twice()

    assert [x.until_s for x in desk.written()] == [270]


def test_answer_of_a_zone_stays_until_it_goes() -> None:
    desk = Desk()
    tail = tail_of(A)
    desk.cache.put_zone(1, NAME + tail, tail, zone_sections(), 0)
    desk.ask_twice()

    assert [x.until_s for x in desk.written()] == [FOREVER]


def test_what_may_depend_on_the_client_is_not_in_the_book() -> None:
    desk = Desk()
    for number in range(3):
        put(desk.cache, address(300), name=name_of(number))
        desk.ask_twice(name=name_of(number))
    assert len(desk.written()) == 3

    desk.keeper.withhold(lambda canonical: canonical.startswith(name_of(1)))
    assert len(desk.written()) == 2
    desk.ask_twice(3, name=name_of(1))
    assert len(desk.written()) == 2

    desk.keeper.withhold(None)
    desk.ask_twice(5, name=name_of(1))
    assert len(desk.written()) == 3


def test_answer_by_a_rule_is_counted_and_so_not_in_the_book() -> None:
    desk = Desk()
    tail = tail_of(A)
    desk.cache.put_made(made(1, NAME + tail, tail, zone_sections(), 0, rule=1))

    desk.ask_twice()

    assert desk.written() == []


def test_true_type_is_told_of_types_whose_keys_are_equal() -> None:
    desk = Desk()
    put(desk.cache, address(300), qtype=TYPE97)
    desk.ask_twice(qtype=TYPE97)

    assert [x.question for x in desk.written()] == [NAME + tail_of(TYPE97)]


def test_flush_empties_the_book_before_it_returns() -> None:
    desk = Desk()
    for number in range(9):
        put(desk.cache, address(300), name=name_of(number))
        desk.ask_twice(name=name_of(number))
    assert len(desk.written()) == 9

    flush(desk.cache)

    assert desk.written() == []


def test_another_response_is_in_the_book_at_once() -> None:
    desk = Desk()
    put(desk.cache, address(300))
    desk.ask_twice()

    desk.set_time(280)
    entry = put(desk.cache, address(600, mark=2), now_s=280)

    [written] = desk.written()
    assert (written.body, written.aged_at_s) == (entry.body, 280)
    assert written.until_s == 280 + 540


def test_response_that_only_a_worker_can_give_takes_the_one_before_out() -> None:
    desk = Desk()
    put(desk.cache, address(300))
    desk.ask_twice()

    put(desk.cache, address(*[300] * 60), now_s=3)

    assert desk.written() == []


def test_ttl_that_is_over_takes_an_answer_out_at_its_next_change() -> None:
    desk = Desk()
    put(desk.cache, address(300))
    desk.ask_twice()
    desk.set_time(400)

    desk.cache.resize(limits(max_ttl_s=10))
    list(desk.cache.shortening(400))

    assert all(x.until_s <= 400 for x in desk.written())


def test_what_is_not_for_everybody_who_asks_alike_is_not_in_the_book() -> None:
    desk = Desk(rotate=True, max_entry_size_octets=2000)
    two = address(300, 300)
    two.body = two.body[:-1] + b"\2"
    put(desk.cache, two)  # its addresses change their order
    desk.ask_twice()
    put(desk.cache, address(300), qtype=255)
    desk.ask_twice(3, qtype=255)
    put(desk.cache, address(*[300] * 400), name=name_of(1))  # too large: TC
    desk.ask_twice(5, name=name_of(1))
    stub = get(desk.cache, name=name_of(1))
    assert stub is not None
    assert stub.odd & ODD_STUB
    troubled = address(300)
    troubled.errors = b"\0\17\0\2\0\3"
    assert put(desk.cache, troubled, name=name_of(2)).odd & ODD_ERRORS
    desk.ask_twice(7, name=name_of(2))

    assert desk.written() == []


def test_denial_is_in_the_book_with_its_code() -> None:
    desk = Desk()
    put(desk.cache, denial(300, 60))
    desk.ask_twice()

    [written] = desk.written()
    assert written.head[1] & 15 == wire.NXDOMAIN


def test_hits_of_the_kernel_keep_an_entry_in_the_cache() -> None:
    desk = Desk(max_entries=4)
    entry = put(desk.cache, address(3000))
    desk.ask_twice()
    for number in range(40):
        [cell] = desk.shelf.written()
        desk.shelf.hit(cell)
        desk.set_time(10 + number)
        desk.harvest()
        put(desk.cache, address(3000), name=name_of(number), now_s=10 + number)

    assert entry.is_live


def test_entry_that_the_kernel_was_not_asked_for_goes_as_ever() -> None:
    desk = Desk(max_entries=4)
    entry = put(desk.cache, address(3000))
    desk.ask_twice()
    for number in range(40):
        put(desk.cache, address(3000), name=name_of(number), now_s=10)
        desk.ask_twice(10, name=name_of(number))

    assert not entry.is_live


def test_gauges_tell_what_the_book_has() -> None:
    desk = Desk()
    put(desk.cache, address(300))
    desk.ask_twice()
    desk.harvest()

    assert desk.words[Counter.KERNEL_ENTRIES] == 1
    assert desk.words[Counter.KERNEL_OCTETS] == desk.shelf.size.cell_octets


def test_without_a_book_nothing_is_kept() -> None:
    desk = Desk()
    put(desk.cache, address(300))
    desk.ask_twice()
    desk.keeper.use(None)

    desk.ask_twice(5)
    flush(desk.cache)
    desk.harvest()

    assert len(desk.written()) == 1  # of the book that nobody reads any more


def test_those_asked_for_in_one_round_are_put_into_the_book_in_several() -> None:
    desk = Desk(sets=40, max_entries=300)
    names = [name_of(number) for number in range(150)]
    for second in (1, 2):
        desk.set_time(second)
        for name in names:
            if second == 1:
                put(desk.cache, address(300), name=name)
            assert ask(desk.cache, second, name=name)
    rounds = 0
    while desk.keeper.has_work:
        desk.keeper.work()
        rounds += 1

    assert rounds == 3
    assert len(desk.written()) == 150


def test_another_book_gets_what_the_one_of_before_had() -> None:
    desk = Desk(sets=40, max_entries=300)
    for number in range(100):
        put(desk.cache, address(300), name=name_of(number))
        desk.ask_twice(name=name_of(number))
    before = {x.question for x in desk.written()}
    desk.shelf = Shelf(40)

    desk.keeper.use(desk.shelf.open())
    rounds = 0
    while desk.keeper.has_work:
        desk.keeper.work()
        rounds += 1

    assert rounds == 2
    assert {x.question for x in desk.written()} == before


names = st.sampled_from([NAME, *map(name_of, range(12))])
types = st.sampled_from([A, HTTPS, TYPE97])
views = st.integers(0, 3)


class BookMachine(RuleBasedStateMachine):
    """Any order of operations, with a book that is too small for what is asked for."""

    @initialize()
    def begin(self) -> None:
        self.desk = Desk(sets=2, max_entries=20)
        self.now_s = 10
        self.pieces: list[Generator[None, None, object]] = []

    @rule(name=names, qtype=types, view=views, ttl=st.integers(1, 90), n=views)
    def learn(self, name: bytes, qtype: int, view: int, ttl: int, n: int) -> None:
        response = address(*[ttl] * (n + 1), mark=self.now_s)
        put(
            self.desk.cache, response,
            name=name, qtype=qtype, view=view, now_s=self.now_s,
        )  # fmt: skip

    @rule(name=names, qtype=types, view=views)
    def ask(self, name: bytes, qtype: int, view: int) -> None:
        self.desk.ask(self.now_s, name=name, qtype=qtype, view=view)

    @rule(seconds=st.integers(1, 30))
    def wait(self, seconds: int) -> None:
        self.now_s += seconds
        self.desk.set_time(self.now_s)

    @rule(number=st.integers(0, 15))
    def hit(self, number: int) -> None:
        written = sorted(self.desk.shelf.written())
        if written:
            self.desk.shelf.hit(written[number % len(written)])

    @rule()
    def harvest(self) -> None:
        self.desk.keeper.harvest()

    @rule()
    def begin_flush(self) -> None:
        self.pieces.append(self.desk.cache.flushing(everything))

    @rule()
    def go_on(self) -> None:
        for piece in self.pieces[:1]:
            if next(piece, "over") == "over":
                self.pieces.remove(piece)

    @rule(high=st.sampled_from([5, 60, 86400]))
    def shorten(self, high: int) -> None:
        self.desk.cache.resize(limits(max_entries=20, max_ttl_s=high))
        for _ in self.desk.cache.shortening(self.now_s):
            pass

    @rule()
    def another_book(self) -> None:
        self.desk.shelf = Shelf(2)
        self.desk.keeper.use(self.desk.shelf.open())

    @invariant()
    def the_book_says_what_the_cache_says(self) -> None:
        if not hasattr(self, "desk"):
            return
        cached = {
            (number, entry.canonical): entry
            for number, view in enumerate(self.desk.cache.views)
            for entry in view.values()
        }
        for written in self.desk.written():
            entry = cached[written.view, written.question]
            assert written.head == entry.head
            assert _at(entry, entry.body, entry.aged_at, self.now_s) == _at(
                entry, written.body, written.aged_at_s, self.now_s
            )
            assert written.until_s <= entry.expires_at


def _at(entry: Entry, body: bytes, aged_at_s: int, now_s: int) -> bytes:
    return aged(body, entry.ttl_offsets, lambda ttl: ttl - (now_s - aged_at_s))


TestBookInAnyOrder = BookMachine.TestCase
TestBookInAnyOrder.settings = settings(max_examples=60, stateful_step_count=50)
