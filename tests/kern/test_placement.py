from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from dnsfront.ring.placement import Member
from dnsfront.ring.table import build
from tests.kern.lab import SLOTS
from tests.kern.queries import (
    header_of,
    label,
    qname_of,
    query,
    random_qname,
    random_query,
)

if TYPE_CHECKING:
    from tests.kern.lab import Lab

NAMES = 10_000
IDS = {"w1": 3, "w2": 64, "w3": 65, "w4": 127, "w5": 1}
WORKERS = [Member(name) for name in IDS]


def _table(*absent: str) -> bytes:
    workers = [worker for worker in WORKERS if worker.name not in absent]
    return build(workers, slots=SLOTS, vnodes=64, seed="kern").with_worker_ids(IDS)


def test_ten_thousand_names_from_one_port_reach_their_owners(lab: Lab) -> None:
    rng = random.Random(2)
    group = lab.group(tuple(IDS.values()))
    lab.publish(_table())
    client = lab.client(group)
    used: set[int] = set()

    with lab.counting(primary=NAMES):
        for _ in range(NAMES):
            qname = random_qname(rng)
            sent = random_query(rng, qname)
            client.sendto(sent, group.target())
            worker_id, received = group.receive()
            assert worker_id == lab.preference(qname)[0], qname
            assert received == sent
            used.add(worker_id)

    assert used == set(IDS.values())
    assert sum(lab.steering.steered(worker_id) for worker_id in used) == NAMES


def test_case_of_a_name_does_not_change_its_owner(lab: Lab) -> None:
    rng = random.Random(3)
    group = lab.group(tuple(IDS.values()))
    lab.publish(_table())
    client = lab.client(group)

    for _ in range(100):
        lower = random_qname(rng).lower()
        owners = set()
        for qname in (lower, lower.upper(), lower.title(), lower.swapcase()):
            client.sendto(query(qname), group.target())
            owners.add(group.receive()[0])
        assert owners == {lab.preference(lower)[0]}


PLAIN = {
    "the root": query(b""),
    "127 labels": query(label(b"a") * 127),
    "255 octets": query(label(b"b" * 63) * 3 + label(b"c" * 61)),
    "a label of 63": query(label(b"d" * 63)),
    "zero octets in a label": query(label(b"\0\0") + label(b"\0")),
    "a pointer after the question": query(qname_of("www.test"), rest=b"\xc0\x0c" * 6),
    "an update, opcode 5": query(b"", header=header_of(flags=0x2800)),
}


@pytest.mark.parametrize("octets", PLAIN.values(), ids=PLAIN)
def test_plain_question_at_the_limit_is_placed(lab: Lab, octets: bytes) -> None:
    group = lab.group((1, 2))
    lab.publish_everywhere(2, 1)
    client = lab.client(group)

    with lab.counting(primary=1):
        client.sendto(octets, group.target())
        assert group.receive() == (2, octets)


_WHOLE = query(qname_of("www.example.test"))
MALFORMED = {
    "empty": b"",
    "one octet": b"\0",
    "half a header": _WHOLE[:6],
    "header without its last octet": _WHOLE[:11],
    "header only": _WHOLE[:12],
    "header and a root": header_of() + b"\0",
    "no qtype": _WHOLE[:-4],
    "half a qclass": _WHOLE[:-1],
    "root with half a qclass": query(b"")[:-1],
    "cut within a label": _WHOLE[:15],
    "cut before the root": _WHOLE[:-5],
    "a response": query(b"", header=header_of(flags=0x8000)),
    "no question": query(b"", header=header_of(questions=0)),
    "two questions": query(b"", header=header_of(questions=2)),
    "257 questions": query(b"", header=header_of(questions=257)),
    "256 questions": query(b"", header=header_of(questions=256)),
    "label of 64": query(b"\x40" + b"a" * 64),
    "label of 128": query(b"\x80" + b"a" * 128),
    "compression pointer": header_of() + b"\xc0\x0c\0\1\0\1",
    "compressed tail": header_of() + b"\3www\xc0\x0c\0\1\0\1",
    "256 octets": query(label(b"a" * 63) * 3 + label(b"b" * 62)),
    "endless labels": query(label(b"a") * 128),
    "label beyond the datagram": header_of() + b"\x3fwww\0\0\1\0\1",
    "60 kB of labels": header_of() + label(b"a" * 63) * 930,
    "nothing but 0xff": b"\xff" * 300,
}


