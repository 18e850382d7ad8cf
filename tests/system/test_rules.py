"""Rules are obeyed at once, whoever answered a name before: a cache or the kernel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import pytest

from tests.system.clients import ask, summary
from tests.system.front import FrontEnd
from tests.system.upstream import FakeUpstream
from tests.waiting import eventually

LISTED = "ads.test\nthis is no name\ntrack.test\n"
RULES = [
    {"match": {"suffixes": ["good.ads.test"]}, "action": "pass"},
    {"name": "ads", "match": {"suffixes": {"file": "ads"}}, "action": "nxdomain"},
    {
        "match": {"suffixes": ["kids.test"], "clients": ["127.0.0.9/32"]},
        "action": "refuse",
        "reason": "filtered",
    },
]


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream(lambda asked: [asked.response("3600 A 192.0.2.10")]) as made:
        yield made


@pytest.fixture(scope="module")
def front(folder: Path, upstream: FakeUpstream) -> Iterator[FrontEnd]:
    (folder / "ads").write_text(LISTED)
    with FrontEnd(
        folder,
        ring={"workers": 2},
        upstreams={"servers": [{"address": str(upstream.address)}]},
        kernel_cache={"mode": "tc"},
        access={"allow": ["127.0.0.0/8"]},
        rules=RULES,
    ) as made:
        yield made


def ask_as(front: FrontEnd, host: str, qname: str) -> str:
    """Return the rcode of the answer to a client at *host*."""
    query = dns.message.make_query(qname, "A")
    address = front.address
    response = dns.query.udp(query, address.host, 15, address.port, source=host)
    return dns.rcode.to_text(response.rcode())


def hits_in_kernel(front: FrontEnd) -> int:
    return sum(front.metrics().by_worker("kernel_cache_hits_total").values())


def is_from_kernel(front: FrontEnd, qname: str, host: str = "127.0.0.1") -> bool:
    before = hits_in_kernel(front)
    ask_as(front, host, qname)
    return hits_in_kernel(front) > before


@pytest.mark.parametrize("over_tcp", [False, True], ids=["udp", "tcp"])
def test_names_of_a_list_are_answered_by_its_rule(
    front: FrontEnd, *, over_tcp: bool
) -> None:
    def said(qname: str) -> tuple[str, list[int]]:
        return summary(ask(front.address, qname, over_tcp=over_tcp))

    before = rule_hits(front)

    for _ in range(2):
        assert said("ads.test") == ("NXDOMAIN", [15])
        assert said("a.b.track.test") == ("NXDOMAIN", [15])
        assert said("www.good.ads.test") == ("NOERROR", [])
    assert rule_hits(front)[1] - before[1] == 4


def rule_hits(front: FrontEnd) -> list[int]:
    return [rule["hits"] for rule in status(front)["rules"]]


def status(front: FrontEnd) -> dict[str, list[dict[str, int]]]:
    found: dict[str, list[dict[str, int]]] = json.loads(
        front.command("status", "--json")[1]
    )
    return found


def test_status_and_metrics_tell_of_lists_and_of_lines_left_out(
    front: FrontEnd,
) -> None:
    rules = status(front)["rules"]

    assert [rule["name"] for rule in rules] == [None, "ads", None]
    assert [rule["names"] for rule in rules] == [None, 2, None]
    assert rules[1]["lines_left_out"] == 1
    shown = " ".join(front.command("status")[1].split())
    assert "ads: nxdomain," in shown
    assert "lines left out: 1, line 2: got 'this is no name'" in shown
    text = front.get("/metrics").body
    assert f'dnsfront_list_lines_left_out{{file="{front.path.parent}/ads"}} 1.0' in text
    assert 'dnsfront_rule_hits_total{rule="1"}' in text


def test_list_that_is_saved_is_obeyed_at_once_in_caches_and_in_the_kernel(
    front: FrontEnd,
) -> None:
    eventually(lambda: is_from_kernel(front, "new.test"))
    path = front.path.parent / "ads"

    path.write_text(f"{LISTED}new.test\n")
    assert front.command("reload")[0] == 0

    assert ask_as(front, "127.0.0.1", "new.test") == "NXDOMAIN"
    assert not is_from_kernel(front, "new.test")
    path.write_text(LISTED)
    assert front.command("reload")[0] == 0
    assert ask_as(front, "127.0.0.1", "new.test") == "NOERROR"


def test_answer_that_depends_on_the_client_never_comes_from_the_kernel(
    front: FrontEnd,
) -> None:
    eventually(lambda: is_from_kernel(front, "others.test"))
    for _ in range(4):
        assert ask_as(front, "127.0.0.1", "kids.test") == "NOERROR"
        assert ask_as(front, "127.0.0.9", "kids.test") == "REFUSED"
        assert not is_from_kernel(front, "kids.test")
    assert ask_as(front, "127.0.0.9", "others.test") == "NOERROR"


def test_rule_that_comes_to_look_at_clients_takes_answers_out_of_the_kernel(
    front: FrontEnd,
) -> None:
    eventually(lambda: is_from_kernel(front, "www.later.test"))
    more = {"match": {"suffixes": ["later.test"], "clients": ["127.0.0.9/32"]}}

    front.configure(rules=[*RULES, {**more, "action": "nodata"}])
    assert front.command("reload")[0] == 0

    assert not is_from_kernel(front, "www.later.test")
    assert ask_as(front, "127.0.0.1", "www.later.test") == "NOERROR"
    front.configure(rules=RULES)
    assert front.command("reload")[0] == 0
    eventually(lambda: is_from_kernel(front, "www.later.test"))
