"""When no upstream answers: zones go on, old answers are better than none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import dns.rcode
import dns.rrset
import pytest

from tests.system.clients import ask, summary
from tests.system.front import DEMO_ZONE, Address, FrontEnd, free_address
from tests.system.metrics import responded, steered
from tests.system.processes import needed, output_of
from tests.system.upstream import Asked, FakeUpstream, Response, silence
from tests.waiting import eventually

#: Probes come once a second.
_NOTICED_WITHIN_S = 4.0

#: An rcode and the Extended DNS Errors.
Told = tuple[str, list[int]]


@pytest.fixture(scope="module")
def nowhere() -> Address:
    return free_address()


@pytest.fixture(scope="module")
def cut_off(folder: Path, nowhere: Address) -> Iterator[FrontEnd]:
    """A front end with a zone and an upstream that is not there."""
    upstreams = {"servers": [{"address": str(nowhere)}], "timeout": "100ms"}
    with FrontEnd(folder, zones=[DEMO_ZONE], upstreams=upstreams) as made:
        yield made


def is_up(front: FrontEnd) -> list[bool]:
    return [upstream["up"] for upstream in front.status()["upstreams"]]


def test_zone_is_served_without_an_upstream(cut_off: FrontEnd) -> None:
    with cut_off.counting(steered(1) + responded(1, "zone")):
        response = ask(cut_off.address, "www.example.test")

    assert str(response.answer[0][0]) == "192.0.2.80"


def test_other_names_get_servfail_and_the_reason(
    cut_off: FrontEnd, nowhere: Address
) -> None:
    eventually(lambda: is_up(cut_off) == [False], _NOTICED_WITHIN_S)
    tried = Counter(
        {
            "cache_requests": 2,
            f"upstream_requests {nowhere}": 1,
            f"upstream_failures {nowhere}": 1,
        }
    )

    with cut_off.counting(steered(2) + tried + responded(2, rcode="SERVFAIL")):
        first = ask(cut_off.address, "name.test")
        again = ask(cut_off.address, "name.test")

    assert summary(first) == ("SERVFAIL", [22])
    assert summary(again) == ("SERVFAIL", [13])


def test_dig_shows_the_reason(cut_off: FrontEnd) -> None:
    host, port = cut_off.address

    printed = output_of(needed("dig"), f"@{host}", "-p", str(port), "dig.test")

    assert "status: SERVFAIL" in printed
    assert "EDE: 22 (No Reachable Authority)" in printed


def test_client_without_edns_gets_servfail_without_a_reason(cut_off: FrontEnd) -> None:
    response = ask(cut_off.address, "plain.test", payload=0)

    assert response.rcode() == dns.rcode.SERVFAIL
    assert response.edns == -1


def test_front_end_with_a_zone_is_ready_without_its_upstream(
    cut_off: FrontEnd, nowhere: Address
) -> None:
    eventually(lambda: is_up(cut_off) == [False], _NOTICED_WITHIN_S)

    assert cut_off.get("/readyz").status == HTTPStatus.OK
    assert cut_off.metrics().value("upstream_up", upstream=str(nowhere)) == 0


def test_readiness_goes_and_comes_with_the_only_upstream(tmp_path: Path) -> None:
    address = free_address()
    upstreams = {"servers": [{"address": str(address)}]}
    with (
        FakeUpstream(address=address) as upstream,
        FrontEnd(tmp_path, upstreams=upstreams) as front,
    ):
        assert summary(ask(front.address, "before.test")) == ("NOERROR", [])

        upstream.close()

        eventually(lambda: not front.is_ready(), _NOTICED_WITHIN_S)
        reply = front.get("/readyz")
        assert reply.status == HTTPStatus.SERVICE_UNAVAILABLE
        assert str(address) in reply.body
        assert front.get("/healthz").status == HTTPStatus.OK
        assert summary(ask(front.address, "during.test")) == ("SERVFAIL", [22])

        with FakeUpstream(address=address):
            eventually(front.is_ready, _NOTICED_WITHIN_S)
            assert summary(ask(front.address, "after.test")) == ("NOERROR", [])


def one_second(asked: Asked) -> list[Response]:
    """Tell an address for a second; of names with "no" in them, that there is none."""
    if "no" not in asked.qname:
        return [asked.response("1 A 192.0.2.1")]
    response = asked.response()
    response.set_rcode(dns.rcode.NXDOMAIN)
    soa = "ns.test. hostmaster.test. 1 3600 900 604800 1"
    response.authority.append(dns.rrset.from_text("test.", 1, "IN", "SOA", soa))
    return [response]


def test_expired_answers_are_served_while_the_upstream_is_away(tmp_path: Path) -> None:
    with FakeUpstream(one_second) as upstream:
        servers = [{"address": str(upstream.address)}]
        upstreams = {"servers": servers, "timeout": "100ms"}
        cache = {"prefetch": False, "serve_stale_after": "150ms"}
        fresh: list[Told] = [("NOERROR", []), ("NXDOMAIN", [])]
        stale: list[Told] = [("NOERROR", [3]), ("NXDOMAIN", [19])]
        with FrontEnd(tmp_path, upstreams=upstreams, cache=cache) as front:

            def told() -> list[Told]:
                names = ("yes.test", "no.test")
                return [summary(ask(front.address, name)) for name in names]

            assert told() == fresh

            upstream.script = silence

            eventually(lambda: told() == stale, within_s=4)
            # A client does not wait for the last of the three tries.
            failures = f"upstream_failures {upstream.address}"
            eventually(lambda: front.metrics().counts()[failures] == 6)
            counts = Counter({"cache_requests": 2, "cache_stale": 2})
            with front.counting(
                steered(2)
                + counts
                + responded(1, "stale")
                + responded(1, "stale", "NXDOMAIN")
            ):
                assert told() == stale
            assert ask(front.address, "yes.test").answer[0].ttl == 30  # RFC 8767, 5.2

            upstream.script = one_second

            # A failure is remembered for some seconds (RFC 9520, 3.2).
            eventually(lambda: told() == fresh, within_s=8)
