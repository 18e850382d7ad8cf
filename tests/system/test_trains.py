"""A segmented train of datagrams is steered as one; its later segments find home."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import dns.message
import pytest

from tests.system.clients import nsid_of, nsid_query, receive, text_of
from tests.system.front import DEMO_ZONE, FrontEnd
from tests.system.metrics import responded

_SOL_UDP: Final = 17
_UDP_SEGMENT: Final = 103
_TRAIN: Final = 16


@pytest.fixture(scope="module")
def front(folder: Path) -> Iterator[FrontEnd]:
    with FrontEnd(folder, zones=[DEMO_ZONE]) as made:
        yield made


def test_every_name_of_a_train_is_answered_by_its_owner(front: FrontEnd) -> None:
    qnames = [b"\4n%03d\5train" % number for number in range(_TRAIN)]
    queries = [nsid_query(qname, number) for number, qname in enumerate(qnames)]
    preferences = front.lookup(text_of(qname) for qname in qnames)
    owners = [preferences[text_of(qname)][0] for qname in qnames]
    strangers = sum(owner != owners[0] for owner in owners)

    with (
        front.counting(
            Counter(
                {
                    "queries udp": _TRAIN,
                    "steered": 1,
                    "steering primary": 1,
                    "handover misplaced": strangers,
                }
            )
            + responded(_TRAIN, rcode="REFUSED")
        ),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        sock.connect(front.address)
        sock.setsockopt(_SOL_UDP, _UDP_SEGMENT, len(queries[0]))
        sock.send(b"".join(queries))
        responses = [dns.message.from_wire(receive(sock)) for _ in queries]

    assert strangers
    assert {response.id: nsid_of(response) for response in responses} == dict(
        enumerate(owners)
    )
