from __future__ import annotations

import random
import struct
from array import array

import pytest

from dnsfront.kernel.book import (
    FOREVER,
    WAYS,
    Book,
    BookReader,
    BookSize,
    book_size,
    room_octets_for,
    tag_of,
)
from dnsfront.kernel.layouts import layout
from dnsfront.ring.qhash import qname_digest, qname_hash

ANSWER = layout("answer").ctype
KEY = b"\3www\7example\0\0\1\0\1"
BODY = bytes.fromhex("c00c00010001000000640004c0000201")
HEAD = b"\x84\x80\0\1\0\0\0\0"
TTL_AT = 6


class Shelf:
    """A book and the memory behind it, as the program sees it."""

    def __init__(self, sets: int = 4, room_octets: int = 488) -> None:
        self.size = BookSize(sets, room_octets)
        self.sets = bytearray(self.size.sets_octets)
        self.answers = bytearray(self.size.answers_octets)
        struct.pack_into("=Q", self.sets, 0, sets)
        self.book = self.open()

    def open(self) -> Book:
        return Book(memoryview(self.sets), memoryview(self.answers))

    def put(self, tag: int, *, now_s: int = 100, body: bytes = BODY) -> int:
        return self.book.put(
            tag,
            view=1,
            key=KEY,
            tail=KEY[-4:],
            head=HEAD,
            body=body,
            ttl_offsets=(TTL_AT,),
            aged_at_s=now_s,
            until_s=now_s + 60,
            kind=3,
            now_s=now_s,
        )

    def cell(self, cell: int) -> tuple[object, bytes]:
        at = cell * self.size.cell_octets
        head = ANSWER.from_buffer_copy(self.answers, at)
        return head, bytes(self.answers[at + 64 : at + self.size.cell_octets])

    def hit(self, cell: int, times: int = 1) -> None:
        at = cell * self.size.cell_octets + ANSWER.hits.offset
        count = struct.unpack_from("=Q", self.answers, at)[0]
        struct.pack_into("=Q", self.answers, at, count + times)

    def tags(self) -> list[int]:
        return array("Q", self.sets)[WAYS:].tolist()


def tags_of_one_set(count: int) -> list[int]:
    return [1 << 40 | number for number in range(1, count + 1)]


def test_cell_has_the_layout_of_the_header() -> None:
    shelf = Shelf()

    cell = shelf.put(7 << 60 | 5)

    head, room = shelf.cell(cell)
    assert {
        field: (list(value) if hasattr(value, "__len__") else value)
        for field in layout("answer").fields
        if (value := getattr(head, field)) is not None
    } == {
        "serial": 2,
        "hits": 0,
        "until_s": 160,
        "aged_at_s": 100,
        "tail": int.from_bytes(KEY[-4:], "little"),
        "question_octets": len(KEY),
        "records_octets": len(BODY),
        "head": list(HEAD),
        "sum": sum(struct.unpack("<8H", BODY)) % 65535,
        "view": 1,
        "ttls": 1,
        "ttl_at": [TTL_AT, 0, 0, 0, 0, 0, 0, 0],
        "kind": 3,
    }
    padded = KEY + bytes(-len(KEY) % 8)
    assert room.startswith(padded + BODY)
    assert shelf.tags()[cell] == 7 << 60 | 5


def test_answer_of_the_same_tag_is_replaced_in_its_place() -> None:
    shelf = Shelf()
    first = shelf.put(5)

    second = shelf.put(5, body=BODY + BODY)

    assert first == second
    assert len(shelf.book) == 1
    assert shelf.cell(first)[0].records_octets == 32  # type: ignore[attr-defined]
    assert shelf.cell(first)[0].serial == 4  # type: ignore[attr-defined]


def test_what_is_removed_has_no_tag_any_more() -> None:
    shelf = Shelf()
    cell = shelf.put(5)

    assert shelf.book.remove(5)
    assert not shelf.book.remove(5)
    assert shelf.tags()[cell] == 0
    assert len(shelf.book) == 0
    assert shelf.book.find(5) == -1


def test_reader_goes_by_its_own_count_and_not_by_the_workers() -> None:
    shelf = Shelf(sets=4)
    shelf.put(7 << 60 | 5)
    sets = bytearray(shelf.sets)
    for said in (0, 1 << 40):
        struct.pack_into("=Q", sets, 0, said)

        reader = BookReader(memoryview(sets), memoryview(shelf.answers), 4)

        assert reader.is_given(7 << 60 | 5, 159)
        assert not reader.is_given(7 << 60 | 5, 160)
        assert not reader.is_given(7 << 60 | 6, 159)


