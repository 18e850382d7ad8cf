"""The kernel places every name where `dnsfront lookup` says."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kern.queries import random_qname
from tests.system.clients import ask_all, nsid_of, text_of
from tests.system.front import DEMO_ZONE, FrontEnd, owners
from tests.system.metrics import responded, steered

NAMES = 10_000


@pytest.fixture(scope="module")
def front(folder: Path) -> Iterator[FrontEnd]:
    # A zone and no upstream: workers refuse other names, and tell who they are.
    with FrontEnd(folder, zones=[DEMO_ZONE]) as made:
        yield made


def distinct_qnames(count: int, seed: int) -> list[bytes]:
    """Return names in wire form: binary, in mixed case, of 1 to 255 octets."""
    rng = random.Random(seed)
    qnames: dict[bytes, None] = {}
    while len(qnames) < count:
        qnames[random_qname(rng)] = None
    return list(qnames)


def labels_of(qname: bytes) -> int:
    return text_of(qname).replace("\\.", "").count(".") + 1


def test_ten_thousand_names_from_one_port_reach_the_workers_that_lookup_names(
    front: FrontEnd,
) -> None:
    qnames = distinct_qnames(NAMES, seed=1)
    texts = [text_of(qname) for qname in qnames]
    preferences = front.lookup(texts)
    before = front.metrics()

    with front.counting(steered(NAMES) + responded(NAMES, rcode="REFUSED")):
        responses = ask_all(front.address, qnames)

    assert [nsid_of(response) for response in responses] == [
        preferences[text][0] for text in texts
    ]
    expected = owners(preferences)
    for metric, labels in (
        ("steered_total", {}),
        ("queries_total", {"transport": "udp"}),
        ("responses_total", {"rcode": "REFUSED"}),
    ):
        assert front.metrics().by_worker(metric, **labels) == expected
        assert not before.by_worker(metric, **labels)


def test_names_that_were_tried_have_every_length() -> None:
    qnames = distinct_qnames(NAMES, seed=1)

    octets = {len(qname) + 1 for qname in qnames}
    labels = {labels_of(qname) for qname in qnames}

    assert (min(octets), max(octets)) == (1, 255)
    assert (min(labels), max(labels)) == (1, 127)


def test_case_of_a_name_changes_neither_its_owner_nor_the_echo(
    front: FrontEnd,
) -> None:
    qname = b"\5MiXeD\4CaSe"
    spellings = [qname, qname.lower(), qname.upper()]

    with front.counting(steered(3) + responded(3, rcode="REFUSED")):
        responses = ask_all(front.address, spellings)

    [owner] = front.lookup([text_of(qname)]).values()
    assert [nsid_of(response) for response in responses] == [owner[0]] * 3
    assert [response.question[0].name.to_text() for response in responses] == [
        text_of(spelling) + "." for spelling in spellings
    ]
