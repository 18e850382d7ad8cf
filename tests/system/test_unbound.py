"""Behind the front end stands unbound: its answers come through, each fetched once."""

from __future__ import annotations

import random
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from dnsfront.dns.zones import special
from tests.kern.queries import qname_of
from tests.system.clients import ask, nsid_query, receive
from tests.system.front import Address, FrontEnd
from tests.system.metrics import hit, joined, missed, steered
from tests.system.resolver import Unbound
from tests.waiting import eventually

RD_CD = dns.flags.RD | dns.flags.CD
#: Special names that unbound 1.17 does not know.
NOT_OF_UNBOUND = {
    "local",
    "alt",
    "resolver.arpa",
    "ipv4only.arpa",
    "170.0.0.192.in-addr.arpa",
    "171.0.0.192.in-addr.arpa",
}
Shown = tuple[str, str, list[set[object]]]


class Question(NamedTuple):
    """What is asked, and how."""

    qname: str
    rdtype: str
    payload: int = 1232
    dnssec: bool = False
    flags: int = dns.flags.RD

    def put_to(
        self, address: Address, *, over_tcp: bool = False
    ) -> dns.message.Message:
        """Return the response to it."""
        return ask(address, **self._asdict(), nsid=False, over_tcp=over_tcp)


QUESTIONS = {
    "A": Question("www.test", "A"),
    "AAAA": Question("www.test", "AAAA"),
    "MX": Question("mail.test", "MX"),
    "TXT": Question("text.test", "TXT"),
    "SOA of the root": Question(".", "SOA"),
    "CNAME itself": Question("one.test", "CNAME"),
    "chain of CNAMEs": Question("one.test", "A"),
    "chain that ends in NODATA": Question("one.test", "MX"),
    "chain that ends in NXDOMAIN": Question("dangling.test", "A"),
    "NXDOMAIN": Question("nowhere.test", "A"),
    "NODATA": Question("www.test", "MX"),
    "unknown type": Question("www.test", "TYPE65280"),
    "without EDNS": Question("mail.test", "A", payload=0),
    "DO": Question("www.test", "A", dnssec=True),
    "DO, nothing signed": Question("www.test", "AAAA", dnssec=True),
    "CD": Question("www.test", "A", flags=RD_CD),
    "DO and CD": Question("www.test", "A", dnssec=True, flags=RD_CD),
    "DO, NXDOMAIN": Question("nowhere.test", "A", dnssec=True),
    "800 octets in 1232": Question("middling.test", "TXT"),
    "longer than 1232": Question("large.test", "TXT"),
    "800 octets in 512": Question("middling.test", "TXT", payload=512),
    "800 octets without EDNS": Question("middling.test", "TXT", payload=0),
}


@pytest.fixture(scope="module")
def unbound(folder: Path) -> Iterator[Unbound]:
    with Unbound(folder) as made:
        yield made


@pytest.fixture(scope="module")
def front(folder: Path, unbound: Unbound) -> Iterator[FrontEnd]:
    upstreams = {"servers": [{"address": str(unbound.address)}]}
    with FrontEnd(folder, upstreams=upstreams, cache={"prefetch": False}) as made:
        yield made


@pytest.fixture
def empty(front: FrontEnd) -> FrontEnd:
    """The front end with nothing in its caches."""
    assert front.command("flush", "--all")[0] == 0
    return front


def rcode_of(response: dns.message.Message) -> str:
    return dns.rcode.to_text(response.rcode())


def sections_of(response: dns.message.Message) -> list[list[dns.rrset.RRset]]:
    return [response.answer, response.authority, response.additional]


def shown(response: dns.message.Message) -> Shown:
    """Return all that a client sees of a response, apart from TTLs and order."""
    sections: list[set[object]] = [
        {
            (rrset.name, rrset.rdclass, rrset.rdtype, x)
            for rrset in section
            for x in rrset
        }
        for section in sections_of(response)
    ]
    flags = dns.flags.to_text(response.flags)
    flags += f" {dns.flags.edns_to_text(response.ednsflags)} EDNS{response.edns}"
    return rcode_of(response), flags, sections


def ttls(response: dns.message.Message) -> dict[tuple[str, int], int]:
    return {
        (rrset.name.to_text(), rrset.rdtype): rrset.ttl
        for section in sections_of(response)
        for rrset in section
    }


def assert_equal(ours: dns.message.Message, theirs: dns.message.Message) -> None:
    assert shown(ours) == shown(theirs)
    assert ttls(ours).keys() == ttls(theirs).keys()
    for key, ttl_s in ttls(theirs).items():
        assert abs(ttls(ours)[key] - ttl_s) <= 1, key


@pytest.mark.parametrize("name", QUESTIONS)
def test_answer_equals_that_of_unbound_on_a_miss_and_on_a_hit(
    empty: FrontEnd, unbound: Unbound, name: str
) -> None:
    question = QUESTIONS[name]
    upstream = str(unbound.address)
    theirs = question.put_to(unbound.address)
    rcode = rcode_of(theirs)
    expected = steered(2) + missed(1, upstream, rcode) + hit(1, rcode)
    if question.qname == "large.test":  # asked for a second time, over TCP
        expected += Counter(
            {
                f"upstream_requests {upstream}": 1,
                f"upstream_tcp_connections {upstream}": 1,
            }
        )

    with empty.counting(expected):
        on_a_miss = question.put_to(empty.address)
        on_a_hit = question.put_to(empty.address)

    for ours in (on_a_miss, on_a_hit):
        if theirs.flags & dns.flags.TC:
            assert ours.flags & dns.flags.TC
            assert not ours.answer
        else:
            assert_equal(ours, theirs)


