"""Caches as text: what is told comes back, as old as it is, and damage does no harm."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfront.dns.cache import Cache
from dnsfront.dns.dumps import DamagedError, entry_in, line_of
from dnsfront.dns.entry import Entry
from dnsfront.ipc import memory
from dnsfront.ipc.messages import Dump, Load
from dnsfront.ipc.packets import Descriptor
from dnsfront.worker.orders.dumps import DumpOrders
from tests.unit.caching import NAME, A, address, denial, limits, name_of, put, ttls_of
from tests.unit.fake_upstream import FakeUpstream
from tests.unit.pools_of import forward
from tests.unit.stub_client import query_for
from tests.unit.test_worker_orders import Desk
from tests.unit.test_worker_rules import put_in_force, rule
from tests.unit.worker_rig import Rig, cached

WALL_S = 1_800_000_000
ERRORS = b"\0\x0f\0\2\0\x16"


def kept() -> Entry:
    """Return an entry of three addresses that is 20 seconds old at 1020."""
    entry = put(Cache(limits()), address(300, 400, 500), view=5, now_s=1000)
    entry.errors = ERRORS
    return entry


def line(entry: Entry | None = None, now_s: int = 1020) -> str:
    text = line_of(entry or kept(), pool="corp", now_s=now_s, wall_s=WALL_S)
    assert text is not None
    return text


def changed(**values: Any) -> str:  # noqa: ANN401
    return json.dumps(json.loads(line()) | values)


# Lines


def test_what_is_told_comes_back_as_old_as_it_is() -> None:
    before = kept()

    dumped = entry_in(line(before), now_s=7, wall_s=WALL_S + 30)

    entry = dumped.entry
    assert dumped.pool == "corp"
    assert (entry.view, entry.key, entry.tail) == (5, before.key, before.tail)
    assert (entry.head, entry.errors, entry.odd) == (
        before.head, ERRORS, before.odd | 8,
    )  # fmt: skip
    assert ttls_of(entry.body, tuple(entry.ttl_offsets)) == [250, 350, 450]
    assert (entry.aged_at, entry.expires_at) == (7, 257)


def test_lines_can_be_read_by_people() -> None:
    told = json.loads(line())

    assert told["name"] == "www.example.test"
    assert told["flags"] == ["rd", "do"]
    assert (told["type"], told["ttl"], told["expires"]) == (A, 280, WALL_S + 280)


@pytest.mark.parametrize("wall_s", [WALL_S + 280, WALL_S + 9999, WALL_S - 1])
def test_what_is_too_old_or_from_the_future_has_expired(wall_s: int) -> None:
    dumped = entry_in(line(), now_s=7, wall_s=wall_s)

    assert dumped.entry.expires_at == 0


def test_what_has_expired_or_is_no_upstreams_is_not_told() -> None:
    entry = kept()
    assert line_of(entry, pool="", now_s=1300, wall_s=WALL_S) is None

    entry.head = b"\x84" + entry.head[1:]
    assert line_of(entry, pool="", now_s=1020, wall_s=WALL_S) is None


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", '"x"', "{}", "[" * 100_000,
        line()[:-30],
        *(changed(**{key: value})
          for key in ("expires", "ttl", "message", "pool", "flags", "errors")
          for value in (None, -1, 1.5, [[]], {"a": 1}, "zz", True, 1 << 70)
          if (key, value) != ("pool", "zz")),
        changed(message=""),
        changed(message="AAAA"),
    ],
)  # fmt: skip
def test_damaged_line_is_none(text: str) -> None:
    with pytest.raises(DamagedError):
        entry_in(text, now_s=7, wall_s=WALL_S)


@given(st.integers(0, 1000), st.integers(0, 255))
def test_octets_that_are_others_harm_nobody(at: int, octet: int) -> None:
    plain = json.loads(line())
    text = bytearray(plain["message"].encode())
    text[at % len(text)] = octet
    plain["message"] = text.decode("latin-1")

    try:
        entry = entry_in(json.dumps(plain), now_s=7, wall_s=WALL_S).entry
    except DamagedError:
        return
    Cache(limits()).adopt(entry, 7)


def test_denial_without_soa_is_damage() -> None:
    entry = put(Cache(limits()), denial(300, 60), now_s=1000)
    entry.body, entry.ttl_offsets, entry.head = b"", (), entry.head[:2] + bytes(6)

    with pytest.raises(DamagedError):
        entry_in(line(entry), now_s=7, wall_s=WALL_S)


# A worker


class Clerk(Desk):
    """A worker's orders about dumps, with its parts in *rig*."""

    def __init__(self, rig: Rig) -> None:
        super().__init__()
        DumpOrders(
            self.orders,
            worker_id=1,
            cache=rig.cache,
            ownership=rig.answering._ownership,
            local=rig.answering.local,
            forwarding=rig.forwarding,
            clock=rig.clock,
        )

    def dump(self) -> list[str]:
        text, at, ticket = "", 0, 0
        while True:
            self.give(Dump(at, ticket, WALL_S), 1)
            [said] = self.replies()
            text += "".join(said["texts"])
            at, ticket = said["at"], said["ticket"]
            if not at:
                return text.splitlines()

    def load(self, lines: list[str], wall_s: int = WALL_S) -> tuple[int, list[int]]:
        fd = memory.sealed("lines", "\n".join(lines).encode())
        self.give(Load(wall_s, Descriptor(fd)), 2)
        os.close(fd)
        while self.orders.wait_s() is not None:
            self.orders.go_on()
        [said] = self.replies()
        return said["kept"], said["damaged"]

    def replies(self) -> list[dict[str, Any]]:
        said = []
        self.ours.setblocking(False)  # noqa: FBT003 - its signature
        while True:
            try:
                said.append(json.loads(self.ours.recv(1 << 16)))
            except BlockingIOError:
                return said


