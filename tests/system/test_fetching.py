"""What the front end does with an upstream that counts, lies or is slow."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from tests.kern.queries import qname_of
from tests.system.clients import ask, nsid_query, receive, summary
from tests.system.front import FrontEnd
from tests.system.metrics import fetched, hit, joined, missed, responded, steered
from tests.system.upstream import (
    Asked,
    FakeUpstream,
    Response,
    Script,
    answer,
    silence,
    truncated,
)
from tests.waiting import eventually

_numbers = count()


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as made:
        yield made


@pytest.fixture(scope="module")
def second() -> Iterator[FakeUpstream]:
    with FakeUpstream() as made:
        yield made


@pytest.fixture(scope="module")
def front(
    folder: Path, upstream: FakeUpstream, second: FakeUpstream
) -> Iterator[FrontEnd]:
    upstreams = {
        "policy": "ordered",
        "timeout": "100ms",
        "servers": [{"address": str(x.address)} for x in (upstream, second)],
    }
    with FrontEnd(folder, upstreams=upstreams) as made:
        yield made


@pytest.fixture(autouse=True)
def _honest(upstream: FakeUpstream, second: FakeUpstream) -> None:
    upstream.script = second.script = answer


@pytest.fixture
def qname() -> str:
    """A name that nobody has asked for yet."""
    return f"name{next(_numbers)}.test"


def failed(queries: int, upstream: FakeUpstream) -> Counter[str]:
    """Return what counts when so many *queries* to *upstream* come to nothing."""
    return Counter(
        {
            f"upstream_requests {upstream.address}": queries,
            f"upstream_failures {upstream.address}": queries,
        }
    )


def test_clients_that_ask_while_a_name_is_fetched_share_the_fetch(
    front: FrontEnd, upstream: FakeUpstream, qname: str
) -> None:
    clients = 50
    expected = steered(clients) + missed(1, str(upstream.address)) + joined(clients - 1)

    with front.counting(expected), ExitStack() as stack:
        socks = [
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            for _ in range(clients)
        ]
        with upstream.holding(qname):
            before = front.metrics().counts()["coalesced_queries"]
            for sock in socks:
                sock.sendto(nsid_query(qname_of(qname), 1), front.address)
            eventually(
                lambda: (
                    front.metrics().counts()["coalesced_queries"]
                    == before + clients - 1
                )
            )
        responses = [dns.message.from_wire(receive(sock)) for sock in socks]

    assert upstream.count(qname) == 1
    assert {str(response.answer[0][0]) for response in responses} == {"192.0.2.1"}


def test_names_are_asked_from_many_ports_with_many_ids(
    front: FrontEnd, upstream: FakeUpstream
) -> None:
    at = len(upstream.asked)

    for _ in range(100):
        ask(front.address, f"name{next(_numbers)}.test")

    asked = upstream.asked[at:]
    assert len({query.client.port for query in asked}) > 20
    assert len({query.message.id for query in asked}) > 95
    assert all(query.message.flags & dns.flags.RD for query in asked)
    assert {query.message.edns for query in asked} == {0}


def spoof(asked: Asked) -> dns.message.Message:
    return asked.response("300 A 203.0.113.66")


def with_wrong_id(asked: Asked) -> list[Response]:
    spoofed = spoof(asked)
    spoofed.id ^= 0xFFFF
    return [spoofed, asked.address()]


def with_wrong_question(asked: Asked) -> list[Response]:
    spoofed = spoof(asked)
    spoofed.question = [dns.rrset.from_text("evil.test.", 0, "IN", "A")]
    return [spoofed, asked.address()]


def with_wrong_type(asked: Asked) -> list[Response]:
    spoofed = spoof(asked)
    spoofed.question = [dns.rrset.from_text(asked.qname, 0, "IN", "MX")]
    return [spoofed, asked.address()]


def without_qr(asked: Asked) -> list[Response]:
    spoofed = spoof(asked)
    spoofed.flags &= ~dns.flags.QR
    return [spoofed, asked.address()]


def without_question(asked: Asked) -> list[Response]:
    spoofed = spoof(asked)
    spoofed.question.clear()
    return [spoofed, asked.address()]


def cut_short(asked: Asked) -> list[Response]:
    return [spoof(asked).to_wire()[:11], asked.address()]


@pytest.mark.parametrize(
    "script",
    [
        with_wrong_id,
        with_wrong_question,
        with_wrong_type,
        without_qr,
        without_question,
        cut_short,
    ],
)
def test_response_that_matches_no_query_is_not_believed(
    front: FrontEnd, upstream: FakeUpstream, qname: str, script: Script
) -> None:
    upstream.script = script

    with front.counting(steered(2) + missed(1, str(upstream.address)) + hit(1)):
        responses = [ask(front.address, qname) for _ in range(2)]

    assert [str(x.answer[0][0]) for x in responses] == ["192.0.2.1"] * 2


def test_response_from_another_port_is_not_believed(
    front: FrontEnd, upstream: FakeUpstream, qname: str
) -> None:
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def betray(asked: Asked) -> list[Response]:
        stranger.sendto(spoof(asked).to_wire(), asked.client)
        return answer(asked)

    upstream.script = betray

    with stranger, front.counting(steered(1) + missed(1, str(upstream.address))):
        response = ask(front.address, qname)

    assert str(response.answer[0][0]) == "192.0.2.1"


def test_truncated_response_is_fetched_over_tcp(
    front: FrontEnd, upstream: FakeUpstream, qname: str
) -> None:
    upstream.script = truncated
    address = upstream.address
    asked_over_tcp = Counter(
        {f"upstream_requests {address}": 1, f"upstream_tcp_connections {address}": 1}
    )

    with front.counting(
        steered(2) + missed(1, str(upstream.address)) + asked_over_tcp + hit(1)
    ):
        responses = [ask(front.address, qname) for _ in range(2)]

    assert [x.is_tcp for x in upstream.asked[-2:]] == [False, True]
    assert [str(x.answer[0][0]) for x in responses] == ["192.0.2.1"] * 2


def test_silent_upstream_is_passed_over(
    front: FrontEnd, upstream: FakeUpstream, second: FakeUpstream, qname: str
) -> None:
    upstream.script = silence

    with front.counting(
        steered(1) + failed(1, upstream) + missed(1, str(second.address))
    ):
        response = ask(front.address, qname)

    assert (upstream.count(qname), second.count(qname)) == (1, 1)
    assert summary(response) == ("NOERROR", [])


def servfail(asked: Asked) -> list[Response]:
    response = asked.response()
    response.set_rcode(dns.rcode.SERVFAIL)
    return [response]


def test_upstream_that_cannot_say_is_passed_over(
    front: FrontEnd, upstream: FakeUpstream, second: FakeUpstream, qname: str
) -> None:
    upstream.script = servfail
    first = str(upstream.address)
    could_not = fetched(1, first) + Counter({f"upstream_failures {first}": 1})

    with front.counting(steered(1) + could_not + missed(1, str(second.address))):
        response = ask(front.address, qname)

    assert summary(response) == ("NOERROR", [])


def test_question_is_sent_three_times_at_most_and_then_not_for_a_while(
    front: FrontEnd, upstream: FakeUpstream, second: FakeUpstream, qname: str
) -> None:
    upstream.script = second.script = silence
    looked_up = Counter({"cache_requests": 2})

    with front.counting(
        steered(2)
        + looked_up
        + failed(2, upstream)
        + failed(1, second)
        + responded(2, rcode="SERVFAIL")
    ):
        first, again = ask(front.address, qname), ask(front.address, qname)

    assert summary(first) == ("SERVFAIL", [22])
    assert summary(again) == ("SERVFAIL", [13])
    assert (upstream.count(qname), second.count(qname)) == (2, 1)


def test_servfail_of_every_upstream_is_passed_on(
    front: FrontEnd, upstream: FakeUpstream, second: FakeUpstream, qname: str
) -> None:
    upstream.script = second.script = servfail

    response = ask(front.address, qname)

    assert summary(response) == ("SERVFAIL", [])
    assert (upstream.count(qname), second.count(qname)) == (1, 1)


def test_each_name_has_one_upstream_by_consistent_hashing(tmp_path: Path) -> None:
    names = [f"name{number}.hashed.test" for number in range(200)]
    with ExitStack() as stack:
        fakes = [stack.enter_context(FakeUpstream()) for _ in range(3)]
        servers = [{"address": str(fake.address)} for fake in fakes]
        front = stack.enter_context(
            FrontEnd(tmp_path, upstreams={"policy": "chash", "servers": servers})
        )

        def asked() -> list[set[str]]:
            """Ask for all names, and return which upstream was asked for which."""
            for fake in fakes:
                fake.asked.clear()
            assert front.command("flush", "--all")[0] == 0
            for name in names:
                ask(front.address, name)
            return [{query.qname for query in fake.asked} for fake in fakes]

        shares = asked()

        assert all(shares)
        assert sum(map(len, shares)) == len(names)
        assert asked() == shares


def test_type_that_names_no_data_is_refused_and_not_forwarded(
    front: FrontEnd, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    with front.counting(steered(3) + responded(3, rcode="REFUSED")):
        rcodes = [
            summary(ask(front.address, "name.test", rdtype))[0]
            for rdtype in ("AXFR", "IXFR", "OPT")
        ]

    assert rcodes == ["REFUSED"] * 3
    assert not upstream.queries.keys() & {("name.test.", "AXFR"), ("name.test.", "OPT")}
    assert not second.count("name.test")
