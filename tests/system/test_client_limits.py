"""What clients may cost a front end, and that a reload changes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import dns.exception
import dns.rcode
import pytest

from tests.kern.queries import qname_of
from tests.system.clients import ask, nsid_query
from tests.system.front import DEMO_ZONE, FrontEnd
from tests.system.streams import Stream
from tests.system.upstream import FakeUpstream
from tests.waiting import eventually

#: Enough for a worker and its ports, far from enough for its default of connections.
_DESCRIPTORS = 128
_CLIENTS = 300


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as made:
        yield made


def test_connections_take_no_descriptor_that_a_miss_needs(
    folder: Path, upstream: FakeUpstream
) -> None:
    front = FrontEnd(
        folder,
        # setpriv ends where the first of them begins, and runs the rest.
        rights=("--", "prlimit", f"--nofile={_DESCRIPTORS}:{_DESCRIPTORS}"),
        ring={"workers": 1},
        upstreams={"servers": [{"address": str(upstream.address)}]},
    )
    with ExitStack() as stack:
        stack.enter_context(front)
        for _ in range(_CLIENTS):
            stack.callback(Stream(front.address).close)

        def are_bounded() -> bool:
            return front.metrics().value("limit_reached_total", limit="descriptors") > 0

        eventually(are_bounded)
        for number in range(200):
            response = ask(front.address, f"name{number}.test")
            assert response.rcode() == dns.rcode.NOERROR

    assert "descriptors_low" in front.log()


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontEnd]:
    folder = tmp_path_factory.mktemp("reloaded")
    with FrontEnd(folder, ring={"workers": 1}, zones=[DEMO_ZONE]) as made:
        yield made


def test_reload_changes_how_many_connections_a_client_may_have(
    front: FrontEnd,
) -> None:
    with ExitStack() as stack:

        def connect() -> Stream:
            stream = Stream(front.address)
            stack.callback(stream.close)
            stream.send(nsid_query(qname_of("www.example.test"), 1))
            assert stream.responses(1)[0].answer
            return stream

        first, second = connect(), connect()
        front.configure(limits={"tcp_connections_per_client": 2})
        assert front.command("reload")[0] == 0

        connect()

        assert first.receive() == b""
        second.send(nsid_query(qname_of("www.example.test"), 2))
        assert second.responses(1)[0].answer
    limit = "tcp_connections_per_client"
    assert front.metrics().value("limit_reached_total", limit=limit) == 1


def test_reload_changes_who_is_served_and_what_the_others_get(front: FrontEnd) -> None:
    connected = Stream(front.address)
    front.configure(access={"allow": ["192.0.2.0/24"]})
    assert front.command("reload")[0] == 0

    refused = ask(front.address, "www.example.test")
    front.configure(access={"allow": ["192.0.2.0/24"], "deny": "drop"})
    assert front.command("reload")[0] == 0
    with pytest.raises(dns.exception.Timeout):
        ask(front.address, "www.example.test", timeout_s=0.3)

    assert refused.rcode() == dns.rcode.REFUSED
    assert connected.receive() == b""
    connected.close()
    denied = front.metrics().value(
        "ignored_datagrams_total", worker="w1", reason="denied"
    )
    assert denied >= 1