@pytest.fixture
def rig(upstream: FakeUpstream) -> Iterator[Rig]:
    with Rig(upstreams=[upstream]) as made:
        yield made


@pytest.fixture
def clerk(rig: Rig) -> Iterator[Clerk]:
    made = Clerk(rig)
    yield made
    made.close()


def forget(rig: Rig) -> None:
    list(rig.cache.flushing(lambda _entry: True))
    assert len(rig.cache) == 0


def test_cache_comes_back_and_is_hit(
    rig: Rig, clerk: Clerk, upstream: FakeUpstream
) -> None:
    cached(rig, upstream)
    lines = clerk.dump()
    forget(rig)

    assert clerk.load(lines, WALL_S + 10) == (1, [])
    assert clerk.load(lines, WALL_S + 10) == (0, [])

    [answer] = rig.ask_for(query_for("WWW.example.com")).answer
    assert answer.ttl == 290


def test_thousands_of_entries_are_told_in_pieces(rig: Rig, clerk: Clerk) -> None:
    for number in range(900):
        put(rig.cache, address(300), name=name_of(number), now_s=rig.clock.now_s)
    put(rig.cache, address(*[300] * 900), name=NAME, now_s=rig.clock.now_s)

    lines = clerk.dump()
    forget(rig)

    assert len({json.loads(line)["name"] for line in lines}) == 901
    assert clerk.load(lines) == (901, [])


def test_other_dump_ends_the_one_under_way(rig: Rig, clerk: Clerk) -> None:
    for number in range(300):
        put(rig.cache, address(300), name=name_of(number), now_s=rig.clock.now_s)
    clerk.give(Dump(0, 0, WALL_S), 1)
    [first] = clerk.replies()
    assert len(clerk.dump()) == 300

    clerk.give(Dump(first["at"], first["ticket"], WALL_S), 1)

    [said] = clerk.replies()
    assert (said["at"], said["texts"]) == (0, [])


def test_damage_is_told_by_its_line(
    rig: Rig, clerk: Clerk, upstream: FakeUpstream
) -> None:
    cached(rig, upstream)
    [text] = clerk.dump()
    forget(rig)

    assert clerk.load(["{", text, "", "nonsense"]) == (1, [0, 3])


def test_what_others_answer_now_is_not_loaded(
    rig: Rig, clerk: Clerk, upstream: FakeUpstream
) -> None:
    alias = "www.example.com. 300 CNAME end.example.net."
    cached(rig, upstream, alias, "end.example.net. 300 A 192.0.2.7")
    lines = clerk.dump()
    forget(rig)

    put_in_force(rig, rule("nxdomain", ("example.net",)))
    assert clerk.load(lines) == (0, [])
    put_in_force(rig, rule("no_cache", ("example.com",)))
    assert clerk.load(lines) == (0, [])
    put_in_force(rig)
    other = FakeUpstream(5)
    forward(rig, {"example.com": "corp"}, default=[upstream], corp=[other])
    assert clerk.load(lines) == (0, [])
    forward(rig, {"example.com": "nxdomain"}, default=[upstream])
    assert clerk.load(lines) == (0, [])
    forward(rig, {}, default=[upstream])
    assert clerk.load(lines) == (1, [])
    other.close()


def test_names_of_other_workers_are_left_to_them(upstream: FakeUpstream) -> None:
    text = line_of(kept(), pool="default", now_s=1020, wall_s=WALL_S)
    assert text is not None
    for owner in (1, 2):
        with Rig(upstreams=[upstream], table=bytes((owner, 0, 0, 0))) as rig:
            rig.load.set_live({1, 2})
            with contextlib.closing(Clerk(rig)) as clerk:
                assert clerk.load([text]) == (2 - owner, [])


def test_denial_comes_back_for_all_types(rig: Rig, clerk: Clerk) -> None:
    put(rig.cache, denial(300, 60), view=1, now_s=rig.clock.now_s)
    lines = clerk.dump()
    forget(rig)

    clerk.load(lines)

    said = rig.ask_for(query_for("www.example.test", "MX"))
    assert said.rcode() == dns.rcode.NXDOMAIN
