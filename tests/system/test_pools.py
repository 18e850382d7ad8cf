"""Names go to the pool of their suffix, and a reload has nobody told what was so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dns.rcode
import pytest

from dnsfront.ipc.asking import ask as tell
from tests.system.clients import ask, summary
from tests.system.front import FrontEnd
from tests.system.upstream import Asked, FakeUpstream, Response
from tests.waiting import eventually

NAMES = [f"n{number}.corp.test" for number in range(8)]


def saying(address: str) -> FakeUpstream:
    """Return an upstream with *address* for all; `www.test` is `n0.corp.test`."""

    def script(asked: Asked) -> list[Response]:
        if asked.qname.lower() == "www.test.":
            return [asked.response("3600 CNAME n0.corp.test.")]
        return [asked.response(f"3600 A {address}")]

    return FakeUpstream(script)


@pytest.fixture(scope="module")
def outside() -> Iterator[FakeUpstream]:
    with saying("192.0.2.1") as made:
        yield made


@pytest.fixture(scope="module")
def inside() -> Iterator[FakeUpstream]:
    with saying("10.0.0.1") as made:
        yield made


@pytest.fixture(scope="module")
def serving(
    folder: Path, outside: FakeUpstream, inside: FakeUpstream
) -> Iterator[FrontEnd]:
    with FrontEnd(
        folder,
        ring={"workers": 2},
        upstreams={"servers": [{"address": str(outside.address)}]},
        pools={"corp": {"servers": [{"address": str(inside.address)}]}},
        kernel_cache={"mode": "tc"},
    ) as made:
        yield made


@pytest.fixture
def front(serving: FrontEnd) -> Iterator[FrontEnd]:
    yield serving
    serving.configure(forward={})
    tell(serving.control, {"command": "reload"}, timeout_s=10)


def forward(front: FrontEnd, **rules: str) -> None:
    front.configure(forward={x.replace("_", "."): y for x, y in rules.items()})
    tell(front.control, {"command": "reload"}, timeout_s=10)


def address_of(front: FrontEnd, qname: str, *, over_tcp: bool = False) -> str:
    """Return the last record of the answer, which the kernel may give."""
    response = ask(front.address, qname, nsid=False, over_tcp=over_tcp)
    return str(response.answer[-1][0])


def bring_into_the_kernel(front: FrontEnd) -> None:
    def hits() -> int:
        counts = front.metrics().by_worker("kernel_cache_hits_total")
        return sum(counts.values())

    def is_all_from_kernel() -> bool:
        before = hits()
        for name in (*NAMES, "www.test"):
            address_of(front, name)
        return hits() - before == len(NAMES) + 1

    eventually(is_all_from_kernel)


def test_reload_has_what_moved_forgotten_everywhere(front: FrontEnd) -> None:
    bring_into_the_kernel(front)

    forward(front, corp_test="corp")

    for name in (*NAMES, "www.test"):
        assert address_of(front, name) == "10.0.0.1"
        assert address_of(front, name, over_tcp=True) == "10.0.0.1"


def test_words_hold_at_once_for_what_the_kernel_answers(front: FrontEnd) -> None:
    bring_into_the_kernel(front)

    forward(front, corp_test="nxdomain", n1_corp_test="refuse", n2_corp_test="local")

    found = {name: summary(ask(front.address, name)) for name in NAMES}
    assert found.pop("n1.corp.test") == ("REFUSED", [15])
    assert found.pop("n2.corp.test") == ("NOERROR", [])
    assert set(map(str, found.values())) == {"('NXDOMAIN', [15])"}
    assert ask(front.address, "www.test").rcode() == dns.rcode.NXDOMAIN
    metrics = front.metrics().counts()
    assert sum(n for x, n in metrics.items() if x.startswith("forward_words")) == 8


def test_where_a_name_goes_is_shown(
    front: FrontEnd, inside: FakeUpstream, outside: FakeUpstream
) -> None:
    forward(front, corp_test="corp")

    query = front.command("query", "n3.corp.test")[1]
    lookup = front.command("lookup", "--live", "n3.corp.test", "www.test")[1]

    assert f"goes to: corp, by corp.test, server {inside.address}" in query
    assert f"(to corp {inside.address} by corp.test)" in lookup.splitlines()[0]
    assert "(to" not in lookup.splitlines()[1]
    told = front.status()
    assert {x["address"]: x["pool"] for x in told["upstreams"]} == {
        str(outside.address): "default",
        str(inside.address): "corp",
    }
    assert "POOL" in front.command("status")[1]
