"""Datagrams get lost on the way to an upstream, and no client sees it."""

from __future__ import annotations

import socket
import time
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import dns.rcode
import pytest

from tests.kern.queries import qname_of
from tests.system.clients import ask, nsid_query, receive
from tests.system.front import FrontEnd
from tests.system.upstream import Asked, FakeUpstream, Response
from tests.waiting import tried_on_a_busy_machine

_NAMES = 500
#: include/uapi/asm-generic/socket.h
_SO_RCVBUFFORCE = 33
#: Many stub resolvers wait so long, and then give up or ask another server.
_PATIENCE_S = 2.0


@pytest.mark.parametrize("timeout", ["800ms", "2s"])
@tried_on_a_busy_machine
def test_lost_datagrams_do_not_show_to_clients(tmp_path: Path, timeout: str) -> None:
    """Of 500 names, 25 lose their first datagram and five of them the next as well."""
    sent: Counter[str] = Counter()

    def lossy(asked: Asked) -> list[Response]:
        number = int(asked.qname.partition(".")[0].removeprefix("n"))
        lost = (number % 20 == 0) + (number % 100 == 0)
        sent[asked.qname] += 1
        return [] if sent[asked.qname] <= lost else [asked.address()]

    with FakeUpstream(lossy) as upstream:
        servers = [{"address": str(upstream.address)}]
        upstreams = {"servers": servers, "timeout": timeout}
        with (
            FrontEnd(tmp_path, upstreams=upstreams, ring={"workers": 1}) as front,
            socket.socket(front.address.family, socket.SOCK_DGRAM) as client,
        ):
            # All answers may come before the last query is sent.
            client.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 4 << 20)
            client.connect(front.address)
            for number in range(_NAMES):
                client.send(nsid_query(qname_of(f"n{number}.lossy.test"), number))
            asked_at = time.monotonic()
            answered = set()
            while len(answered) < _NAMES:
                left_s = asked_at + _PATIENCE_S - time.monotonic()
                octets = receive(client, max(0, left_s))
                assert octets, f"{_NAMES - len(answered)} names have no answer"
                answered.add(int.from_bytes(octets[:2], "big"))

            counts = front.metrics().counts()
            # A query may also be repeated as the second try.
            queries = ("upstream_requests", "upstream_retransmissions")
            sent_in_all = sum(counts[f"{name} {upstream.address}"] for name in queries)
            assert sent_in_all >= _NAMES + 30
    assert counts["responses SERVFAIL"] == 0


@tried_on_a_busy_machine
def test_names_whose_every_datagram_is_lost_are_answered_over_tcp(
    tmp_path: Path,
) -> None:
    """Every fourth datagram is lost, whatever it asks, and some names lose all."""

    def lossy(asked: Asked) -> list[Response]:
        lost.update([asked.qname])
        is_lost = asked.qname.startswith("lost") or not (
            zlib.crc32(f"{asked.qname}{lost[asked.qname]}".encode()) % 4
        )
        return [] if is_lost and not asked.is_tcp else [asked.address()]

    lost: Counter[str] = Counter()
    names = [*(f"n{n}.loss.test" for n in range(60)), "lost1.test", "lost2.test"]
    with FakeUpstream(lossy) as upstream:
        servers = [{"address": str(upstream.address)}]
        upstreams = {"servers": servers, "timeout": "250ms"}
        with (
            FrontEnd(tmp_path, upstreams=upstreams, ring={"workers": 1}) as front,
            ThreadPoolExecutor(len(names)) as pool,
        ):
            responses = list(pool.map(partial(ask, front.address), names))

            rcodes = Counter(dns.rcode.to_text(x.rcode()) for x in responses)
            counts = front.metrics().counts()
    assert rcodes == {"NOERROR": len(names)}
    assert counts[f"upstream_tcp_retries {upstream.address}"] >= 2
    assert 1 <= counts[f"upstream_tcp_connections {upstream.address}"] <= 4
    assert [asked.is_tcp for asked in upstream.asked].count(True) >= 2