def test_set_is_found_by_the_upper_half_of_the_tag() -> None:
    shelf = Shelf(sets=4)
    tags = [quarter << 62 | 9 for quarter in range(4)]

    cells = [shelf.put(tag) for tag in tags]

    assert [cell // WAYS for cell in cells] == [0, 1, 2, 3]


def test_who_was_not_hit_for_the_longest_makes_room() -> None:
    shelf = Shelf()
    tags = tags_of_one_set(WAYS + 2)
    cells = [shelf.put(tag, now_s=100 + n) for n, tag in enumerate(tags[:WAYS])]
    shelf.hit(cells[0])

    ninth = shelf.put(tags[WAYS], now_s=200)
    shelf.hit(cells[2])
    tenth = shelf.put(tags[WAYS + 1], now_s=300)

    assert (ninth, tenth) == (cells[1], cells[3])
    assert len(shelf.book) == WAYS
    assert [shelf.book.find(tag) for tag in (tags[1], tags[3])] == [-1, -1]


def test_hits_are_told_once_and_never_forgotten() -> None:
    shelf = Shelf()
    cell = shelf.put(5)
    shelf.hit(cell, 3)

    assert shelf.book.harvest(0, shelf.book.cells) == [(cell, 3)]
    assert shelf.book.harvest(0, shelf.book.cells) == []
    shelf.hit(cell)
    shelf.put(5)
    assert shelf.book.hits(cell) == 4
    assert shelf.book.harvest(cell, cell + 1) == [(cell, 1)]
    assert shelf.book.harvest(cell, cell) == []


def test_book_that_is_opened_again_knows_what_is_there() -> None:
    shelf = Shelf()
    cell = shelf.put(5)
    shelf.hit(cell, 2)

    again = shelf.open()

    assert (len(again), again.find(5)) == (1, cell)
    assert again.harvest(0, again.cells) == []
    again.clear()
    assert (len(again), again.find(5)) == (0, -1)
    assert set(shelf.tags()) == {0}


@pytest.mark.parametrize(
    ("key", "body", "ttls", "fits"),
    [
        (17, 464, 8, True),
        (17, 465, 8, False),
        (24, 464, 1, True),
        (25, 464, 1, False),
        (17, 10, 9, False),
        (17, 0, 0, True),
    ],
)
def test_what_fits_a_cell(*, key: int, body: int, ttls: int, fits: bool) -> None:
    assert Shelf().book.fits(bytes(key), bytes(body), (0,) * ttls) is fits


def test_books_share_what_they_may_take_together() -> None:
    size = book_size(max_size_octets=16 << 20, max_answer_octets=512, workers=4)

    assert 0 <= (4 << 20) - size.octets < 64 + 8 * size.cell_octets
    assert size.room_octets == room_octets_for(512) == 488
    assert size.octets == size.sets_octets + size.answers_octets


def test_smallest_book_has_one_set() -> None:
    size = book_size(max_size_octets=1000, max_answer_octets=512, workers=100)

    assert size.sets == 1


def test_tags_differ_by_name_type_class_and_view() -> None:
    rng = random.Random(5)
    digests = [rng.getrandbits(64) for _ in range(50)]
    tails = [bytes((0, qtype, 0, qclass)) for qtype in (1, 28) for qclass in (1, 3)]

    tags = {
        tag_of(digest, tail, view)
        for digest in digests
        for tail in tails
        for view in range(8)
    }

    assert len(tags) == len(digests) * len(tails) * 8
    assert all(0 < tag < 1 << 64 for tag in tags)


def test_tag_of_nothing_is_not_that_of_an_empty_way() -> None:
    assert tag_of(0, bytes(4), 0) == 1


def test_placement_goes_by_the_low_half_of_the_digest() -> None:
    digest = qname_digest(KEY[:-5], bytes(range(16)))

    assert digest >> 32
    assert digest & 0xFFFFFFFF == qname_hash(KEY[:-5], bytes(range(16)))


def test_forever_fits_the_cell() -> None:
    assert layout("answer").ctype(until_s=FOREVER).until_s == FOREVER