@pytest.mark.parametrize("qname", ["large.test", "middling.test"])
def test_large_answer_comes_whole_over_tcp(
    empty: FrontEnd, unbound: Unbound, qname: str
) -> None:
    question = Question(qname, "TXT")
    theirs = question.put_to(unbound.address, over_tcp=True)

    on_a_miss = question.put_to(empty.address, over_tcp=True)
    on_a_hit = question.put_to(empty.address, over_tcp=True)

    assert_equal(on_a_miss, theirs)
    assert_equal(on_a_hit, theirs)


def ask_in_any_case(
    front: FrontEnd, clients: int, qnames: list[str]
) -> tuple[dict[tuple[int, int], bytes], dict[tuple[int, int], bytes]]:
    """Ask all *qnames* from all clients at once, each time in other letters.

    Return how each client spelled each name, and how its response did.
    """
    rng = random.Random(4)
    asked, echoed = {}, {}
    with ExitStack() as stack:
        socks = [
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            for _ in range(clients)
        ]
        for number, qname in enumerate(qnames):
            for client, sock in enumerate(socks):
                letters = [rng.choice((x.lower(), x.upper())) for x in qname]
                asked[client, number] = wire = qname_of("".join(letters))
                sock.sendto(nsid_query(wire, number), tuple(front.address))
        for client, sock in enumerate(socks):
            for _ in qnames:
                octets = receive(sock)
                number = int.from_bytes(octets[:2], "big")
                end = 12 + len(asked[client, number])
                echoed[client, number] = octets[12:end]
    return asked, echoed


def test_question_is_fetched_once_however_many_ask_and_in_whatever_case(
    empty: FrontEnd, unbound: Unbound
) -> None:
    clients, names = 25, 20
    qnames = [f"name{number}.once.test" for number in range(names)]
    before, counts_before = unbound.queries(), empty.metrics().counts()

    asked, echoed = ask_in_any_case(empty, clients, qnames)

    assert echoed == asked
    assert unbound.queries() - before == {(f"{qname}.", "A"): 1 for qname in qnames}

    def is_counted() -> bool:
        change = empty.metrics().counts() - counts_before
        # Who asks while a name is being fetched waits for it; who asks later has a hit.
        hits = change["cache_hits"]
        waited = clients * names - names - hits
        assert change == (
            steered(clients * names)
            + missed(names, str(unbound.address), "NXDOMAIN")
            + joined(waited, "NXDOMAIN")
            + hit(hits, "NXDOMAIN")
        )
        return True

    eventually(is_counted)


def test_ttl_counts_down_with_that_of_unbound(
    empty: FrontEnd, unbound: Unbound
) -> None:
    first = ask(empty.address, "www.test")

    def has_aged() -> bool:
        return ask(empty.address, "www.test").answer[0].ttl <= first.answer[0].ttl - 2

    eventually(has_aged, within_s=4)
    ours = ask(empty.address, "www.test", nsid=False)
    theirs = ask(unbound.address, "www.test", nsid=False)

    assert_equal(ours, theirs)


def test_expired_answer_is_fetched_anew(empty: FrontEnd, unbound: Unbound) -> None:
    def fetches() -> int:
        return unbound.queries()["short.test.", "A"]

    before = fetches()
    ask(empty.address, "short.test")
    ask(empty.address, "short.test")
    assert fetches() == before + 1

    def is_fetched_anew() -> bool:
        assert ask(empty.address, "short.test").answer[0].ttl <= 1
        return fetches() == before + 2

    eventually(is_fetched_anew, within_s=4)


def test_answer_with_ttl_0_is_not_cached(empty: FrontEnd, unbound: Unbound) -> None:
    with empty.counting(steered(3) + missed(3, str(unbound.address))):
        responses = [ask(empty.address, "zero.test") for _ in range(3)]

    assert [response.answer[0].ttl for response in responses] == [0, 0, 0]


def test_questions_that_differ_in_type_do_or_cd_are_fetched_each(
    empty: FrontEnd, unbound: Unbound
) -> None:
    with empty.counting(steered(8) + missed(4, str(unbound.address)) + hit(4)):
        for _ in range(2):
            ask(empty.address, "www.test")
            ask(empty.address, "www.test", "AAAA")
            ask(empty.address, "www.test", dnssec=True)
            ask(empty.address, "www.test", flags=RD_CD)


def test_special_names_say_what_unbound_says_of_them(
    front: FrontEnd, unbound: Unbound
) -> None:
    # Those that it does not know, or asks the world for here, are left to unit tests.
    names = [x for x in special.in_force((), ()) if x not in NOT_OF_UNBOUND]
    questions = [
        Question(prefix + name, rtype, dnssec=is_signed)
        for name in names
        for prefix, rtype, is_signed in (
            ("", "SOA", False),
            ("", "NS", True),
            ("x.", "AAAA", False),
        )
        # Here the addresses of the server named go along, which is localhost itself.
        if (name, rtype) != ("localhost", "NS")
    ]
    for name in ("localhost", "1.0.0.127.in-addr.arpa", "1." + "0." * 31 + "ip6.arpa"):
        questions += [Question(name, rtype) for rtype in ("A", "AAAA", "PTR", "TXT")]
    questions.append(Question("home.arpa", "DS"))
    asked = unbound.queries()

    for at, question in enumerate(questions):
        ours = question.put_to(front.address, over_tcp=at % 2 == 1)
        theirs = question.put_to(unbound.address)

        assert (shown(ours), ttls(ours)) == (shown(theirs), ttls(theirs)), question
    # Each once, from here: of all these only one has gone on from the front end.
    assert unbound.queries() - asked == Counter(
        {(f"{x.qname}.", x.rdtype): 1 for x in questions} | {("home.arpa.", "DS"): 2}
    )
