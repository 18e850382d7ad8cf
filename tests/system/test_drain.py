"""A worker that drains waits for what upstreams may still say."""

from __future__ import annotations

import socket
from pathlib import Path

import dns.message
import dns.rcode

from tests.kern.queries import qname_of
from tests.system.clients import nsid_of, nsid_query
from tests.system.front import FrontEnd
from tests.system.upstream import FakeUpstream
from tests.waiting import eventually

#: Three tries of it are more than the five seconds that a worker has at least.
_TIMEOUT_S = 1.8
NAMES = [f"name{number}.test" for number in range(100)]


def test_drain_waits_for_the_last_try_of_a_pending_query(tmp_path: Path) -> None:
    with (
        FakeUpstream() as upstream,
        FrontEnd(
            tmp_path,
            ring={"workers": 2},
            upstreams={
                "servers": [{"address": str(upstream.address)}],
                "timeout": f"{_TIMEOUT_S * 1000:.0f}ms",
            },
        ) as front,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        preferences = front.lookup(NAMES)
        name = next(name for name in NAMES if preferences[name][0] == "w2")
        sock.settimeout(10)
        with upstream.holding(name):
            sock.sendto(nsid_query(qname_of(name), 1), front.address)
            eventually(lambda: upstream.count(name))

            code, text = front.command("drain", "w2")

            assert code == 0, text
            assert "did not finish" not in text
            response = dns.message.from_wire(sock.recv(4096))
        assert response.rcode() == dns.rcode.SERVFAIL
        assert nsid_of(response) == "w2"
        assert "worker_killed" not in front.log()
