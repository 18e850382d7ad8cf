"""What is cached, when workers, zones and processes change around it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import dns.flags
import dns.message
import dns.rrset
import pytest

from tests.system.clients import ask
from tests.system.front import FrontEnd
from tests.system.upstream import Asked, FakeUpstream, Response

ADDRESSES: Final = 4000
NAMES: Final = [f"large{number}.zone.test" for number in range(24)]
#: As many records of 16 octets as a message of 60 kB has room for.
FLOOD: Final = [f"flood{number}.test" for number in range(150)]
ZONE: Final = """\
$TTL 60
@ SOA ns hostmaster 1 7200 900 1209600 60
@ NS ns
* A 192.0.2.99
"""


def large(asked: Asked) -> list[Response]:
    """Tell so many addresses that only TCP takes them."""
    if not asked.qname.startswith(("large", "flood")):
        return [asked.address()]
    if not asked.is_tcp:
        response = asked.response()
        response.flags |= dns.flags.TC
        return [response]
    response = asked.response()
    response.use_edns(-1)
    octets = bytearray(response.to_wire())
    octets[6:8] = ADDRESSES.to_bytes(2, "big")
    for number in range(ADDRESSES):
        octets += b"\xc0\x0c\0\1\0\1\0\0\x01\x2c\0\4\x0a\0" + number.to_bytes(2, "big")
    return [bytes(octets)]


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream(large) as made:
        yield made


@pytest.fixture
def front(tmp_path: Path, upstream: FakeUpstream) -> Iterator[FrontEnd]:
    with FrontEnd(
        tmp_path,
        ring={"workers": 2},
        upstreams={"servers": [{"address": str(upstream.address)}]},
        cache={"max_size": "4MiB", "max_entry_size": "64KiB"},
    ) as made:
        yield made


def is_whole(front: FrontEnd, name: str) -> bool:
    """Return whether all addresses of *name* come over TCP, to the last octet."""
    query = dns.message.make_query(name, "A").to_wire()
    with socket.create_connection(front.address, timeout=10) as sock:
        sock.sendall(len(query).to_bytes(2, "big") + query)
        with sock.makefile("rb") as stream:
            octets = stream.read(int.from_bytes(stream.read(2), "big"))
    records = octets[len(query) :]
    last = (ADDRESSES - 1).to_bytes(2, "big")
    return len(records) == 16 * ADDRESSES and records.endswith(b"\x0a\0" + last)


@pytest.mark.parametrize("way", ["resize", "restart"])
def test_answer_of_4000_records_moves_whole(
    front: FrontEnd, upstream: FakeUpstream, way: str
) -> None:
    for name in NAMES:
        assert is_whole(front, name)
    pids = front.pids()
    asked = {name: upstream.count(name) for name in NAMES}

    if way == "resize":
        front.configure(ring={"workers": 3})
        assert front.command("reload")[0] == 0
    else:
        front.take_over()

    for name in NAMES:
        # Over UDP first: it is found, and too long for a datagram.
        assert ask(front.address, name).flags & dns.flags.TC
        assert is_whole(front, name)
    assert {name: upstream.count(name) for name in NAMES} == asked
    assert way == "restart" or pids.items() <= front.pids().items()


@pytest.mark.parametrize("way", ["reload", "restart"])
def test_answers_of_before_do_not_outlive_a_new_zone(
    front: FrontEnd, tmp_path: Path, way: str
) -> None:
    names = [f"name{number}.zone.test" for number in range(40)]
    assert {ask(front.address, n).answer[0][0].to_text() for n in names} == {
        "192.0.2.1"
    }
    (tmp_path / "zone").write_text(ZONE)
    zones = [{"origin": "zone.test", "file": str(tmp_path / "zone")}]

    # With another worker, so that entries are on their way, too.
    front.configure(zones=zones, ring={"workers": 3})
    if way == "reload":
        assert front.command("reload")[0] == 0
    else:
        front.take_over()

    responses = [ask(front.address, name) for name in names]
    assert {x.answer[0][0].to_text() for x in responses} == {"192.0.2.99"}
    assert all(x.flags & dns.flags.AA for x in responses)


def test_flood_of_large_answers_is_bounded_and_spares_small_names(
    front: FrontEnd, upstream: FakeUpstream
) -> None:
    small = [f"small{number}.test" for number in range(200)]
    for _ in range(2):
        for name in small:
            ask(front.address, name)

    for name in FLOOD:
        assert is_whole(front, name)

    for name in small:
        ask(front.address, name)
    assert {upstream.count(name) for name in small} == {1}
    metrics = front.metrics()
    sizes = metrics.by_worker("cache_size_bytes")
    bounds = metrics.by_worker("cache_max_size_bytes")
    assert set(bounds.values()) == {4 << 20}
    assert sizes.keys() == bounds.keys()
    assert max(sizes.values()) <= 4 << 20
    # Some 11 MB came, 8 MB have room.
    assert metrics.counts()["limit_reached cache_size"] > 10


def test_aliases_that_are_cached_are_looked_at_again_for_a_new_zone(
    front: FrontEnd, upstream: FakeUpstream, tmp_path: Path
) -> None:
    def alias(asked: Asked) -> list[Response]:
        response = asked.response("300 CNAME www.zone.test.")
        response.answer.append(
            dns.rrset.from_text("www.zone.test.", 300, "IN", "A", "192.0.2.66")
        )
        return [response]

    upstream.script = alias
    before = ask(front.address, "alias.test")
    (tmp_path / "zone").write_text(ZONE)
    front.configure(zones=[{"origin": "zone.test", "file": str(tmp_path / "zone")}])
    assert front.command("reload")[0] == 0

    after = ask(front.address, "alias.test")

    upstream.script = large
    assert before.answer[-1][0].to_text() == "192.0.2.66"
    assert after.answer[-1][0].to_text() == "192.0.2.99"


def test_parents_side_of_a_zone_is_asked_from_the_first_upstream_on(
    front: FrontEnd, upstream: FakeUpstream, tmp_path: Path
) -> None:
    servers = {"servers": [{"address": str(upstream.address)}]}
    (tmp_path / "zone").write_text(ZONE)
    zones = [{"origin": "zone.test", "file": str(tmp_path / "zone")}]
    front.configure(zones=zones, upstreams={"servers": []})
    assert front.command("reload")[0] == 0
    assert ask(front.address, "zone.test", "DS").flags & dns.flags.AA

    front.configure(upstreams=servers)
    assert front.command("reload")[0] == 0

    assert not ask(front.address, "zone.test", "DS").flags & dns.flags.AA
    assert upstream.count("zone.test", "DS") == 1
    front.configure(upstreams={"servers": []})
    assert front.command("reload")[0] == 0
    assert ask(front.address, "zone.test", "DS").flags & dns.flags.AA
