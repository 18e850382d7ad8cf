"""A worker that drains waits for what upstreams and peers may still say."""

from __future__ import annotations

import socket
from pathlib import Path

import dns.message
import dns.rcode
import pytest

from tests.kern.queries import qname_of
from tests.system.clients import nsid_of, nsid_query
from tests.system.front import DEMO_ZONE, FrontEnd
from tests.system.pipelines import pipelining
from tests.system.processes import WITHOUT_BPF
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


@pytest.mark.parametrize(
    ("workers", "rights"),
    [(2, ()), (3, WITHOUT_BPF)],
    ids=["two workers", "three workers in user space"],
)
def test_what_pipelining_clients_asked_is_answered_whoever_leaves(
    tmp_path: Path, workers: int, rights: tuple[str, ...]
) -> None:
    names = [f"n{number}.example.test" for number in range(100)]
    with FrontEnd(
        tmp_path, zones=[DEMO_ZONE], ring={"workers": workers}, rights=rights
    ) as front:
        before = front.metrics().counts()

        with pipelining(front.address, names, clients=6) as clients:
            for worker in ("w1", "w2"):
                code, text = front.command("drain", worker)
                assert code == 0, text
                assert front.command("undrain", worker)[0] == 0
            front.configure(ring={"workers": 1})
            code, text = front.command("reload")
            assert code == 0, text

        counts = front.metrics().counts()
        counts.subtract(before)
        assert [client.lost for client in clients] == [[]] * len(clients)
        # Whatever was read has its response; what was not is asked again elsewhere.
        answered = sum(client.answered for client in clients)
        assert counts["queries tcp"] == answered
        assert counts["handover lost"] == 0
        assert "worker_killed" not in front.log()


def test_what_pipelining_clients_asked_is_answered_whoever_takes_over(
    tmp_path: Path,
) -> None:
    names = [f"n{number}.example.test" for number in range(100)]
    with FrontEnd(tmp_path, zones=[DEMO_ZONE], ring={"workers": 2}) as front:
        with pipelining(front.address, names, clients=4) as clients:
            front.take_over()

        assert [client.lost for client in clients] == [[]] * len(clients)
        assert "worker_killed" not in front.log()