@pytest.mark.parametrize("octets", MALFORMED.values(), ids=MALFORMED)
def test_unplain_datagram_is_counted_and_reaches_a_live_worker(
    lab: Lab, octets: bytes
) -> None:
    group = lab.group((1, 2, 3))
    lab.publish_everywhere(2, 1)
    lab.steering.set_live(2, is_live=False)
    client = lab.client(group)

    with lab.counting(unparsed=1):
        client.sendto(octets, group.target())
        assert group.receive() == (1, octets)


def test_unplain_datagrams_of_one_client_go_through_the_table(lab: Lab) -> None:
    group = lab.group(tuple(IDS.values()))
    lab.publish(_table())
    client = lab.client(group)
    other_clients = [lab.client(group) for _ in range(64)]

    with lab.counting(unparsed=20 + 64):
        client.sendto(b"x", group.target())
        owner, _ = group.receive()
        for _ in range(19):
            client.sendto(b"y", group.target())
            assert group.receive()[0] == owner
        spread = set()
        for other in other_clients:
            other.sendto(b"z", group.target())
            spread.add(group.receive()[0])

    assert len(spread) > 1


def test_second_preference_is_the_owner_that_a_recomputed_table_names(
    lab: Lab,
) -> None:
    rng = random.Random(4)
    group = lab.group(tuple(IDS.values()))
    lab.publish(_table())
    qnames = [random_qname(rng) for _ in range(1000)]
    orphans = sum(lab.preference(qname)[0] == IDS["w2"] for qname in qnames)
    client = lab.client(group)

    lab.steering.set_live(IDS["w2"], is_live=False)
    owners = {}
    with lab.counting(primary=len(qnames) - orphans, backup=orphans):
        for qname in qnames:
            client.sendto(query(qname), group.target())
            owners[qname] = group.receive()[0]

    lab.table = _table("w2")
    assert orphans > 0
    assert owners == {qname: lab.preference(qname)[0] for qname in qnames}


@pytest.mark.parametrize("live", [1, 2, 3, 4])
def test_first_live_worker_of_the_list_is_chosen(lab: Lab, live: int) -> None:
    group = lab.group((1, 2, 3, 4))
    lab.publish_everywhere(1, 2, 3, 4)
    client = lab.client(group)

    for worker_id in range(1, live):
        lab.steering.set_live(worker_id, is_live=False)

    with lab.counting(**{"primary" if live == 1 else "backup": 1}):
        client.sendto(query(b""), group.target())
        assert group.receive()[0] == live


def test_worker_that_returns_gets_its_names_back(lab: Lab) -> None:
    group = lab.group((1, 2))
    lab.publish_everywhere(1, 2)
    client = lab.client(group)

    with lab.counting(primary=1, backup=1):
        for is_live, expected in ((False, 2), (True, 1)):
            lab.steering.set_live(1, is_live=is_live)
            client.sendto(query(b""), group.target())
            assert group.receive()[0] == expected


@pytest.mark.parametrize(
    "preferences",
    [(), (1, 2, 3, 4), (128, 200, 255)],
    ids=["nobody in the slot", "nobody live", "ids beyond the bitmap"],
)
def test_datagram_that_nobody_may_have_is_left_to_the_kernel(
    lab: Lab, preferences: tuple[int, ...]
) -> None:
    group = lab.group((1, 2, 3, 4))
    lab.publish_everywhere(*preferences)
    for worker_id in (1, 2, 3, 4):
        lab.steering.set_live(worker_id, is_live=False)
    client = lab.client(group)

    with lab.counting(fallback=3):
        for octets in (query(b""), b"x", query(qname_of("a.test"))):
            client.sendto(octets, group.target())
            assert group.receive()[1] == octets
